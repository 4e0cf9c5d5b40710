"""The tree of mutations and its PUCT scores; plain data in, plain data out, no study.

A node is a trial, its parent the config that it was mutated from. After Silver et al. 2016 (Nature 529, Methods,
"Search algorithm", the selection rule a = argmax Q + u) with a uniform prior:

    UCB(u) = reward(u) + c * sqrt(N) / (1 + V(u))

with N the nodes of the block and V(u) = 1 + the descendants of u. A failed node and a pending one have a visit and no
reward: they count in N and in their ancestors' V, and have no score of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class Reward(StrEnum):
    """What a node's score starts from: its rank within the block, in [0, 1], or the score itself."""

    rank = "rank"
    raw = "raw"


@dataclass(frozen=True)
class Node:
    """One trial. `value` is its R2 (a pruned one's last), None for a failed or a pending one."""

    id: int
    parent: int | None
    value: float | None


@dataclass(frozen=True)
class Score:
    """One row of the list of scores."""

    id: int
    parent: int | None
    ucb: float
    visits: int
    reward: float


def visits(nodes: Iterable[Node]) -> dict[int, int]:
    """V(u) = 1 + descendants, by node id. A parent that is not among the nodes before its child makes that a root."""
    parents = _parents(nodes)
    counts = dict.fromkeys(parents, 1)
    for node in sorted(parents, reverse=True):  # all descendants of a node come before it
        if (parent := parents[node]) is not None:
            counts[parent] += counts[node]
    return counts


def rank_rewards(values: Mapping[int, float]) -> dict[int, float]:
    """Ranks scaled to [0, 1], the best 1; equal values share their mean rank, and a lone one has 1."""
    if len(values) == 1:
        return dict.fromkeys(values, 1.0)
    each = np.array([*values.values()])
    ordered = np.sort(each)
    places = np.searchsorted(ordered, each, "left") + np.searchsorted(ordered, each, "right") - 1
    return dict(zip(values, (places / 2 / (len(each) - 1)).tolist(), strict=True))


def scores(nodes: Iterable[Node], c: float, reward: Reward = Reward.rank, most: int | None = None) -> list[Score]:
    """The UCB of every node that has a value, or of the `most` with the highest; highest first, equal ones in the order
    of their ids."""
    nodes = list(nodes)
    values = {node.id: node.value for node in nodes if node.value is not None and not math.isnan(node.value)}
    if not values:
        return []
    rewards = rank_rewards(values) if reward is Reward.rank else values
    parents, visited = _parents(nodes), visits(nodes)
    ids, seen = np.array([*values]), np.array([visited[node] for node in values])
    ucb = np.array([*rewards.values()]) + c * math.sqrt(len(nodes)) / (1 + seen)
    order = np.lexsort((ids, -ucb))[:most]
    rows = zip(ids[order].tolist(), ucb[order].tolist(), strict=True)
    return [Score(node, parents[node], value, visited[node], rewards[node]) for node, value in rows]


class GrowingTree:
    """The tree of a block as it grows: which nodes come first by their UCB, without a pass over all nodes in Python.

    `ids` are those of all nodes that may come. What is first is what `scores` says of the nodes so far.
    """

    def __init__(self, ids: Iterable[int], c: float, reward: Reward) -> None:
        self._c, self._reward, self._ids = c, reward, sorted(ids)
        self._rows = {node: row for row, node in enumerate(self._ids)}
        self._values = np.full(len(self._ids), np.nan)
        self._places = np.zeros(len(self._ids), int)  # twice the mean rank of a value
        self._visits = np.ones(len(self._ids), int)
        self._present: set[int] = set()
        self._parents: dict[int, int] = {}
        self._waiting: dict[int, list[int]] = {}  # children that came before their parent

    def put(self, node: Node) -> None:
        """Add a node, or give one that is there its new value."""
        row, new = self._rows[node.id], math.nan if node.value is None else node.value
        if row not in self._present:
            self._add(row, node)
        old = float(self._values[row])
        if old == new:
            return
        if not math.isnan(old):
            self._values[row] = math.nan
            self._places -= self._above(old)
        if not math.isnan(new):
            self._places += self._above(new)
            self._places[row] = np.sum(self._values < new) + np.sum(self._values <= new)
            self._values[row] = new

    def first(self, n: int) -> list[int]:
        """The ids of the n nodes of highest UCB, the highest first, equal ones in the order of their ids."""
        known = ~np.isnan(self._values)
        n_known = int(known.sum())
        ranks = self._places / 2 / (n_known - 1) if n_known > 1 else np.ones(len(self._ids))
        reward = ranks if self._reward is Reward.rank else self._values
        ucb = reward + self._c * math.sqrt(len(self._present)) / (1 + self._visits)
        ucb[~known] = -np.inf
        found = []
        for _ in range(min(n, n_known)):
            row = int(np.argmax(ucb))
            found.append(self._ids[row])
            ucb[row] = -np.inf
        return found

    def _above(self, value: float) -> np.ndarray:
        """By how much a value moves the places of the others up: of those above it by two, of equal ones by one."""
        return np.asarray((value < self._values).astype(int) + (value <= self._values))

    def _add(self, row: int, node: Node) -> None:
        self._present.add(row)
        parent = self._rows.get(node.parent) if node.parent is not None and node.parent < node.id else None
        if parent in self._present:
            self._hang(row, parent)
        elif parent is not None:
            self._waiting.setdefault(parent, []).append(row)
        for child in self._waiting.pop(row, ()):
            self._hang(child, row)

    def _hang(self, row: int, parent: int | None) -> None:
        """Make a node a child; its visits are its ancestors' too."""
        assert parent is not None
        self._parents[row] = parent
        above: int | None = parent
        while above is not None:
            self._visits[above] += self._visits[row]
            above = self._parents.get(above)


def _parents(nodes: Iterable[Node]) -> dict[int, int | None]:
    """Parent by id, with parents that are not among the nodes before their child as None."""
    parents = {node.id: node.parent for node in nodes}
    return {
        node: parent if parent is not None and parent < node and parent in parents else None
        for node, parent in parents.items()
    }
