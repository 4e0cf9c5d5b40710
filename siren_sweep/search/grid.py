"""A grid over any space: a dimension of many values is cut into a few."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial

from siren_sweep.search.encoding import Axis, axes, key_of

_LISTED = 100_000  # points of a grid up to which those that have not run are listed


class GridSampler(BaseSampler):
    """Points of a grid in a random order, each once.

    Optuna's own must be given its points; this one takes them from the distributions: all values of a short dimension,
    and `n_values` of a longer one, evenly spread over its axis, which may be logarithmic. What it proposes follows from
    the seed and the study alone.
    """

    def __init__(self, seed: int = 0, *, n_values: int = 3) -> None:
        if n_values < 1:
            raise ValueError(f"n_values must be at least 1, got {n_values}")
        self._seed, self._n_values = seed, n_values

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return IntersectionSearchSpace().calculate(study)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A random one of the points that have not run; nothing where the grid is too long to be listed, or over."""
        space = axes(search_space)
        levels = [self._values(axis) for axis in space]
        if not space or np.prod([float(len(values)) for values in levels]) > _LISTED:
            return {}
        others = (other for other in study.get_trials(deepcopy=False) if other.number != trial.number)
        seen = {key_of(space, other.params) for other in others if other.params.keys() >= search_space.keys()}
        left = [values for values in itertools.product(*levels) if values not in seen]
        rng = np.random.default_rng([self._seed, trial.number])
        return dict(zip(search_space, left[rng.integers(len(left))], strict=True)) if left else {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        values = self._values(Axis(param_name, param_distribution))
        rng = np.random.default_rng([self._seed, trial.number, *param_name.encode()])
        return values[rng.integers(len(values))]

    def _values(self, axis: Axis) -> list[Any]:
        return list(dict.fromkeys(axis.from_unit(unit) for unit in np.linspace(0, 1, self._n_values)))
