"""How large a SIREN is."""

from __future__ import annotations

IN_FEATURES = 3  # t, x, y


def n_parameters(hidden_dim: int, n_layers: int) -> int:
    """Weights and biases of a SIREN with `n_layers` hidden layers of width `hidden_dim` after the first."""
    return (IN_FEATURES + 1) * hidden_dim + n_layers * (hidden_dim + 1) * hidden_dim + hidden_dim + 1
