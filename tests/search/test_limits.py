"""What a person limits is limited: every sampler stays within, in the parameter's own values, and repeats nothing."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra import compose, initialize_config_dir
from optuna.trial import TrialState
from planted import config_of

from siren_sweep.cli.main import conf_dir, typed
from siren_sweep.config import parameters
from siren_sweep.config.choices import Strategy
from siren_sweep.config.schema import Block, Config
from siren_sweep.search.limits import Limit, fault, limited, part_of
from siren_sweep.search.policies import make_proposer
from siren_sweep.search.proposal import ASKED_FOR
from siren_sweep.search.proposer import Proposer
from siren_sweep.search.space import Space, make_space
from siren_sweep.search.strategy import plan_batch

WIDTH, DEPTH, OMEGA = parameters.HIDDEN_DIM, parameters.N_LAYERS, parameters.OMEGA
T_PERIOD, XY_PERIOD, WINDOW = parameters.T_PERIOD, parameters.XY_PERIOD, parameters.WINDOW
RATE, BATCH, STEPS = parameters.RATE, parameters.BATCH_SIZE, parameters.TOTAL_STEPS
BASE = config_of(
    hidden_dim=128, n_layers=4, omega=30.0, T_period=10.0, xy_period=16.0, lr=3e-4, batch_size=8, total_steps=400
)
TEXTS = {
    WIDTH: "choice(64, 128, 256, 512)",
    DEPTH: "range(2, 7)",
    OMEGA: "tag(log, interval(5, 4096))",
    "T_period_ratio": "tag(log, interval(1, 300))",
    RATE: "tag(log, interval(1e-8, 1e-2))",
    BATCH: "choice(4, 8, 16, 32)",
    "total_steps_ratio": "choice(0.5, 1.0, 2.0)",
}
LIMITS = {
    OMEGA: Limit(40.0, 90.0),
    WIDTH: Limit(60, 256),
    DEPTH: Limit(5, 5),
    T_PERIOD: Limit(3.0, 12.0),
    RATE: Limit(1e-4, 1e-4),
    STEPS: Limit(400, 1000),
}
NAMES = [file.stem for file in sorted((Path(conf_dir()) / "sampler").glob("*.yaml"))]


def space(n_frames: int = 100) -> Space:
    return make_space(Block(n_frames, 400), TEXTS, BASE, set())


@functools.cache
def composed(name: str) -> Config:
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        return typed(compose("config", [f"sampler={name}"]))


def proposer(name: str, batch: int) -> Proposer:
    return make_proposer(composed(name), batch)


def run(study: optuna.Study, whole: Space, params: dict[str, Any]) -> None:
    study.enqueue_trial(params)
    trial = study.ask(whole.dimensions)
    assert trial.params == params  # which the study's own distributions hold
    study.tell(trial, 0.9 - 0.01 * abs(trial.number - 5))


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strategy", [Strategy.auto, Strategy.grid, Strategy.latin_square, Strategy.focused])
def test_every_sampler_and_layout_stays_within_and_repeats_nothing(name: str, strategy: Strategy) -> None:
    whole, study = space(), optuna.create_study(direction="maximize")
    base = whole.nearest(BASE)
    for omega in (5.0, 300.0, 4096.0):
        run(study, whole, base | {OMEGA: omega})
    part = limited(whole, LIMITS)
    for batch in range(3):
        proposals = plan_batch(
            study, whole.dimensions, proposer(name, batch), 4, strategy=strategy, base=base, within=part.dimensions
        )
        assert len(proposals) == 4
        for one in proposals:
            config = whole.config(one.params)
            for parameter, limit in LIMITS.items():
                assert limit.low * (1 - 1e-9) <= config[parameter] <= limit.high * (1 + 1e-9), (parameter, config)
            run(study, whole, one.params)
    configs = [tuple(trial.params.items()) for trial in study.trials]
    assert len(set(configs)) == len(configs) == 15


def test_a_parent_outside_a_limit_is_moved_in_and_the_mutation_says_so() -> None:
    whole, study = space(), optuna.create_study(direction="maximize")
    for omega in (30.0, 60.0, 100.0, 200.0):
        run(study, whole, whole.nearest(BASE) | {OMEGA: omega})
    part = limited(whole, {OMEGA: Limit(500.0, 500.0)})
    proposals = [
        one
        for seed in range(4)
        for one in plan_batch(
            study,
            whole.dimensions,
            proposer("ucb_tree", seed),
            4,
            strategy=Strategy.auto,
            base={},
            within=part.dimensions,
        )
    ]
    children = [one for one in proposals if one.parent is not None]
    assert children
    for child in children:
        old = study.trials[child.parent].params[OMEGA]
        assert f"omega_f: {old:g} -> 500" in child.mutation


def test_a_bound_on_a_parameter_bounds_its_ratio_in_every_block() -> None:
    for n_frames in (10, 100, 1000):
        part = part_of(space(n_frames), "T_period_ratio", Limit(5.0, 10.0))
        assert part is not None
        assert (part.low, part.high) == (n_frames / 10, n_frames / 5)


def test_what_a_later_block_cannot_keep_is_kept_as_nearly_as_it_can() -> None:
    part = limited(space(10_000), {T_PERIOD: Limit(7.0, 7.0), STEPS: Limit(5000, 6000), BATCH: Limit(5, 7)})
    config = part.config({name: distribution_value(part, name) for name in part.dimensions})
    assert config[T_PERIOD] == pytest.approx(10_000 / 300)
    assert (config[STEPS], config[BATCH]) == (800, 4)


def distribution_value(part: Space, name: str) -> Any:
    distribution = part.dimensions[name]
    return distribution.choices[0] if hasattr(distribution, "choices") else distribution.low


@pytest.mark.parametrize(
    ("parameter", "limit", "why"),
    [
        (OMEGA, Limit(1, 4), "omega_f must lie in 5 .. 4096 in this block, got 1 .. 4"),
        (WIDTH, Limit(100, 100), "hidden_dim_nnr_f must be one of 64, 128, 256, 512 in this block, got 100"),
        (T_PERIOD, Limit(101, 101), "nnr_f_T_period must lie in 0.333333 .. 100 in this block, got 101"),
        (STEPS, Limit(100, 150), "total_steps must be one of 200, 400, 800"),
        (XY_PERIOD, Limit(1, 8), "nnr_f_xy_period does not vary in this sweep, it is 16"),
        (XY_PERIOD, Limit(16, 16), None),
        (OMEGA, Limit(1, 6), None),
        (T_PERIOD, Limit(100, 100), None),
    ],
)
def test_a_limit_that_no_value_meets_is_told_with_the_rule(parameter: str, limit: Limit, why: str | None) -> None:
    assert (fault(space(), parameter, limit) or "").startswith(why or "")
    assert (fault(space(), parameter, limit) is None) == (why is None)


def test_a_config_that_is_wanted_comes_first_and_once() -> None:
    whole, study = space(), optuna.create_study(direction="maximize")
    run(study, whole, whole.nearest(BASE))
    study.set_user_attr("n_training_frames", 100)
    part = limited(whole, {OMEGA: Limit(40.0, 90.0)})
    wanted = whole.nearest(BASE) | {OMEGA: 2000.0}
    for name in ("ucb_tree", "tpe", "random"):
        first, *rest = plan_batch(
            study,
            whole.dimensions,
            proposer(name, 0),
            4,
            strategy=Strategy.auto,
            base={},
            within=part.dimensions,
            wanted=[wanted],
        )
        assert (first.params, first.strategy, first.parent) == (wanted, ASKED_FOR, 0)
        assert first.mutation == "omega_f: 30 -> 2000"
        assert len(rest) == 3
        assert all(40 <= one.params[OMEGA] <= 90 for one in rest)
    run(study, whole, wanted)
    assert study.trials[1].state is TrialState.COMPLETE
    again = plan_batch(
        study, whole.dimensions, proposer("random", 0), 4, strategy=Strategy.auto, base={}, wanted=[wanted]
    )
    assert all(one.strategy != ASKED_FOR for one in again)


def test_steps_that_a_ratio_rounds_can_be_asked_for_and_come_nearest() -> None:
    odd = make_space(Block(100, 625), {"total_steps_ratio": "choice(0.5, 1.0, 2.0)"}, BASE, set())
    assert fault(odd, STEPS, Limit(312, 312)) is None
    assert limited(odd, {STEPS: Limit(200, 200)}).dimensions["total_steps_ratio"].choices == (0.5,)
