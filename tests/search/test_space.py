"""The search space: Hydra's meaning of a sweep, Optuna's distributions, and absolute configs."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from siren_sweep.config import parameters
from siren_sweep.config.parameters import EXPLORABLE, T_PERIOD, TOTAL_STEPS, defaults
from siren_sweep.config.schema import Block
from siren_sweep.search.space import make_space, parse_dimension

BASE = defaults() | {
    parameters.HIDDEN_DIM: 64,
    parameters.N_LAYERS: 4,
    parameters.OMEGA: 20.0,
    parameters.T_PERIOD: 100.0,
    parameters.XY_PERIOD: 16.0,
    parameters.WINDOW: 0,
    parameters.RATE: 1e-3,
    parameters.BATCH_SIZE: 8,
    parameters.TOTAL_STEPS: 500,
}


@pytest.mark.parametrize(
    ("name", "text", "distribution"),
    [
        ("graph_model.omega_f", "choice(30,80)", CategoricalDistribution([30.0, 80.0])),
        ("graph_model.omega_f", "30,80,30", CategoricalDistribution([30.0, 80.0])),
        ("graph_model.n_layers_nnr_f", "range(1,3)", IntDistribution(1, 2)),
        ("graph_model.hidden_dim_nnr_f", "range(32,129,32)", IntDistribution(32, 128, step=32)),
        ("graph_model.omega_f", "interval(5,80)", FloatDistribution(5.0, 80.0)),
        ("training.learning_rate_NNR_f", "tag(log, interval(1e-5, 1e-3))", FloatDistribution(1e-5, 1e-3, log=True)),
        ("graph_model.hidden_dim_nnr_f", "tag(log, interval(16, 256))", IntDistribution(16, 256, log=True)),
        ("T_period_ratio", "interval(1, 300)", FloatDistribution(1.0, 300.0)),
    ],
)
def test_a_sweep_means_what_hydra_means(name: str, text: str, distribution: object) -> None:
    assert parse_dimension(name, text) == distribution


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("graph_model.omega_f", "choice(30,0)", "must be greater than 0, got 0"),
        ("graph_model.omega_f", "interval(80,5)", "start is below its end"),
        ("graph_model.n_layers_nnr_f", "choice(1,1.5)", "must be a whole number, got 1.5"),
        ("graph_model.n_layers_nnr_f", "choice(inf,3)", "must be a finite number, got inf"),
        ("graph_model.n_layers_nnr_f", "range(3,3)", "at least one value"),
        ("graph_model.omega_f", "30", r"must be choice\(\.\.\.\), range"),
        ("graph_model.omega_f", "choice(30", "override grammar"),
        ("graph_model.omega_f", "choice(true,30)", "must be swept over numbers"),
        ("T_period_ratio", "choice(0,1)", "must be greater than 0"),
        ("graph_model.omega_f", "", r"must be choice\(\.\.\.\), range.*, got nothing"),
        ("graph_model.omega_f", "glob(*)", r"must be choice\(\.\.\.\), range.*, got glob"),
        ("graph_model.window_frames", "glob([1*])", r"must be choice\(\.\.\.\) or range\(\.\.\.\), got glob"),
        ("graph_model.omega_f", "choice()", "override grammar, got 'choice"),
        ("graph_model.omega_f", "choice(a,30)", "must be swept over numbers, got 'a'"),
        ("graph_model.omega_f", "choice(choice(1,2),3)", "must be swept over numbers, got a sweep in its place"),
        ("graph_model.omega_f", "nothing(1,2)", "override grammar.*Unknown function 'nothing'"),
        ("graph_model.omega_f", "interval(nan,2)", "must be a finite number, got nan"),
        ("graph_model.omega_f", "tag(log,interval(-1,2))", "must be greater than 0, got -1"),
        ("graph_model.omega_f", f"choice({10**400})", "must be a finite number, got inf"),
        ("graph_model.omega_f", "range(1,5,0)", "must be a range of finite numbers whose step is not 0"),
        ("graph_model.omega_f", "range(1,nan)", "must be a range of finite numbers whose step is not 0"),
        ("claude.total_steps", "range(1000,inf)", "must be a range of finite numbers whose step is not 0"),
        ("graph_model.omega_f", "range(1,5,1e-300)", "must have at most 10000 values, got range"),
        ("claude.total_steps", "shuffle(range(1000,1e12))", "must have at most 10000 values, got shuffle"),
        ("claude.total_steps", f"choice({'30,' * 10_000}40)", r"at most 10000 values, got choice.*\.\.\.$"),
    ],
)
def test_a_bad_sweep_is_told_with_its_rule(name: str, text: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        parse_dimension(name, text)


def test_ratios_become_absolute_values_of_the_block() -> None:
    texts = {"T_period_ratio": "interval(1,300)", "total_steps_ratio": "choice(0.5,2)"}
    space = make_space(Block(1000, 20000), texts, BASE, set())
    config = space.config({"T_period_ratio": 4.0, "total_steps_ratio": 0.5})
    assert config[T_PERIOD] == 250.0
    assert config[TOTAL_STEPS] == 10000
    assert {name: config[name] for name in EXPLORABLE if name not in (T_PERIOD, TOTAL_STEPS)} == {
        name: BASE[name] for name in EXPLORABLE if name not in (T_PERIOD, TOTAL_STEPS)
    }


def test_a_pinned_parameter_does_not_vary_under_any_of_its_names() -> None:
    space = make_space(Block(1000, 20000), {"T_period_ratio": "interval(1,300)"}, BASE, {T_PERIOD})
    assert space.dimensions == {}
    assert space.config({})[T_PERIOD] == BASE[T_PERIOD]


def test_a_batch_holds_no_more_frames_than_the_block() -> None:
    text = {"training.inr_batch_size": "choice(4,8,16,32)"}
    assert make_space(Block(10, 500), text, BASE, set()).dimensions == {
        "training.inr_batch_size": CategoricalDistribution([4, 8])
    }
    stepped = {"training.inr_batch_size": "range(4,33,4)"}
    assert make_space(Block(10, 500), stepped, BASE, set()).dimensions == {
        "training.inr_batch_size": IntDistribution(4, 8, step=4)
    }
    ranged = {"training.inr_batch_size": "tag(log,interval(2,64))"}
    assert make_space(Block(10, 500), ranged, BASE, set()).dimensions == {
        "training.inr_batch_size": IntDistribution(2, 10, log=True)
    }


def test_the_nearest_point_is_nearest_on_a_log_axis_and_inside_the_bounds() -> None:
    texts = {"graph_model.omega_f": "choice(10,1000)", "T_period_ratio": "tag(log,interval(1,300))"}
    texts |= {"graph_model.hidden_dim_nnr_f": "range(32,129,32)"}
    space = make_space(Block(1000, 20000), texts, BASE, set())
    near = space.nearest(BASE | {"graph_model.omega_f": 80.0, T_PERIOD: 1.0, "graph_model.hidden_dim_nnr_f": 70})
    assert near == {"graph_model.omega_f": 10.0, "T_period_ratio": 300.0, "graph_model.hidden_dim_nnr_f": 64}


@pytest.mark.parametrize("text", ["shuffle(range(2,12))", "shuffle(choice(9,3,5,7,2))"])
def test_a_shuffled_sweep_is_the_same_space_at_every_start(text: str) -> None:
    assert len({repr(parse_dimension("graph_model.n_layers_nnr_f", text)) for _ in range(8)}) == 1
