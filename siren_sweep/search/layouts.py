"""Batches that are laid out by hand: a grid, a Latin square, and variations around the best known config."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from siren_sweep.search.encoding import Axis, Params

FIRST = "graph_model.omega_f"  # the parameter that decides most, varied first
_WINDOW = 0.5  # a grid spans this part of its axis


def grid(space: Sequence[Axis], centre: Params, varied: Axis, n: int) -> list[dict[str, Any]]:
    """The centre and up to n - 1 other values of one parameter, evenly spread on its axis around the centre's."""
    others = [value for value in _around(varied, centre[varied.name], n) if value != centre[varied.name]]
    return [dict(centre)] + [{**centre, varied.name: value} for value in others]


def latin_square(centre: Params, pair: Sequence[Axis], n: int) -> list[dict[str, Any]]:
    """Two parameters at two levels each, the centre's level among them: four configs whose main effects separate."""
    first, second = ([centre[axis.name], _step(axis, centre[axis.name])] for axis in pair)
    square = [{**centre, pair[0].name: a, pair[1].name: b} for a, b in itertools.product(first, second)]
    return square[:n]


def variations(space: Sequence[Axis], centre: Params) -> Iterator[dict[str, Any]]:
    """Configs that differ from the centre in one parameter: a step up or down of each in turn, then wider ones."""
    for width in (0.125, 0.25, 0.5, 1.0):
        for axis in ordered(space):
            for sign in (1, -1):
                value = _step(axis, centre[axis.name], sign * width)
                if value != centre[axis.name]:
                    yield {**centre, axis.name: value}


def ordered(space: Sequence[Axis]) -> list[Axis]:
    """The axes that can vary, omega_f first."""
    return sorted((axis for axis in space if not axis.fixed), key=lambda axis: axis.name != FIRST)


def within(space: Sequence[Axis], params: Params) -> dict[str, Any]:
    """The nearest config that the space allows; a nominal value that is no choice becomes the first choice."""
    nearest = {}
    for axis in space:
        unit = axis.to_unit(params[axis.name])
        allowed = not np.isnan(unit) if axis.nominal else axis.levels is None and 0 <= unit <= 1 and not axis.fixed
        nearest[axis.name] = params[axis.name] if allowed else axis.from_unit(0.0 if np.isnan(unit) else unit)
    return nearest


def _around(axis: Axis, value: Any, n: int) -> list[Any]:
    """Up to n values on an axis: of a window around a value, or the nearest levels of a short axis."""
    if axis.levels is not None and len(axis.levels) <= n:
        return list(axis.levels)
    if axis.nominal:
        return list(axis.levels or [])[:n]
    unit, step = axis.to_unit(value), _WINDOW / (n - 1 or 1)
    if axis.levels is not None:
        step = max(step, 1 / (len(axis.levels) - 1))
    below = min(int(unit / step + 1e-9), (n - 1) // 2)
    below = max(below, n - 1 - int((1 - unit) / step + 1e-9))
    return [axis.from_unit(unit + step * (index - below)) if index != below else value for index in range(n)]


def _step(axis: Axis, value: Any, width: float = 0.25) -> Any:
    """Another value a signed part of the axis away; the other way at a bound, the nearest other level at least."""
    others = [level for level in axis.candidates(33) if level != value]
    if not others:
        return value
    if axis.nominal:
        return others[int(abs(width) * 8) % len(others)]
    unit = axis.to_unit(value)
    target = unit + width if 0 <= unit + width <= 1 else unit - width
    return min(others, key=lambda level: abs(axis.to_unit(level) - target))
