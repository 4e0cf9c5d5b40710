"""The class of an R2, by the mission's bounds: what the record calls a trial, and how the report colours it."""

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
    """Excellent above 0.95, good from 0.8, moderate from 0.5, else poor, as is a trial without a value."""
    if r2 is None or math.isnan(r2) or r2 < MODERATE:
        return Grade.poor
    return Grade.moderate if r2 < GOOD else Grade.good if r2 <= EXCELLENT else Grade.excellent
