"""Search parameters as coordinates in [0, 1], on the scale on which they act.

A logarithmic distribution is taken by its logarithm; a list of numbers keeps their order, and is logarithmic where they
span a factor of four or more; a list of anything else is taken by its own order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from siren_sweep.config.parameters import WINDOW, leaf

Params = Mapping[str, Any]
MAX_LEVELS = 24  # a parameter with more values than this is searched as a continuous one
_LOG_SPAN = 4.0
_DIGITS = 2  # significant digits of a proposed float: people read and type these values; more in a narrow range


class Axis:
    """One parameter: its distribution, and the map between its values and [0, 1].

    `levels` are all its values in order, None where there are too many; `fixed`, whether there is only one; `positive`,
    whether all are numbers above zero.
    """

    def __init__(self, name: str, distribution: BaseDistribution) -> None:
        self.name, self.distribution, self.fixed = name, distribution, distribution.single()
        own: Any = distribution
        listed = isinstance(own, CategoricalDistribution)
        self.levels = _levels(own)
        self._ranked = listed and not _numeric(own.choices)  # values count by their place among the levels
        if leaf(name) == leaf(WINDOW) and self.levels and 0 in self.levels:
            self.levels = [*self.levels[1:], 0]  # one network over all frames lies beyond the longest window
            self._ranked = True
        ends = (own.low, own.high) if self.levels is None else (self.levels[0], self.levels[-1])
        low, high = ends if not self._ranked else (0, len(self.levels or ()) - 1)
        self.positive = not self._ranked and low > 0
        self._log = self.positive and (high / low >= _LOG_SPAN if listed else getattr(own, "log", False))
        span = (high - low) / max(abs(low), abs(high), 1e-300)
        self._digits = _DIGITS + max(0, math.floor(-math.log10(span))) if span else _DIGITS
        self._low: float = math.log(low) if self._log else low
        self._high: float = math.log(high) if self._log else high

    def to_unit(self, value: Any) -> float:
        """The coordinate of a value; values outside the bounds lie outside [0, 1]."""
        if self._high == self._low:
            return 0.0
        number = float(self._rank(value) if self._ranked else value)
        number = math.log(max(number, 1e-300)) if self._log else number
        return (number - self._low) / (self._high - self._low)

    def from_unit(self, unit: float) -> Any:
        """The allowed value nearest to a coordinate, rounded to few digits where it is a float without a step."""
        if self.levels is not None:
            return min(self.levels, key=lambda level: abs(self.to_unit(level) - unit))
        number = self._low + min(max(unit, 0.0), 1.0) * (self._high - self._low)
        number = math.exp(number) if self._log else number
        own: Any = self.distribution
        number = own.low + round((number - own.low) / own.step) * own.step if own.step else self._rounded(number)
        number = min(max(number, own.low), own.high)
        return int(number) if isinstance(own, IntDistribution) else float(number)

    def nearest(self, value: Any) -> Any:
        """The allowed value nearest to a value, which is itself where it is allowed."""
        unit = self.to_unit(value)
        return value if self.levels is None and 0 <= unit <= 1 and not self.fixed else self.from_unit(unit)

    def drawn(self, share: float) -> Any:
        """The value at a number drawn from [0, 1], which levels share evenly."""
        if self.levels is None:
            return self.from_unit(share)
        return self.levels[min(int(share * len(self.levels)), len(self.levels) - 1)]

    def candidates(self, n: int = 17) -> list[Any]:
        """Values to consider: every level, or n spread evenly on the axis."""
        if self.levels is not None:
            return list(self.levels)
        return list(dict.fromkeys(self.from_unit(unit) for unit in np.linspace(0, 1, n)))

    def _rank(self, value: Any) -> int:
        """The place of a value among the levels, or of the length of windows that comes nearest to it."""
        levels = self.levels or []
        lengths = [level for level in levels if level]
        return levels.index(value if value in levels else min(lengths, key=lambda one: abs(one - value)))

    def _rounded(self, number: float) -> float:
        return float(f"{number:.{self._digits}g}")


def axes(distributions: Mapping[str, BaseDistribution]) -> list[Axis]:
    """One axis a parameter, in the given order."""
    return [Axis(name, distribution) for name, distribution in distributions.items()]


def nearest(space: Sequence[Axis], params: Params) -> dict[str, Any]:
    """The nearest config that a space allows."""
    return {axis.name: axis.nearest(params[axis.name]) for axis in space}


def key_of(space: Sequence[Axis], params: Params) -> tuple[Any, ...]:
    """What makes two configs equal: the values of the searched parameters."""
    return tuple([params[axis.name] for axis in space])


def _numeric(choices: Sequence[Any]) -> bool:
    return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in choices)


def _levels(distribution: Any) -> list[Any] | None:
    if isinstance(distribution, CategoricalDistribution):
        choices: list[Any] = list(distribution.choices)
        return sorted(choices) if _numeric(choices) else choices
    low, high, step = distribution.low, distribution.high, distribution.step
    count = round((high - low) / step) + 1 if step else math.inf
    return [low + index * step for index in range(int(count))] if count <= MAX_LEVELS else None
