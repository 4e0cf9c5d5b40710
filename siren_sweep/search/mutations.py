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
    parent: int | None = None


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


def fresh(space: Sequence[Axis], rng: np.random.Generator, n: int) -> list[dict[str, Any]]:
    """Random configs."""
    return [_at(space, shares) for shares in rng.uniform(size=(n, len(space)))]


def latin_hypercube(space: Sequence[Axis], n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """n configs, of many Latin hypercubes the one whose points lie farthest apart.

    McKay, Beckman and Conover 1979; Morris and Mitchell 1995 for the choice among them.
    """
    columns = [[(rng.permutation(n) + 0.5) / n for _ in space] for _ in range(_DESIGNS)]
    designs = [np.column_stack([np.empty((n, 0)), *own]) for own in columns]  # also where nothing varies
    return [_at(space, shares) for shares in max(designs, key=_nearest_pair)]


def _at(space: Sequence[Axis], shares: np.ndarray) -> dict[str, Any]:
    return {axis.name: axis.drawn(share) for axis, share in zip(space, shares.tolist(), strict=True)}


def _nearest_pair(units: np.ndarray) -> float:
    """The smallest squared distance between two points (n, p)."""
    squares = np.square(units[:, None, :] - units[None, :, :]).sum(2)
    return float(squares[~np.eye(len(units), dtype=bool)].min(initial=np.inf))
