"""What the columns of the lattice see of a picture: the mean of its pixels over each column's receptive field.

The lattice is laid over the middle of the picture as large as fits, with half a column's spacing around it. A column
is `COLUMN_DEG` of the fly's visual field; the width of a receptive field is told in these degrees. Both shapes are
products of a function of x and one of y, so the light is summed in two steps: the picture's rows to the lattice's, then
its columns to the lattice's.
"""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np

from siren_sweep.errors import DataError

COLUMN_DEG = 5.0  # of Drosophila: Land, "Visual acuity in insects" (Annual Review of Entomology 1997), table 1


_REACH = 4.0  # standard deviations of a Gaussian, beyond which nothing is seen


class Shape(StrEnum):
    """A receptive field's form: a square, or a Gaussian whose full width at half maximum is the width."""

    box = "box"
    gauss = "gauss"


class Receptors:
    """The columns of a lattice over pictures of one size."""

    def __init__(
        self, columns: np.ndarray, height: int, width: int, *, aspect: float, shape: Shape, width_deg: float
    ) -> None:
        """columns: (n_columns, 2), in column spacings, y upwards; `aspect` is a pixel's width over its height.

        DataError where the picture has less than a pixel a column.
        """
        reach = np.abs(columns).max(axis=0)
        self.spacing = float(min(width * aspect / (2 * reach[0] + 1), height / (2 * reach[1] + 1)))  # pixels, in y
        if self.spacing < 1:
            raise DataError(
                f"a picture must have a pixel for each of the lattice's {2 * reach[0] + 1:.0f} columns across, got "
                f"{width} x {height} pixels"
            )
        x = width / 2 + columns[:, 0] * self.spacing / aspect
        y = height / 2 - columns[:, 1] * self.spacing
        self.places = np.stack([x, y], axis=1)  # (n_columns, 2) in pixels, from the upper left corner
        field = self.spacing * width_deg / COLUMN_DEG
        across, self._across = np.unique(x.round(6), return_inverse=True)
        down, self._down = np.unique(y.round(6), return_inverse=True)
        self._x = _weights(across, field / aspect, width, shape)  # (n_across, width)
        self._rows = [
            (slice(*used), own[slice(*used), None])
            for own in _weights(down, field, height, shape)
            for used in [np.flatnonzero(own)[[0, -1]] + [0, 1]]
        ]

    def light(self, picture: np.ndarray) -> np.ndarray:
        """(height, width) pixels of any number type -> (n_columns,) float32: their means over the receptive fields."""
        rows = np.stack([(weights * picture[used]).sum(axis=0) for used, weights in self._rows])
        seen = np.einsum("ru,cu->rc", rows, self._x)  # a matrix product's threads would wait for each other
        return np.asarray(seen[self._down, self._across])


def _weights(centres: np.ndarray, width: float, n: int, shape: Shape) -> np.ndarray:
    """(n_centres, n) float32: the part of each of n pixels in a field of a width, of a sum of 1 within the picture."""
    edges = np.arange(n + 1) - centres[:, None]
    if shape == Shape.box:
        below = np.clip(edges, -width / 2, width / 2)
    else:
        deviation = width / math.sqrt(8 * math.log(2))
        below = np.vectorize(math.erf)(np.clip(edges / deviation, -_REACH, _REACH) / math.sqrt(2))
    part = np.diff(below, axis=1)
    return np.asarray(part / part.sum(axis=1, keepdims=True), np.float32)
