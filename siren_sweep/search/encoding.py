"""Search parameters as coordinates in [0, 1], on the scale on which they act.

A logarithmic distribution is taken by its logarithm; a categorical one of numbers keeps their order (and is
logarithmic where they span a factor of four or more); one of other choices is nominal: all its choices are equally far
apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from siren_sweep.config.parameters import WINDOW, leaf

Params = Mapping[str, Any]
MAX_LEVELS = 24  # a parameter with more values than this is searched as a continuous one
_LOG_SPAN = 4.0
_DIGITS = 2  # significant digits of a proposed float: people read and type these values; more in a narrow range


class Axis:
    """One parameter: its distribution, and the map between its values and [0, 1]."""

    def __init__(self, name: str, distribution: BaseDistribution) -> None:
        self.name = name
        self.distribution = distribution
        self.nominal = isinstance(distribution, CategoricalDistribution) and not _numeric(distribution.choices)
        self.levels: list[Any] | None = _levels(distribution)
        self._ranks: dict[Any, int] | None = None
        if leaf(name) == leaf(WINDOW) and self.levels is not None and 0 in self.levels:
            self.levels = [*self.levels[1:], 0]  # one network over all frames lies beyond the longest window
            self._ranks = {level: index for index, level in enumerate(self.levels)}
        low, high = self._bounds()
        self._log = not self.nominal and low > 0 and self._is_log(low, high)
        span = (high - low) / max(abs(low), abs(high), 1e-300)
        self._digits = _DIGITS + max(0, math.floor(-math.log10(span))) if span else _DIGITS
        self._low, self._high = (math.log(low), math.log(high)) if self._log else (low, high)

    @property
    def fixed(self) -> bool:
        """Whether it has a single value, so that nothing can be searched."""
        return self.distribution.single()

    @property
    def positive(self) -> bool:
        """Whether all its values are numbers above zero."""
        return not self.nominal and self._ranks is None and self._bounds()[0] > 0

    def to_unit(self, value: Any) -> float:
        """The coordinate of a value; values outside the bounds lie outside [0, 1]. A nominal one: its index."""
        if self.nominal:
            return float(self.levels.index(value)) if self.levels and value in self.levels else math.nan
        if self._high == self._low:
            return 0.0
        if self._ranks is not None:
            return self._ranks[self._nearest_rank(value)] / (len(self._ranks) - 1)
        number = math.log(max(float(value), 1e-300)) if self._log else float(value)
        return (number - self._low) / (self._high - self._low)

    def from_unit(self, unit: float) -> Any:
        """The allowed value nearest to a coordinate, rounded to few digits where it is a float without a step."""
        if self.levels is not None:
            return min(self.levels, key=lambda level: abs(self.to_unit(level) - unit))
        number = self._low + min(max(unit, 0.0), 1.0) * (self._high - self._low)
        number = math.exp(number) if self._log else number
        dist = self.distribution
        assert isinstance(dist, FloatDistribution | IntDistribution)
        step = dist.step or (0 if isinstance(dist, FloatDistribution) else 1)
        number = dist.low + round((number - dist.low) / step) * step if step else float(f"{number:.{self._digits}g}")
        number = min(max(number, dist.low), dist.high)
        return int(number) if isinstance(dist, IntDistribution) else float(number)

    def candidates(self, n: int = 17) -> list[Any]:
        """Values to consider: every level, or n spread evenly on the axis."""
        if self.levels is not None:
            return list(self.levels)
        return list(dict.fromkeys(self.from_unit(unit) for unit in np.linspace(0, 1, n)))

    def _nearest_rank(self, value: Any) -> Any:
        """The length of windows that comes nearest to a value."""
        known = self._ranks or {}
        return value if value in known else min((level for level in known if level), key=lambda one: abs(one - value))

    def _bounds(self) -> tuple[float, float]:
        if self.nominal:
            return 0.0, 1.0
        if isinstance(self.distribution, CategoricalDistribution):
            return float(min(self.distribution.choices)), float(max(self.distribution.choices))  # type: ignore
        assert isinstance(self.distribution, FloatDistribution | IntDistribution)
        return float(self.distribution.low), float(self.distribution.high)

    def _is_log(self, low: float, high: float) -> bool:
        if isinstance(self.distribution, CategoricalDistribution):
            return high / low >= _LOG_SPAN
        return bool(getattr(self.distribution, "log", False))


def axes(distributions: Mapping[str, BaseDistribution]) -> list[Axis]:
    """One axis a parameter, in the given order."""
    return [Axis(name, distribution) for name, distribution in distributions.items()]


def nearest(space: Sequence[Axis], params: Params) -> dict[str, Any]:
    """The nearest config that a space allows; a nominal value that is no choice becomes the first choice."""
    found = {}
    for axis in space:
        unit = axis.to_unit(params[axis.name])
        allowed = not math.isnan(unit) if axis.nominal else axis.levels is None and 0 <= unit <= 1 and not axis.fixed
        found[axis.name] = params[axis.name] if allowed else axis.from_unit(0.0 if math.isnan(unit) else unit)
    return found


def key_of(space: Sequence[Axis], params: Params) -> tuple[Any, ...]:
    """What makes two configs equal: the values of the searched parameters."""
    return tuple([params[axis.name] for axis in space])


def _numeric(choices: Sequence[Any]) -> bool:
    return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices)


def _levels(distribution: BaseDistribution) -> list[Any] | None:
    """All values in order, or None where there are too many."""
    if isinstance(distribution, CategoricalDistribution):
        choices: list[Any] = list(distribution.choices)
        return sorted(choices) if _numeric(choices) else choices
    if isinstance(distribution, IntDistribution):
        values = range(distribution.low, distribution.high + 1, distribution.step)
        return list(values) if len(values) <= MAX_LEVELS else None
    if isinstance(distribution, FloatDistribution) and distribution.step:
        count = round((distribution.high - distribution.low) / distribution.step) + 1
        if count <= MAX_LEVELS:
            return [distribution.low + index * distribution.step for index in range(count)]
    return None
