"""A person's units against a network's: the numbers by which values and places are scaled, part of a trained model.

Widths, rates and starts of a SIREN are found for one range of values, and for coordinates in lattice spacings. So a
network is trained on values and places that are moved there, and what it says is moved back:

    what it learns = (value - mean) / spread          where = (place - centre) / spacing, in lattice spacings

**The rule.** The mean of the values becomes 0 and their standard deviation 1, also where they are light in [0, 1]: a
SIREN starts about 0, and learns sooner what lies there (`bench/window_starts.py`). The spacing is the median distance
of a position from its nearest neighbour; positions whose spacing is 1 within a hundredth, and that have the origin
among them, are taken as they are; of others the middle of their range becomes the origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_ONE_PLACE = (
    1e-3  # of how far positions lie from their middle: receptors of a column that are nearer are a rounding apart
)
_ROWS = 256  # positions whose distances to all are held at once


@dataclass(frozen=True)
class Scaling:
    """`mean` and `spread` in the units of the values, `x`, `y` (the centre) and `spacing` in those of the positions."""

    mean: float = 0.0
    spread: float = 1.0
    x: float = 0.0
    y: float = 0.0
    spacing: float = 1.0

    def learned(self, values: Any) -> Any:
        """What a network learns of values, an array or a tensor of any shape and type, which it keeps."""
        return values if (self.mean, self.spread) == (0, 1) else (values - self.mean) / self.spread

    def told(self, outputs: Any) -> Any:
        """The values that a network's outputs mean: `learned` the other way."""
        return outputs if (self.mean, self.spread) == (0, 1) else outputs * self.spread + self.mean

    def places(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Places in lattice spacings from the centre, of x and y in the units of the positions."""
        if (self.x, self.y, self.spacing) == (0, 0, 1):
            return x, y
        return (x - self.x) / self.spacing, (y - self.y) / self.spacing


UNSCALED = Scaling()


def scaling_of(mean: float, std: float, positions: np.ndarray) -> Scaling:
    """The scaling of values with this mean and standard deviation > 0, at the unique `positions` (n, 2)."""
    values = {"mean": float(np.float32(mean)), "spread": std}
    low, high = positions.min(axis=0).astype(float), positions.max(axis=0).astype(float)
    spacing = lattice_spacing(positions)
    if abs(spacing - 1) <= 0.01 and (low <= 0).all() and (high >= 0).all():
        return Scaling(**values)
    x, y = ((low + high) / 2).tolist()
    return Scaling(**values, x=x, y=y, spacing=spacing)


def lattice_spacing(positions: np.ndarray) -> float:
    """The median distance of positions (n, 2), all different, from their nearest neighbours; 1 where there is one.

    Positions that are much nearer than the field is wide count as one: receptors of a column, told with their rounding.
    """
    places = positions.astype(np.float64)
    away = np.linalg.norm(places - np.median(places, axis=0), axis=1) if len(places) else np.zeros(1)
    grain = _ONE_PLACE * float(np.median(away))  # a place far off does not move it
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
