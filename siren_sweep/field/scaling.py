"""Converts between the data's units and those that a network learns in. The numbers are a part of a trained model.

The widths, learning rates and initial weights of a SIREN suit one range of values, and coordinates in lattice spacings.
So a network is trained on scaled values and positions, and its outputs are scaled back:

    learned value = (value - mean) / spread          learned position = (position - centre) / spacing

**The rule.** Over the frames that are trained on, the mean of the values becomes 0 and their standard deviation 1, also
where they are luminances in [0, 1]: an untrained SIREN's outputs lie around 0, and values around 0 are learned sooner
(`bench/window_starts.py`). The spacing is the median distance of a position from its nearest neighbour. Positions stay
as they are where the spacing is 1 within a hundredth and their range holds the origin; else the middle of their range
becomes the origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# Positions nearer to each other than this share of their median distance from the middle count as one: they are
# receptors of one column, told apart by rounding alone.
_ONE_PLACE = 1e-3
_ROWS = 256  # positions whose distances to all others are held in memory at once


@dataclass(frozen=True)
class Scaling:
    """`mean` and `spread` in the units of the values, `x`, `y` (the centre) and `spacing` in those of the positions."""

    mean: float = 0.0
    spread: float = 1.0
    x: float = 0.0
    y: float = 0.0
    spacing: float = 1.0

    def scaled(self, values: Any) -> Any:
        """The scaled values that a network learns, for an array or tensor of any shape, in its type."""
        return values if (self.mean, self.spread) == (0, 1) else (values - self.mean) / self.spread

    def unscaled(self, outputs: Any) -> Any:
        """The values, in the data's unit, of a network's outputs of any shape: the inverse of `scaled`."""
        return outputs if (self.mean, self.spread) == (0, 1) else outputs * self.spread + self.mean

    def places(self, x: Any, y: Any) -> tuple[Any, Any]:
        """x and y, of any shape and in the unit of the positions, as lattice spacings from the centre."""
        if (self.x, self.y, self.spacing) == (0, 0, 1):
            return x, y
        return (x - self.x) / self.spacing, (y - self.y) / self.spacing


UNSCALED = Scaling()


def scaling_of(mean: float, std: float, positions: np.ndarray) -> Scaling:
    """The scaling for values of this mean and standard deviation (> 0) at unique `positions` (n, 2)."""
    values = {"mean": float(np.float32(mean)), "spread": std}
    low, high = positions.min(axis=0).astype(float), positions.max(axis=0).astype(float)
    spacing = lattice_spacing(positions)
    if abs(spacing - 1) <= 0.01 and (low <= 0).all() and (high >= 0).all():
        return Scaling(**values)
    x, y = ((low + high) / 2).tolist()
    return Scaling(**values, x=x, y=y, spacing=spacing)


def lattice_spacing(positions: np.ndarray) -> float:
    """The median distance of a position to its nearest neighbour, in the unit of `positions` (n, 2); 1 for only one.

    All positions differ. Those that only rounding tells apart, as of a column's receptors, count as one.
    """
    places = positions.astype(np.float64)
    away = np.linalg.norm(places - np.median(places, axis=0), axis=1) if len(places) else np.zeros(1)
    grain = _ONE_PLACE * float(np.median(away))  # the median, so that one far position does not change it
    if grain > 0:
        places = places[np.unique(np.round(places / grain), axis=0, return_index=True)[1]]
    if len(places) < 2:
        return 1.0
    nearest = np.empty(len(places))
    for start in range(0, len(places), _ROWS):
        some = places[start : start + _ROWS]
        squared = (some[:, None, 0] - places[:, 0]) ** 2 + (some[:, None, 1] - places[:, 1]) ** 2
        squared[np.arange(len(some)), start + np.arange(len(some))] = np.inf
        nearest[start : start + _ROWS] = squared.min(axis=1)
    return float(np.sqrt(np.median(nearest)))
