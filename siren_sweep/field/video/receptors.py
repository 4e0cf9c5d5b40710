"""The light that the columns of the lattice get from a picture: the mean of its pixels over each receptive field.

The lattice lies over the middle of the picture, as large as fits, with a margin of half a column spacing. A column
spacing is `COLUMN_DEG` degrees of the fly's visual field; the width of a receptive field is given in these degrees.
Both shapes of a field are products of a function of x and one of y, so the pixels are summed in two steps: first along
the picture's columns, to the rows of the lattice, then along these rows.
"""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np

from siren_sweep.errors import DataError

COLUMN_DEG = 5.0  # of Drosophila: Land, "Visual acuity in insects" (Annual Review of Entomology 1997), table 1


_REACH = 4.0  # standard deviations at which a Gaussian is cut off


class Shape(StrEnum):
    """The shape of a receptive field: a square of a given width, or a Gaussian of that full width at half maximum."""

    box = "box"
    gauss = "gauss"


class Receptors:
    """The receptive fields of a lattice's columns, over pictures of one size."""

    def __init__(
        self, columns: np.ndarray, height: int, width: int, *, aspect: float, shape: Shape, width_deg: float
    ) -> None:
        """`columns` are (n_columns, 2), in column spacings, y upwards. `height` and `width` are the picture's, in
        pixels; `aspect` is a pixel's width over its height.

        Raises DataError where the picture has less than a pixel for a column.
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
        """Pixels (height, width) of any number type -> their weighted means (n_columns,) over the receptive fields."""
        rows = np.stack([(weights * picture[used]).sum(axis=0) for used, weights in self._rows])
        seen = np.einsum("ru,cu->rc", rows, self._x)  # no matrix product: its threads would wait for each other
        return np.asarray(seen[self._down, self._across])


def _weights(centres: np.ndarray, width: float, n: int, shape: Shape) -> np.ndarray:
    """The weight (n_centres, n) float32 of each of n pixels in the fields of a width, in pixels, at each centre.

    The weights of a field sum to 1 within the picture.
    """
    edges = np.arange(n + 1) - centres[:, None]
    if shape == Shape.box:
        below = np.clip(edges, -width / 2, width / 2)
    else:
        deviation = width / math.sqrt(8 * math.log(2))
        below = np.vectorize(math.erf)(np.clip(edges / deviation, -_REACH, _REACH) / math.sqrt(2))
    part = np.diff(below, axis=1)
    return np.asarray(part / part.sum(axis=1, keepdims=True), np.float32)
