"""R2 as it is drawn and written: on the scale of -log10(1 - R2), where 0.95 and 0.99 lie apart."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes

from siren_sweep.views.grades import Grade, grade

_FLOOR = -0.2  # where every R2 of 0 and below is drawn
_CEILING = 12.0  # 1 - R2 = 1e-12, the end of what sums in float64 tell

# (name, colour) of the four classes, and of the uppermost's better parts, so that colour tells good ones apart
CLASSES = (
    ("poor, below 0.5", "#9c4a2f"),
    ("moderate, 0.5 to 0.8", "#d98a4b"),
    ("good, 0.8 to 0.95", "#e3c567"),
    ("excellent, above 0.95", "#8cc2a3"),
    ("above 0.99", "#3f9a8c"),
    ("above 0.999", "#1f6f8b"),
)


def height(r2: float) -> float:
    """Where an R2 lies on the axis; all of 0 and below on its floor."""
    if r2 <= 0:
        return _FLOOR
    return _CEILING if r2 >= 1 else min(-math.log10(1 - r2), _CEILING)


def colour(r2: float) -> str:
    """The colour of an R2's class."""
    place = list(reversed(Grade)).index(grade(r2)) + (r2 > 0.99) + (r2 > 0.999)
    return CLASSES[place][1]


def shown_r2(r2: float) -> str:
    """Four digits, or the distance to 1 where four digits would all be nines."""
    loss = 1 - r2
    if loss < 10**-_CEILING:
        return "1"
    return f"{r2:.4f}" if loss >= 5e-4 else f"1 - {loss:.1e}"


def r2_axis(axes: Axes, values: Iterable[float]) -> None:
    """Turn the y axis into one of R2 that holds all `values` and the line at 0.95."""
    top = max([2.0, *(height(value) for value in values)])
    marks = {_FLOOR: "≤ 0"} | {level: f"{1 - 10**-level:.{level}f}" for level in (1, 2, 3, 4)}
    marks |= {level: f"$1-10^{{-{level}}}$" for level in range(5, 13)}
    if top <= 4:
        marks |= {height(0.5): "0.5"}
    kept = {level: text for level, text in marks.items() if level <= top and (top <= 7 or level <= 0 or level % 2 == 0)}
    axes.set_yticks(list(kept), list(kept.values()))
    axes.set_ylim(_FLOOR - 0.05 * top, top * 1.06)
    axes.set_ylabel("R²", rotation=0, labelpad=12)


def heights(values: Iterable[float]) -> np.ndarray:
    """`height` of many."""
    return np.array([height(value) for value in values])
