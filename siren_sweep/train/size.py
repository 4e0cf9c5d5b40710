"""How large a SIREN is, and what a run of one takes."""

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
    """The networks that a run of a config trains: one a window, of so many windows at most; 0: of all."""
    every = len(cut(n_frames, config.get(WINDOW, 0)))
    return min(every, n_windows or every)


def arithmetic(config: Mapping[str, Any], networks: int, steps: int | None = None) -> float:
    """What a run of a config (explorable parameters by dotted name) takes: network parameters x frames a step x steps
    x networks. `steps` are those that it took; None: all that it has."""
    taken = config[TOTAL_STEPS] if steps is None else steps
    return float(n_parameters(config[HIDDEN_DIM], config[N_LAYERS]) * config[BATCH_SIZE] * taken * networks)
