"""The number of a SIREN's parameters, and the arithmetic of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from siren_sweep.config.parameters import BATCH_SIZE, HIDDEN_DIM, N_LAYERS, TOTAL_STEPS, WINDOW
from siren_sweep.field import cut

IN_FEATURES = 3  # t, x, y


def n_parameters(hidden_dim: int, n_layers: int) -> int:
    """Weights and biases of a SIREN with `n_layers` hidden layers of width `hidden_dim` after the first."""
    return (IN_FEATURES + 1) * hidden_dim + n_layers * (hidden_dim + 1) * hidden_dim + hidden_dim + 1


def n_networks(n_frames: int, config: Mapping[str, Any], n_windows: int = 0) -> int:
    """How many networks a run of a config trains: one for each window, at most `n_windows` of them; 0: all."""
    every = len(cut(n_frames, config.get(WINDOW, 0)))
    return min(every, n_windows or every)


def arithmetic(config: Mapping[str, Any], networks: int, steps: int | None = None) -> float:
    """The arithmetic of a run, up to a constant: a network's parameters x frames a step x steps x networks.

    `config` has the explorable parameters by dotted name. `steps` is the number of steps taken; None: all of them.
    """
    taken = config[TOTAL_STEPS] if steps is None else steps
    return float(n_parameters(config[HIDDEN_DIM], config[N_LAYERS]) * config[BATCH_SIZE] * taken * networks)
