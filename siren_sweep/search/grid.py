"""Optuna's grid sampler over any space: a dimension of many values is cut into a few."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import GridSampler

from siren_sweep.search.encoding import axes


def grid_sampler(distributions: Mapping[str, BaseDistribution], *, n_values: int, seed: int) -> GridSampler:
    """At most `n_values` values a dimension, evenly spread over its axis (which may be logarithmic)."""
    units = np.linspace(0, 1, n_values)
    values = {
        axis.name: list(dict.fromkeys(axis.candidates() if axis.nominal else map(axis.from_unit, units)))
        for axis in axes(distributions)
    }
    return GridSampler(values, seed=seed)
