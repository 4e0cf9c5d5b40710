"""The hexagonal lattice of a fly eye's columns, and the photoreceptors of a column."""

from __future__ import annotations

import numpy as np

EXTENT = 8
N_TYPES = 8  # photoreceptors of a column, R1 to R8, which all see its light; stored type by type


def hexagonal_lattice(extent: int = EXTENT) -> np.ndarray:
    """The columns' positions (n_columns, 2) float32, x and y in column spacings; 217 columns for extent 8.

    x = u + v / 2 and y = v sqrt(3) / 2, for all whole axial coordinates with |u|, |v|, |u + v| <= extent, ordered by u,
    then by v.
    """
    u, v = np.mgrid[-extent : extent + 1, -extent : extent + 1].reshape(2, -1)
    inside = np.abs(u + v) <= extent
    return np.stack([u + v / 2, v * np.sqrt(3) / 2], axis=1, dtype=np.float32)[np.flatnonzero(inside)]
