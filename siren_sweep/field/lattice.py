"""The hexagonal lattice of columns that a fly's eye samples the world with, and how its photoreceptors lie on it."""

from __future__ import annotations

import numpy as np

EXTENT = 8
N_TYPES = 8  # photoreceptors R1 to R8, which see their column's light; stored type by type


def hexagonal_lattice(extent: int = EXTENT) -> np.ndarray:
    """(n_columns, 2) float32, x and y in column spacings: x = u + v / 2, y = v sqrt(3) / 2 of the axial coordinates
    with |u|, |v|, |u + v| <= extent, by u, then v; 217 columns for extent 8.
    """
    u, v = np.mgrid[-extent : extent + 1, -extent : extent + 1].reshape(2, -1)
    inside = np.abs(u + v) <= extent
    return np.stack([u + v / 2, v * np.sqrt(3) / 2], axis=1, dtype=np.float32)[np.flatnonzero(inside)]
