"""Where a person wants a block's proposals to lie: a space within the block's own.

A limit is given in the parameter's own values; `nnr_f_T_period` and `total_steps`, where they are searched as ratios,
have their dimension limited so that the parameter lies between the two. What a ratio means depends on the length of the
windows: where that varies, such a limit sets it too, to the first one of the space that can meet the limit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from siren_sweep.config.parameters import RATIOS, WINDOW, leaf, parameter_of
from siren_sweep.search.encoding import axes
from siren_sweep.search.proposal import shown
from siren_sweep.search.space import Space

_ROUNDING = 1e-9  # relative; what a value may lose on its way through a ratio and back


@dataclass(frozen=True)
class Limit:
    """A parameter's lowest and highest value, both allowed."""

    low: float
    high: float


def limited(space: Space, limits: Mapping[str, Limit]) -> Space:
    """The part of a space that meets the limits, by dotted parameter; where none does, its nearest value."""
    asked = {name: limits[parameter_of(name)] for name in space.dimensions if parameter_of(name) in limits}
    if WINDOW in asked:
        space = _with(space, {WINDOW: _kept(space, WINDOW, asked.pop(WINDOW))})
    ratios = [(name, limit) for name, limit in asked.items() if name in RATIOS]
    if ratios and len(space.windows) > 1:
        met = {one: sum(_in_windows(space, *own, one) is not None for own in ratios) for one in space.windows}
        space = _with(space, {WINDOW: CategoricalDistribution([max(met, key=lambda one: met[one])])})
    return _with(space, {name: _kept(space, name, limit) for name, limit in asked.items()})


def _with(space: Space, dimensions: Mapping[str, BaseDistribution]) -> Space:
    return dataclasses.replace(space, dimensions={**space.dimensions, **dimensions})


def _kept(space: Space, name: str, limit: Limit) -> BaseDistribution:
    """A dimension's values that keep its parameter within a limit, or the one that comes nearest to it."""
    if (part := part_of(space, name, limit)) is None:
        window = space.windows[0]
        nearest = space.value(name, space.nearest_value(name, limit.low, window), window)
        part = part_of(space, name, Limit(nearest, nearest))
    assert part is not None
    return part


def fault(space: Space, parameter: str, limit: Limit) -> str | None:
    """Why a block cannot keep a limit at all, or None."""
    name = dimension_of(space, parameter)
    if name is None:
        fixed = space.fixed[parameter]
        if limit.low <= fixed <= limit.high:
            return None
        return f"{leaf(parameter)} does not vary in this sweep, it is {shown(fixed)}"
    if part_of(space, name, limit) is not None:
        return None
    rule = "be one of" if isinstance(space.dimensions[name], CategoricalDistribution) else "lie in"
    return f"{leaf(parameter)} must {rule} {values_text(space, name)} in this block, got {limit_text(limit)}"


def dimension_of(space: Space, parameter: str) -> str | None:
    """The dimension that sets a parameter, None where it does not vary."""
    return next((name for name in space.dimensions if parameter_of(name) == parameter), None)


def part_of(space: Space, name: str, limit: Limit) -> BaseDistribution | None:
    """A dimension's values that keep its parameter within a limit; None where there are none.

    A ratio's are those of the first length of windows that has any.
    """
    parts = (_in_windows(space, name, limit, window) for window in space.windows)
    return next((part for part in parts if part is not None), None)


def _in_windows(space: Space, name: str, limit: Limit, window: int) -> BaseDistribution | None:
    own: Any = space.dimensions[name]
    if isinstance(own, CategoricalDistribution):
        least, most = limit.low * (1 - _ROUNDING), limit.high * (1 + _ROUNDING)  # a ratio's steps are whole numbers
        kept = [choice for choice in own.choices if least <= space.value(name, choice, window) <= most]
        return CategoricalDistribution(kept) if kept else None
    ends = sorted(space.coordinate(name, value, window) for value in (limit.low, limit.high))
    low, high = ends[0] * (1 - _ROUNDING), ends[1] * (1 + _ROUNDING)
    if low > own.high or high < own.low:
        return None
    if isinstance(own, FloatDistribution):
        bottom, top = (min(max(end, own.low), own.high) for end in ends)
        return FloatDistribution(bottom, top, log=own.log)
    first = own.low + max(math.ceil((low - own.low) / own.step), 0) * own.step
    last = own.low + math.floor((min(high, own.high) - own.low) / own.step) * own.step
    return IntDistribution(first, last, log=own.log, step=own.step) if first <= last else None


def single(space: Space, name: str, value: float) -> Any:
    """What a dimension is set to for a value of its parameter that it can have."""
    part = part_of(space, name, Limit(value, value))
    assert part is not None
    return axes({name: part})[0].candidates()[0]


def limit_text(limit: Limit) -> str:
    """`30`, or `5 .. 30`."""
    return shown(limit.low) if limit.low == limit.high else f"{shown(limit.low)} .. {shown(limit.high)}"


def values_text(space: Space, name: str) -> str:
    """The values of a dimension's parameter: `64, 128`, or `5 .. 4096`."""
    own: Any = space.dimensions[name]
    listed = isinstance(own, CategoricalDistribution)
    coordinates = own.choices if listed else (own.low, own.high)
    values = sorted({space.value(name, one, window) for one in coordinates for window in space.windows})
    return ", ".join(dict.fromkeys(map(shown, values))) if listed else limit_text(Limit(values[0], values[-1]))
