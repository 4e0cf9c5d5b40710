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
    space = _limited_in_windows(space, limits)
    dimensions = dict(space.dimensions)
    for name in space.dimensions:
        limit = limits.get(parameter_of(name))
        if limit is not None:
            dimensions[name] = part_of(space, name, limit) or _nearest(space, name, limit)
    return dataclasses.replace(space, dimensions=dimensions)


def _limited_in_windows(space: Space, limits: Mapping[str, Limit]) -> Space:
    """The space with the windows that are asked for, or that what is asked of a ratio leaves."""
    if WINDOW not in space.dimensions:
        return space
    if WINDOW in limits:
        kept = part_of(space, WINDOW, limits[WINDOW]) or _nearest(space, WINDOW, limits[WINDOW])
        space = dataclasses.replace(space, dimensions={**space.dimensions, WINDOW: kept})
    asked = [(name, limits[of]) for name in space.dimensions if name in RATIOS and (of := parameter_of(name)) in limits]
    if not asked or len(space.windows) < 2:
        return space
    met = {one: sum(_in_windows(space, *own, one) is not None for own in asked) for one in space.windows}
    only = CategoricalDistribution([max(met, key=lambda one: met[one])])
    return dataclasses.replace(space, dimensions={**space.dimensions, WINDOW: only})


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
    distribution = space.dimensions[name]
    ends = sorted(space.coordinate(name, value, window) for value in (limit.low, limit.high))
    low, high = ends[0] * (1 - _ROUNDING), ends[1] * (1 + _ROUNDING)
    if isinstance(distribution, CategoricalDistribution):
        least, most = limit.low * (1 - _ROUNDING), limit.high * (1 + _ROUNDING)  # a ratio's steps are whole numbers
        kept = [one for one in distribution.choices if least <= space.value(name, one, window) <= most]
        return CategoricalDistribution(kept) if kept else None
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    if low > distribution.high or high < distribution.low:
        return None
    if isinstance(distribution, FloatDistribution):
        bottom, top = (min(max(end, distribution.low), distribution.high) for end in ends)
        return FloatDistribution(bottom, top, log=distribution.log)
    step, start = distribution.step, distribution.low
    first = start + max(math.ceil((low - start) / step), 0) * step
    last = start + math.floor((min(high, distribution.high) - start) / step) * step
    return IntDistribution(first, last, log=distribution.log, step=step) if first <= last else None


def limit_text(limit: Limit) -> str:
    """`30`, or `5 .. 30`."""
    return shown(limit.low) if limit.low == limit.high else f"{shown(limit.low)} .. {shown(limit.high)}"


def _nearest(space: Space, name: str, limit: Limit) -> BaseDistribution:
    """The single value of a dimension whose parameter comes nearest to a limit that it cannot meet."""
    window = space.windows[0]
    value = space.value(name, space.nearest_value(name, limit.low, window), window)
    part = part_of(space, name, Limit(value, value))
    assert part is not None
    return part


def values_text(space: Space, name: str) -> str:
    """The values of a dimension's parameter: `64, 128`, or `5 .. 4096`."""
    distribution = space.dimensions[name]
    if isinstance(distribution, CategoricalDistribution):
        values = {space.value(name, choice, window) for choice in distribution.choices for window in space.windows}
        return ", ".join(dict.fromkeys(map(shown, sorted(values))))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    ends = [space.value(name, end, window) for end in (distribution.low, distribution.high) for window in space.windows]
    low, high = min(ends), max(ends)
    return limit_text(Limit(low, high))


def single(space: Space, name: str, value: float) -> Any:
    """What a dimension is set to for a value of its parameter that it can have."""
    part = part_of(space, name, Limit(value, value))
    assert part is not None
    return axes({name: part})[0].candidates()[0]
