"""The scale on which R2 is drawn: log10(1 - R2), on which 0.95 and 0.9999 lie apart; and the colours of R2."""

from __future__ import annotations

import math

from siren_sweep.views.grades import Grade, grade

_LEAST = 1e-12  # smallest 1 - R2: below it sums in float64 are not exact enough
COLOURS = {Grade.poor: "#9c4a2f", Grade.moderate: "#d98a4b", Grade.good: "#b58a00", Grade.excellent: "#2f8f6f"}


def error(r2: float) -> float:
    """1 - R2, or 1e-12 where that is larger."""
    return max(1 - r2, _LEAST)


def log_error(r2: float) -> float:
    """log10(1 - R2): lower is better."""
    return math.log10(error(r2))


def colour(r2: float) -> str:
    """The colour of an R2's class."""
    return COLOURS[grade(r2)]
