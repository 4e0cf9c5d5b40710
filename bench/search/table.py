"""A table of recorded learning curves: a search space of configs whose curves are known."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from siren_sweep.search.knowledge import cost

BEST_SHARE = 0.02


class Table:
    """`names` (p,) of the parameters, `configs` (n, p) float64, `curves` (n, 20) of R2, NaN after a config diverged.

    With `hidden` the parameters have names that tell nothing.
    """

    def __init__(self, names: list[str], configs: np.ndarray, curves: np.ndarray, *, hidden: bool = False) -> None:
        self.names = [f"x{index}" for index in range(len(names))] if hidden else names
        self.curves = np.asarray(curves, np.float64)
        self.levels = [np.unique(column) for column in configs.T]
        self.index = np.stack(
            [np.searchsorted(level, column) for level, column in zip(self.levels, configs.T, strict=True)], axis=1
        )
        self.final = np.where(np.isnan(self.curves).any(1), -np.inf, self.curves[:, -1])
        ranked = np.argsort(-self.final, kind="stable")
        self.is_top = np.zeros(len(configs), bool)
        self.is_top[ranked[: max(1, round(BEST_SHARE * len(configs)))]] = True
        here = set(map(tuple, self.index.tolist()))
        grid = itertools.product(*(range(len(level)) for level in self.levels))
        self.holes = [self._values(at) for at in grid if at not in here]  # configs of the grid that were not recorded
        costs = np.array([cost(dict(zip(names, row, strict=True))) for row in configs])
        self.cost = costs / np.median(costs)  # of a full trial, in units of the median one

    @classmethod
    def load(cls, file: Path, *, hidden: bool = False) -> Table:
        with np.load(file) as arrays:
            return cls([str(name) for name in arrays["names"]], arrays["configs"], arrays["curves"], hidden=hidden)

    def values(self) -> dict[str, BaseDistribution]:
        """The search space as lists of values, as `choice(...)` makes it."""
        return {
            name: CategoricalDistribution([_number(value) for value in level])
            for name, level in zip(self.names, self.levels, strict=True)
        }

    def positions(self) -> dict[str, BaseDistribution]:
        """The search space as positions in those lists, which tells samplers the order of the values."""
        return {name: IntDistribution(0, len(level) - 1) for name, level in zip(self.names, self.levels, strict=True)}

    def params(self, row: int) -> dict[str, Any]:
        """The config of a row."""
        return self._values(self.index[row])

    def _values(self, index: Sequence[int]) -> dict[str, Any]:
        return {name: _number(level[at]) for name, level, at in zip(self.names, self.levels, index, strict=True)}

    def nearest_unseen(self, params: Mapping[str, Any], seen: np.ndarray, *, positions: bool) -> int:
        """The row closest to a config, by positions, among those that have not run; `seen` (n,) are those that have."""
        wanted = np.array(
            [
                params[name] if positions else np.searchsorted(level, params[name])
                for name, level in zip(self.names, self.levels, strict=True)
            ]
        )
        spans = np.array([max(len(level) - 1, 1) for level in self.levels])
        gaps = np.square((self.index - wanted) / spans).sum(1)
        return int(np.argmin(np.where(seen, np.inf, gaps)))


def _number(value: float) -> int | float:
    return int(value) if float(value).is_integer() else float(value)
