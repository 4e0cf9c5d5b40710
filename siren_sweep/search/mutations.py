"""The configs that may come next: mutations of chosen parents, and fresh ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from siren_sweep.search.encoding import Axis, Params, key_of

_PAIRS, _FRESH = 400, 200  # candidates that change two parameters, or all
_DESIGNS = 40


@dataclass(frozen=True)
class Candidate:
    """A config and the trial that it is a mutation of; without one it is fresh."""

    params: dict[str, Any]
    parent: int | None
    n_changed: int


def mutations(
    space: Sequence[Axis], parents: Sequence[tuple[int, Params]], rng: np.random.Generator
) -> list[Candidate]:
    """All changes of one parameter of each parent (number, params), and a sample of the changes of two."""
    free = [axis for axis in space if not axis.fixed]
    levels = {axis.name: axis.candidates() for axis in free}
    singles, pairs = [], []
    for number, params in parents:
        for axis in free:
            singles += [
                Candidate({**params, axis.name: value}, number, 1)
                for value in levels[axis.name]
                if value != params[axis.name]
            ]
        pairs += [(number, params, first.name, second.name) for first, second in itertools.combinations(free, 2)]
    doubles = []
    for index in rng.integers(len(pairs), size=_PAIRS) if pairs else []:
        number, params, first, second = pairs[index]
        drawn = {name: levels[name][rng.integers(len(levels[name]))] for name in (first, second)}
        n_changed = sum(drawn[name] != params[name] for name in drawn)
        if n_changed == 2:
            doubles.append(Candidate({**params, **drawn}, number, 2))
    return singles + doubles


def fresh(space: Sequence[Axis], rng: np.random.Generator) -> list[Candidate]:
    """Random configs without a parent."""
    units = rng.uniform(size=(_FRESH, len(space)))
    return [Candidate(_at(space, row), None, len(space)) for row in units]


def spread(
    space: Sequence[Axis], n: int, rng: np.random.Generator, penalty: Callable[[Params], float]
) -> list[dict[str, Any]]:
    """n configs of a Latin hypercube, the one of many draws whose points lie farthest apart for their mean penalty.

    McKay, Beckman and Conover 1979; Morris and Mitchell 1995 for the choice among draws.
    """
    best, designs = -np.inf, []
    for _ in range(_DESIGNS):
        units = np.stack([(rng.permutation(n) + 0.5) / n for _ in space], axis=1)
        configs = [_at(space, row) for row in units]
        distances = np.square(units[:, None] - units[None]).sum(2) + 1e9 * np.eye(n)
        merit = float(np.sqrt(distances.min())) - float(np.mean([penalty(params) for params in configs]))
        if n == 1 or merit > best:
            best, designs = merit, configs
    return designs


def unseen(space: Sequence[Axis], candidates: Sequence[Candidate], seen: set[tuple[Any, ...]]) -> list[Candidate]:
    """The candidates whose config is not among the seen ones."""
    return [candidate for candidate in candidates if key_of(space, candidate.params) not in seen]


def _at(space: Sequence[Axis], units: np.ndarray) -> dict[str, Any]:
    """The config at coordinates (p,); a nominal parameter's choices share [0, 1] evenly."""
    params = {}
    for axis, unit in zip(space, units, strict=True):
        if axis.levels is not None:
            params[axis.name] = axis.levels[min(int(unit * len(axis.levels)), len(axis.levels) - 1)]
        else:
            params[axis.name] = axis.from_unit(float(unit))
    return params
