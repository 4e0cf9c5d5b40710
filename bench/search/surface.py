"""Interpolates the curves of a table, so that it can be searched as a continuous space.

A table whose grid was recorded whole has a curve for every point between its configs: the scores -log10(1 - R2) of the
corners around it are interpolated linearly. Parameters that span a factor of four or more are interpolated by their
logarithm. Widths, depths and other whole numbers keep the recorded values. Each config has its own noise, as large as
the difference between seeds (NOISE).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from scipy.interpolate import RegularGridInterpolator  # type: ignore[import-untyped]
from table import BEST_SHARE, Table

from siren_sweep.search.encoding import axes
from siren_sweep.search.knowledge import cost
from siren_sweep.search.mutations import fresh

NOISE = 0.02  # in log10: the median standard deviation of good configs over seeds, in tables/frames_100_seeds.npz
CONTINUOUS = ("omega_f", "learning_rate_NNR_f", "nnr_f_xy_period", "nnr_f_T_period")
CAPACITY = 4000  # configs that one search may try
DRAWN = 5000  # random configs, whose best are the top configs, and whose median cost is the unit


class Surface(Table):
    """A `Table` that gets a row for each config that is asked for. A search needs one of its own."""

    def __init__(self, whole: Table, known: list[str]) -> None:
        assert not whole.holes, "a grid that was not recorded whole"
        self.names, self.levels, self.holes = whole.names, whole.levels, []
        self._known = known
        scores = np.empty((*map(len, whole.levels), whole.curves.shape[1]))
        scores[tuple(whole.index.T)] = -np.log10(1 - whole.curves)
        self._space = axes(self.values())
        units = [
            np.array([axis.to_unit(value) for value in level])
            for axis, level in zip(self._space, whole.levels, strict=True)
        ]
        self._scores = RegularGridInterpolator(units, scores)
        drawn = fresh(self._space, np.random.default_rng(0), DRAWN)
        finals = self._curves(drawn)[:, -1]
        self._good = float(np.quantile(finals, 1 - BEST_SHARE))
        self._unit = float(np.median([self._arithmetic(params) for params in drawn]))
        self._rows: dict[tuple[Any, ...], int] = {}
        self._params: list[dict[str, Any]] = []
        self.curves = np.full((CAPACITY, scores.shape[-1]), np.nan)
        self.final, self.cost = np.full(CAPACITY, -np.inf), np.full(CAPACITY, np.nan)
        self.is_top = np.zeros(CAPACITY, bool)

    @classmethod
    def load(cls, file: Path, *, hidden: bool = False) -> Surface:
        return cls(Table.load(file, hidden=hidden), Table.load(file).names)

    def values(self) -> dict[str, BaseDistribution]:
        """The search space: intervals, and lists of values for whole numbers."""
        lists = super().values()
        return {
            name: FloatDistribution(float(level[0]), float(level[-1]), log=True)
            if known.endswith(CONTINUOUS)
            else lists[name]
            for name, known, level in zip(self.names, self._known, self.levels, strict=True)
        }

    def positions(self) -> dict[str, BaseDistribution]:
        lists = super().positions()
        return {
            name: distribution if isinstance(distribution, FloatDistribution) else lists[name]
            for name, distribution in self.values().items()
        }

    def params(self, row: int) -> dict[str, Any]:
        return self._params[row]

    def nearest_unseen(self, params: Mapping[str, Any], seen: np.ndarray, *, positions: bool) -> int:
        """The row of this config, which is made where there is none."""
        distributions = self.positions() if positions else {}
        values = {
            name: self._number(name, params[name])
            if isinstance(distributions.get(name), IntDistribution)
            else params[name]
            for name in self.names
        }
        key = tuple(values.values())
        if key not in self._rows:
            row = self._rows[key] = len(self._params)
            self._params.append(values)
            noise = np.random.default_rng(zlib.crc32(repr(key).encode())).normal(scale=NOISE)
            curve = self._curves([values])[0] + noise
            self.curves[row], self.final[row] = 1 - 10**-curve, 1 - 10 ** -curve[-1]
            self.is_top[row] = curve[-1] >= self._good
            self.cost[row] = self._arithmetic(values) / self._unit
        return self._rows[key]

    def _number(self, name: str, position: int) -> int:
        return int(self.levels[self.names.index(name)][position])

    def _curves(self, configs: list[dict[str, Any]]) -> np.ndarray:
        """The scores (n, 20) of n configs at their reports, without noise."""
        units = [[axis.to_unit(params[axis.name]) for axis in self._space] for params in configs]
        return np.asarray(self._scores(units))

    def _arithmetic(self, params: Mapping[str, Any]) -> float:
        return cost(dict(zip(self._known, params.values(), strict=True)))
