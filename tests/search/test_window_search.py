"""Windows as a dimension of the search: what a ratio means with them, and what follows in the record."""

from __future__ import annotations

import itertools
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState
from planted import config_of

from siren_sweep.config import parameters
from siren_sweep.config.schema import Block, Blocks, Config, SearchSpace
from siren_sweep.search.encoding import axes
from siren_sweep.search.knowledge import cost
from siren_sweep.search.limits import Limit, fault, limited
from siren_sweep.search.space import STEPS_PER_WINDOW_FRAME, Space, make_space, parse_dimension
from siren_sweep.study.records import Outcome, TrialPlan
from siren_sweep.sweep.block import start_block, start_config
from siren_sweep.train.size import arithmetic, n_networks
from siren_sweep.views.blocks import TrialView
from siren_sweep.views.record.verdicts import changed
from siren_sweep.views.record.words import config_line, metrics_line

WIDTH, DEPTH, OMEGA = parameters.HIDDEN_DIM, parameters.N_LAYERS, parameters.OMEGA
T_PERIOD, XY_PERIOD, WINDOW = parameters.T_PERIOD, parameters.XY_PERIOD, parameters.WINDOW
RATE, BATCH, STEPS = parameters.RATE, parameters.BATCH_SIZE, parameters.TOTAL_STEPS
BASE = config_of(
    hidden_dim=96, n_layers=3, omega=30.0, T_period=333.0, xy_period=16.0, lr=7e-4, batch_size=8, total_steps=20_000
)
TEXTS = {
    WINDOW: "choice(0, 125, 250, 900)",
    "T_period_ratio": "tag(log, interval(1, 300))",
    "total_steps_ratio": "choice(0.5, 1.0, 2.0)",
    BATCH: "choice(4, 8, 16, 200)",
}


def space(n_frames: int = 1000) -> Space:
    return make_space(Block(n_frames, 20_000), TEXTS, BASE, set())


def point(window: int, period: float = 3.0, steps: float = 1.0) -> dict[str, Any]:
    return {WINDOW: window, "T_period_ratio": period, "total_steps_ratio": steps, BATCH: 8}


def test_a_ratio_is_to_the_frames_that_a_network_sees() -> None:
    whole, windows = space().config(point(0)), space().config(point(125))
    assert (whole[T_PERIOD], whole[STEPS]) == (pytest.approx(1000 / 3), 20_000)
    assert (windows[T_PERIOD], windows[STEPS]) == (pytest.approx(125 / 3), 125 * STEPS_PER_WINDOW_FRAME)


def test_windows_that_do_not_fit_twice_are_left_out_and_batches_fit() -> None:
    assert space().dimensions[WINDOW] == CategoricalDistribution([0, 125, 250])
    assert space().dimensions[BATCH] == CategoricalDistribution([4, 8, 16])
    assert space(100).dimensions[WINDOW] == CategoricalDistribution([0])
    assert space(100).windows == [0]


def test_a_config_is_found_again_and_keeps_its_ratios_in_other_windows() -> None:
    known = space().config(point(125, 4.0, 2.0))
    assert space().nearest(known) == pytest.approx(point(125, 4.0, 2.0))
    narrow = make_space(Block(1000, 20_000), {**TEXTS, WINDOW: "choice(0, 400)"}, BASE, set())
    assert narrow.nearest(known) == pytest.approx(point(400, 4.0, 2.0))


def test_an_interval_of_windows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be choice\(...\) or range\(...\), got"):
        parse_dimension(WINDOW, "interval(10, 100)")


def test_no_windows_lie_beyond_the_longest() -> None:
    (axis,) = axes({WINDOW: CategoricalDistribution([0, 250, 62, 125])})
    assert [axis.to_unit(length) for length in (62, 125, 250, 0)] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert [axis.from_unit(unit) for unit in (0.0, 0.3, 0.7, 1.0)] == [62, 125, 250, 0]
    assert not axis.positive


def test_a_limit_on_a_ratio_s_parameter_sets_the_windows_that_can_meet_it() -> None:
    limits = {T_PERIOD: Limit(30.0, 60.0)}
    part = limited(space(64_000), limits)
    assert fault(space(64_000), T_PERIOD, limits[T_PERIOD]) is None
    (window,) = part.windows
    (axis,) = axes({"T_period_ratio": part.dimensions["T_period_ratio"]})
    for unit in (0.0, 0.5, 1.0):
        config = part.config(point(window) | {"T_period_ratio": axis.from_unit(unit)})
        assert 29 < config[T_PERIOD] < 61
    asked = limited(space(64_000), {WINDOW: Limit(250, 250), T_PERIOD: Limit(50.0, 50.0)})
    assert asked.windows == [250]
    assert asked.config(point(250) | {"T_period_ratio": 5.0})[T_PERIOD] == 50.0


