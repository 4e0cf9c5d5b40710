"""`UCBPruner`: stops a trial when even an optimistic bound on its final value is below the best finished one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.special import stdtrit  # type: ignore[import-untyped]

from siren_sweep.config.schema import N_REPORTS
from siren_sweep.search.history import Scale
from siren_sweep.study.stored import solved_r2

_SLOPES = (1, 2, 3)  # reports over which a curve's slope is taken
_LEVEL_SHARE, _FLOOR, _SMALLEST_REACH = 0.05, 0.05, 0.01
# What curves gain in units of `_reach`, before any has been seen: its mean and spread, worth so many finished trials.
_PRIOR_MEAN, _PRIOR_SPREAD, _PRIOR_TRIALS = 1.0, 1.0, 4.0
_MOST_DEGREES = 8.0  # of freedom: curves that leave a plateau late give gains heavier tails than a normal's


class UCBPruner(BasePruner):
    """Bounds a trial's final value by its value now and what finished trials still gained from that fraction on.

    Reports are steps 1 to 20, equal fractions of a trial's run, so that trials of different lengths compare.
    `confidence` is the probability with which a trial that ends as the best is never stopped, shared out over
    the reports at which it is asked. Fewer finished trials than `n_startup_trials` stop nothing. What it decides
    follows from the study alone, and from no trial that still runs. At the reports `pauses_at` it stops every trial,
    for a sampler that says then which of them go on.
    """

    def __init__(self, confidence: float = 0.95, n_startup_trials: int = 4, pauses_at: Sequence[int] = ()) -> None:
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
        self._tail, self._n_startup, self._pauses_at = (1 - confidence) / N_REPORTS, n_startup_trials, tuple(pauses_at)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial should stop at its last report; why stands in its attributes `bound` and `best`."""
        if trial.last_step in self._pauses_at:
            return True
        found = self.bound_and_best(study, trial)
        if found is None:
            return False
        bound, best = found
        worse = bound < best if study.direction is StudyDirection.MAXIMIZE else bound > best
        if worse:
            trial.set_user_attr("bound", bound)
            trial.set_user_attr("best", best)
        return worse

    def bound_and_best(self, study: optuna.Study, trial: FrozenTrial) -> tuple[float, float] | None:
        """The bound on the trial's final value, and the best finished one; None with too little evidence."""
        report = trial.last_step
        if report is None or not 1 <= report < N_REPORTS:
            return None
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(finished) < self._n_startup:
            return None
        scale = Scale(study, finished)
        curves = scale.score(np.array([_curve(other) for other in finished]))
        curves[:, -1] = scale.score(np.array([other.value for other in finished], np.float64))
        bound = _bound(scale.score(_curve(trial)), curves, report, self._tail)
        if math.isnan(bound):
            return None
        best = scale.value(float(curves[:, -1].max()))
        if (solved := solved_r2(study)) is not None:  # what may still reach it can win, by its cost
            best = min(best, solved)
        return scale.value(bound), best


def _curve(trial: FrozenTrial) -> np.ndarray:
    """(20,) values by report, NaN where there is none. Report 1, 2, ... is Optuna's step."""
    return np.array([trial.intermediate_values.get(step, np.nan) for step in range(1, N_REPORTS + 1)])


def _bound(curve: np.ndarray, finished: np.ndarray, report: int, tail: float) -> float:
    """The final score that one curve (20,), known up to `report`, exceeds with probability `tail`.

    What the finished curves (n, 20) gained from there on, in units of their reach, gives a t distribution for the next:
    a conjugate normal model with unknown mean and variance (Gelman et al., Bayesian Data Analysis, section 3.3).
    """
    ratios = (finished[:, -1] - finished[:, report - 1]) / _reach(finished, report)
    ratios = ratios[np.isfinite(ratios)]
    n = _PRIOR_TRIALS + len(ratios)
    mean = (_PRIOR_TRIALS * _PRIOR_MEAN + ratios.sum()) / n
    squares = _PRIOR_TRIALS * (_PRIOR_SPREAD**2 + (_PRIOR_MEAN - mean) ** 2) + ((ratios - mean) ** 2).sum()
    spread = math.sqrt(squares / n * (1 + 1 / n))  # of one more trial
    scale = _reach(curve, report)
    return float(curve[report - 1] + mean * scale - spread * scale * stdtrit(min(n, _MOST_DEGREES), tail))


def _reach(curves: np.ndarray, report: int) -> np.ndarray:
    """The scale of what curves (..., 20) may still gain after a report: their slope now, kept up to the end.

    The slope is the steepest of those over the last reports and since half the run so far, so that a curve that leaves
    a plateau is seen to; a share of the level and a floor keep a flat curve's chance.
    """
    level = curves[..., report - 1]
    since = {max(report - back, 1) for back in _SLOPES} | {max(report // 2, 1)}
    slopes = [(level - curves[..., start - 1]) / (report - start) for start in since if start < report]
    slope = np.maximum(np.max(slopes, axis=0), 0) if slopes else np.full_like(level, _FLOOR)
    left = 1 - report / N_REPORTS
    return np.asarray(slope * (N_REPORTS - report) + (_LEVEL_SHARE * np.abs(level) + _FLOOR) * left + _SMALLEST_REACH)
