"""Any config within its bounds is taken as it is, and every broken bound is told, all in one error."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from siren_sweep.config.checks import trial_config
from siren_sweep.config.choices import Precision
from siren_sweep.config.schema import Claude, Dataset, GraphModel, Training
from siren_sweep.errors import ConfigError

GROUPS: dict[str, Any] = {"dataset": Dataset, "graph_model": GraphModel, "training": Training, "claude": Claude}
BOUNDED = {
    f"{group}.{item.name}": (type(item.default), dict(item.metadata))
    for group, kind in GROUPS.items()
    for item in dataclasses.fields(kind)
    if item.metadata.keys() & {"low", "high", "above"}
}
WINDOW = "graph_model.window_frames"  # 0, or at least a batch
TOGETHER = ("training.n_training_frames", "training.inr_batch_size")  # the second is at most the first


def inside(kind: type, bounds: dict[str, Any]) -> SearchStrategy[Any]:
    low, high = bounds.get("low", bounds.get("above")), bounds.get("high", 1e9)
    if kind is int:
        return st.integers(low, int(high))
    return st.floats(low, high, exclude_min="above" in bounds)


def outside(kind: type, bounds: dict[str, Any]) -> SearchStrategy[Any]:
    below = bounds["above"] if "above" in bounds else bounds["low"] - 1
    least = st.integers(max_value=below) if kind is int else st.floats(max_value=below) | st.just(math.nan)
    if "high" not in bounds:
        return least
    above = bounds["high"] + 1
    return least | (st.integers(min_value=above) if kind is int else st.floats(min_value=above, exclude_min=True))


def nested(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    for name, value in values.items():
        group, leaf = name.split(".")
        groups[group][leaf] = value
    return groups


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({}, optional={name: inside(*how) for name, how in BOUNDED.items()}))
def test_values_within_their_bounds_are_accepted(values: dict[str, Any]) -> None:
    values |= {TOGETHER[0]: max(values.get(name, 8) for name in TOGETHER)}
    values |= {WINDOW: max(window, values.get(TOGETHER[1], 8)) if (window := values.get(WINDOW, 0)) else 0}
    cfg = dataclasses.asdict(trial_config(nested(values)))
    assert {name: cfg[name.split(".")[0]][name.split(".")[1]] for name in values} == values


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_broken_bound_is_told_and_no_other(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(BOUNDED.keys() - set(TOGETHER))), min_size=1, unique=True))
    values = {name: data.draw(outside(*BOUNDED[name]), label=name) for name in names}
    with pytest.raises(ConfigError) as refused:
        trial_config(nested(values))
    for name in BOUNDED:
        assert (f"{name} must be" in str(refused.value)) == (name in names)


@pytest.mark.parametrize("text", ["half", "", 3, None, True])
def test_an_unknown_choice_is_reported(text: Any) -> None:
    with pytest.raises(ConfigError, match=r"training\.hidden_precision must be one of reduced, float32, got"):
        trial_config({"training": {"hidden_precision": text}})
    assert trial_config({"training": {"hidden_precision": "float32"}}).training.hidden_precision is Precision.float32


def test_a_wrong_group_and_a_missing_value_are_reported() -> None:
    with pytest.raises(ConfigError) as refused:
        trial_config({"graph_model": [{"omega_f": 30}], "dataset": 5, "training": {"inr_batch_size": None}})
    for rule in (
        "graph_model must hold names and values, got [{",
        "dataset must hold",
        "inr_batch_size must have a value",
    ):
        assert rule in str(refused.value)
    assert trial_config({"claude": {"solved_r2": None}}).claude.solved_r2 is None
