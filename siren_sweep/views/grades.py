"""The class of an R2, by which the record names a trial and the report colours it."""

from __future__ import annotations

import math
from enum import StrEnum


class Grade(StrEnum):
    """The class of a final R2."""

    excellent = "excellent"
    good = "good"
    moderate = "moderate"
    poor = "poor"


EXCELLENT, GOOD, MODERATE = 0.95, 0.8, 0.5


def grade(r2: float | None) -> Grade:
    """Excellent above 0.95, good from 0.8, moderate from 0.5, else poor. A trial without an R2 is poor."""
    if r2 is None or math.isnan(r2) or r2 < MODERATE:
        return Grade.poor
    return Grade.moderate if r2 < GOOD else Grade.good if r2 <= EXCELLENT else Grade.excellent
