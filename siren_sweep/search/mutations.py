"""The configs that may come next: mutations of chosen parents, and fresh ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from siren_sweep.search.encoding import Axis, Params, nearest
from siren_sweep.search.knowledge import couplings
from siren_sweep.search.proposal import changed

_COUPLED = 300  # candidates that change a coupled pair
_DESIGNS = 40


class Candidate(NamedTuple):
    """A config and the trial that it is a mutation of; without one it is fresh."""

    params: dict[str, Any]
    parent: int | None


def mutations(
    space: Sequence[Axis], parents: Sequence[tuple[int, Params]], rng: np.random.Generator
) -> list[Candidate]:
    """All changes of one parameter of each parent (number, params), and a sample of those of two coupled ones.

    A parent outside the space is first moved to its nearest point, which is a candidate too.
    """
    levels = {axis.name: axis.candidates() for axis in space if not axis.fixed}
    moved = [(number, nearest(space, params)) for number, params in parents]
    configs = moved + [
        (number, {**params, name: value})
        for number, params in moved
        for name, values in levels.items()
        for value in values
        if value != params[name]
    ]
    pairs = [(number, params, (one.first, one.second)) for number, params in moved for one in couplings(space)]
    for index in rng.integers(len(pairs), size=_COUPLED) if pairs else []:
        number, params, pair = pairs[index]
        drawn = {name: levels[name][rng.integers(len(levels[name]))] for name in pair}
        if all(drawn[name] != params[name] for name in pair):
            configs.append((number, {**params, **drawn}))
    known = dict(parents)
    return [Candidate(params, number) for number, params in configs if changed(known[number], params)]


def fresh(space: Sequence[Axis], rng: np.random.Generator, n: int) -> list[Candidate]:
    """Random configs without a parent."""
    return [Candidate(_at(space, row), None) for row in rng.uniform(size=(n, len(space))).tolist()]


def latin_hypercube(space: Sequence[Axis], n: int, rng: np.random.Generator) -> list[Candidate]:
    """n configs, of many Latin hypercubes the one whose points lie farthest apart.

    McKay, Beckman and Conover 1979; Morris and Mitchell 1995 for the choice among them.
    """
    columns = [[(rng.permutation(n) + 0.5) / n for _ in space] for _ in range(_DESIGNS)]
    designs = [np.column_stack([np.empty((n, 0)), *own]) for own in columns]  # also where nothing varies
    best = max(designs, key=_nearest_pair)
    return [Candidate(_at(space, row), None) for row in best.tolist()]


def _at(space: Sequence[Axis], units: Sequence[float]) -> dict[str, Any]:
    """The config at coordinates (p,); a nominal parameter's choices share [0, 1] evenly."""
    params = {}
    for axis, unit in zip(space, units, strict=True):
        if axis.levels is not None:
            params[axis.name] = axis.levels[min(int(unit * len(axis.levels)), len(axis.levels) - 1)]
        else:
            params[axis.name] = axis.from_unit(unit)
    return params


def _nearest_pair(units: np.ndarray) -> float:
    """The smallest squared distance between two points (n, p)."""
    squares = np.square(units[:, None, :] - units[None, :, :]).sum(2)
    return float(squares[~np.eye(len(units), dtype=bool)].min(initial=np.inf))