def config() -> Config:
    schedule = [Block(1000, 20_000), Block(10_000, 30_000)]
    start_from = {10_000: {WINDOW: 125, "T_period_ratio": 4}}
    return Config(blocks=Blocks(schedule=schedule), search_space=SearchSpace(start_from=start_from))


def test_a_start_may_have_windows() -> None:
    start = start_config(config(), Block(10_000, 30_000))
    assert (start[WINDOW], start[T_PERIOD], start[STEPS]) == (125, 31.25, 125 * STEPS_PER_WINDOW_FRAME)
    assert start_config(config(), Block(1000, 20_000))[WINDOW] == 0


def test_a_config_of_windows_is_carried_as_it_is() -> None:
    best = BASE | {WINDOW: 125, T_PERIOD: 40.0, STEPS: 1500, BATCH: 8}
    texts = {**TEXTS, WINDOW: "choice(0, 125)"}
    start = start_block(config(), 2, texts, {}, best)
    carried = start.space.config(start.carried[0])
    assert (carried[WINDOW], carried[T_PERIOD]) == (125, pytest.approx(40.0))
    assert carried[STEPS] in (500, 1000, 2000)  # the nearest of its ratios
    whole = start_block(config(), 2, texts, {}, BASE)
    assert whole.space.config(whole.carried[0])[T_PERIOD] == 10_000


def view(number: int, params: dict[str, Any], **metrics: float) -> TrialView:
    plan = TrialPlan(number + 1, space().config(params), slot=number, n_training_frames=1000)
    outcome = Outcome(1, "finished", metrics=metrics)
    return TrialView(number, TrialState.COMPLETE, 0.5, params, plan, attempt=1, outcome=outcome)


def test_what_follows_the_windows_is_no_second_change() -> None:
    parent = view(0, point(0))
    assert changed(parent, view(1, point(125))) == (WINDOW,)
    assert changed(parent, view(1, point(125, steps=2.0))) == (WINDOW, STEPS)
    assert changed(parent, view(1, point(0, steps=2.0))) == (STEPS,)


def test_the_record_s_lines_show_windows_only_where_there_are_some() -> None:
    assert "window" not in config_line(view(0, point(0)))
    assert config_line(view(1, point(125))).endswith("n_frames=1000, window_frames=125")
    whole = view(0, point(0), final_r2=0.5, final_mse=0.1)
    assert metrics_line(whole).startswith("final_r2=0.5, final_mse=0.1, training_time_min=nan")
    sampled = view(1, point(125), sample_r2=0.5, sample_mse=0.1, sample_windows=2, n_windows=8)
    assert metrics_line(sampled).startswith("sample_r2=0.5, sample_mse=0.1, ")
    assert metrics_line(sampled).endswith("sample_windows=2, n_windows=8")
    assert "final" not in metrics_line(sampled)


def test_optuna_searches_windows_as_any_choice() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    drawn = {study.ask(space().dimensions).params[WINDOW] for _ in range(30)}
    assert drawn == {0, 125, 250}


def test_of_two_limits_the_windows_meet_both() -> None:
    """Whatever the order in which Python holds their names."""
    limits = {T_PERIOD: Limit(5.0, 10.0), STEPS: Limit(500, 500)}
    for own in (limits, dict(reversed(limits.items()))):
        assert limited(space(), own).windows == [125]


def test_what_a_config_costs_follows_its_arithmetic_however_its_steps_are_searched() -> None:
    texts = {WINDOW: "choice(125, 250, 500)", WIDTH: "choice(64, 128)", DEPTH: "choice(2, 3)", BATCH: "choice(4, 8)"}
    for steps in ({"total_steps_ratio": "choice(0.5, 1.0)"}, {STEPS: "choice(500, 1000)"}, {}):
        whole = make_space(Block(1000, 20_000), texts | steps, BASE, set())
        points = [
            dict(zip(whole.dimensions, values, strict=True))
            for values in itertools.product(*(one.choices for one in whole.dimensions.values()))  # type: ignore
        ]
        configs = map(whole.config, points)
        work = [arithmetic(config, n_networks(1000, config)) for config in configs]
        ratios = [own / cost(point) for own, point in zip(work, points, strict=True)]
        assert ratios == pytest.approx([ratios[0]] * len(ratios))
