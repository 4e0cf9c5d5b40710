"""Learning curves on a scale where gains are alike, and what a trial at a fraction of its run may still gain.

R2 is searched as -log10(1 - R2), its number of nines: there the same change means as much near 0.5 as near 0.999.
Any other objective is divided by its spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import stdtrit  # type: ignore[import-untyped]

_SMALLEST_ERROR = 1e-9  # 1 - R2 below this is a rounding
_SLOPES = (1, 2, 3)  # reports over which a curve's slope is taken
_LEVEL_SHARE, _FLOOR, _SMALLEST_REACH = 0.05, 0.05, 0.01
# What curves gain in units of `_reach`, before any has been seen: its mean and spread, worth so many finished trials.
_PRIOR_MEAN, _PRIOR_SPREAD, _PRIOR_TRIALS = 1.0, 1.0, 4.0
_MOST_DEGREES = 8.0  # of freedom: curves that leave a plateau late give gains heavier tails than a normal's


class Scale:
    """The map between an objective's values and scores, which are to be maximised."""

    def __init__(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        values = [trial.value for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
        self._sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
        self.nines = self._sign > 0 and all(value <= 1 for value in values)
        self._unit = 1.0 if self.nines or len(values) < 2 else float(np.std(values)) or 1.0

    def score(self, values: np.ndarray | float) -> np.ndarray:
        """Scores of values, elementwise; NaN stays."""
        values = np.asarray(values, np.float64)
        if self.nines:
            return np.asarray(-np.log10(np.maximum(1 - values, _SMALLEST_ERROR)))
        return self._sign * values / self._unit

    def value(self, score: float) -> float:
        """The objective's value at a score."""
        return 1 - 10**-score if self.nines else self._sign * score * self._unit


def curve(trial: FrozenTrial, n_reports: int) -> np.ndarray:
    """(n_reports,) values by report, NaN where there is none. Report 1, 2, ... is Optuna's step."""
    values = np.full(n_reports, np.nan)
    for step, value in trial.intermediate_values.items():
        if 1 <= step <= n_reports:
            values[step - 1] = value
    return values


@dataclass(frozen=True)
class Gains:
    """What finished trials gained from a report on, in units of their `reach` there: a t distribution for the next.

    The conjugate normal model with unknown mean and variance (Gelman et al., Bayesian Data Analysis, section 3.3).
    """

    mean: float
    spread: float  # of one more trial
    degrees: float

    @classmethod
    def seen(cls, finished: np.ndarray, report: int) -> Gains:
        """From the curves (n, n_reports) of finished trials, at a report (1-based)."""
        level = finished[:, report - 1]
        ratios = (finished[:, -1] - level) / reach(finished, report)
        ratios = ratios[np.isfinite(ratios)]
        n = _PRIOR_TRIALS + len(ratios)
        mean = (_PRIOR_TRIALS * _PRIOR_MEAN + ratios.sum()) / n
        squares = _PRIOR_TRIALS * (_PRIOR_SPREAD**2 + (_PRIOR_MEAN - mean) ** 2) + ((ratios - mean) ** 2).sum()
        return cls(float(mean), math.sqrt(squares / n * (1 + 1 / n)), min(n, _MOST_DEGREES))

    def final(self, curves: np.ndarray, report: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and spread of the final score of curves (..., n_reports) that stand at a report."""
        scale = reach(curves, report)
        return curves[..., report - 1] + self.mean * scale, self.spread * scale

    def bound(self, curve: np.ndarray, report: int, tail: float) -> float:
        """The final score that one curve (n_reports,), known up to `report`, exceeds with probability `tail`."""
        mean, spread = self.final(curve, report)
        return float(mean - spread * stdtrit(self.degrees, tail))


def reach(curves: np.ndarray, report: int) -> np.ndarray:
    """The scale of what curves (..., n_reports) may still gain after a report: their slope now, kept up to the end.

    The slope is the steepest of those over the last reports and since half the run so far, so that a curve that leaves
    a plateau is seen to; a share of the level and a floor keep a flat curve's chance.
    """
    n_reports = curves.shape[-1]
    level = curves[..., report - 1]
    since = {max(report - back, 1) for back in _SLOPES} | {max(report // 2, 1)}
    slopes = [(level - curves[..., start - 1]) / (report - start) for start in since if start < report]
    slope = np.maximum(np.max(slopes, axis=0), 0) if slopes else np.full_like(level, _FLOOR)
    left = 1 - report / n_reports
    return np.asarray(slope * (n_reports - report) + (_LEVEL_SHARE * np.abs(level) + _FLOOR) * left + _SMALLEST_REACH)
