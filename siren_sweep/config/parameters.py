"""The explorable parameters: those that a search may vary, as the schema declares them.

To add one, declare a field of the schema with `explorable`, and add its line to `conf/search_space`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from siren_sweep.config.checks import bound_fault
from siren_sweep.config.schema import TrialConfig


@dataclass(frozen=True)
class Parameter:
    """One explorable parameter; `name` is dotted, as `graph_model.omega_f`."""

    name: str
    kind: type  # int or float
    default: Any
    bounds: Mapping[str, Any]  # `low`, `high`, `above`, `unit`; see `schema.bounded`
    short: str  # its name in the record
    about: str  # its description in an agent's instructions
    ratio: str | None = None  # the name of the dimension in which it is searched as a ratio
    most: float = 0  # the highest value of that ratio

    @property
    def leaf(self) -> str:
        """The last part of the name, such as `omega_f`."""
        return leaf(self.name)

    def value_in(self, cfg: TrialConfig) -> Any:
        """Its value in a config."""
        group, _, name = self.name.partition(".")
        return getattr(getattr(cfg, group), name)

    def checked(self, value: float) -> Any:
        """A number in the parameter's type. Raises ValueError with the rule and the value."""
        fault = bound_fault(float(value), self.bounds)
        if fault is None and self.kind is int and not float(value).is_integer():
            fault = f"must be a whole number, got {value}"
        if fault is not None:
            raise ValueError(fault)
        return self.kind(value)


def leaf(name: str) -> str:
    """The last part of a dotted name."""
    return name.rsplit(".", 1)[-1]


def short_name(dimension: str) -> str:
    """The name of a dimension in the record: a parameter's short name, or the ratio's own."""
    return PARAMETERS[dimension].short if dimension in PARAMETERS else leaf(dimension)


def parameter_of(dimension: str) -> str:
    """The explorable parameter that a dimension sets: `T_period_ratio` sets `graph_model.nnr_f_T_period`."""
    return RATIOS.get(dimension, dimension)


def dimension_fault(dimension: str, value: float) -> str | None:
    """What is wrong with a value of a parameter, or of its ratio; None where nothing is."""
    parameter = PARAMETERS[parameter_of(dimension)]
    bounds = {"above": 0, "high": parameter.most} if dimension == parameter.ratio else parameter.bounds
    return bound_fault(value, bounds)


def defaults() -> dict[str, Any]:
    """Every parameter at its default, by dotted name."""
    return {name: parameter.default for name, parameter in PARAMETERS.items()}


def grouped(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Values by dotted name as groups of names, as a config file holds them."""
    groups: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        group, _, own = name.partition(".")
        groups.setdefault(group, {})[own] = value
    return groups


def value_at(groups: Mapping[str, Mapping[str, Any]], name: str) -> Any:
    """The value that groups hold under a dotted name; None where they have none."""
    group, _, own = name.partition(".")
    return groups.get(group, {}).get(own)


def _declared() -> dict[str, Parameter]:
    found = {}
    for group in dataclasses.fields(TrialConfig()):
        for item in dataclasses.fields(getattr(TrialConfig(), group.name)):
            own = item.metadata.get("explorable")
            if own is not None:
                name = f"{group.name}.{item.name}"
                found[name] = Parameter(name, type(item.default), item.default, item.metadata, **own)
    return found


PARAMETERS = _declared()
EXPLORABLE = tuple(PARAMETERS)
RATIOS = {parameter.ratio: parameter.name for parameter in PARAMETERS.values() if parameter.ratio}

HIDDEN_DIM = PARAMETERS["graph_model.hidden_dim_nnr_f"].name
N_LAYERS = PARAMETERS["graph_model.n_layers_nnr_f"].name
OMEGA = PARAMETERS["graph_model.omega_f"].name
T_PERIOD = PARAMETERS["graph_model.nnr_f_T_period"].name
XY_PERIOD = PARAMETERS["graph_model.nnr_f_xy_period"].name
WINDOW = PARAMETERS["graph_model.window_frames"].name
RATE = PARAMETERS["training.learning_rate_NNR_f"].name
BATCH_SIZE = PARAMETERS["training.inr_batch_size"].name
TOTAL_STEPS = PARAMETERS["claude.total_steps"].name
T_PERIOD_RATIO, TOTAL_STEPS_RATIO = (str(PARAMETERS[name].ratio) for name in (T_PERIOD, TOTAL_STEPS))
