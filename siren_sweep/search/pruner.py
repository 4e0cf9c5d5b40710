"""`UCBPruner`: stops a trial when even an optimistic bound on its final value is below the best finished one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.config.schema import N_REPORTS
from siren_sweep.search.curves import Gains, Scale, curve
from siren_sweep.study.stored import solved_r2


class UCBPruner(BasePruner):
    """Bounds a trial's final value by its value now and what finished trials still gained from that fraction on.

    Reports are steps 1 to `n_reports`, equal fractions of a trial's run, so that trials of different lengths compare.
    `confidence` is the probability with which a trial that ends as the best is never stopped, shared out over
    the reports at which it is asked. Fewer finished trials than `n_startup_trials` stop nothing. What it decides
    follows from the study alone, and from no trial that still runs. At the reports `pauses_at` it stops every trial,
    for a sampler that says then which of them go on.
    """

    def __init__(
        self,
        confidence: float = 0.95,
        n_startup_trials: int = 4,
        n_reports: int = N_REPORTS,
        pauses_at: Sequence[int] = (),
    ) -> None:
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
        self._tail = (1 - confidence) / n_reports
        self._n_startup = n_startup_trials
        self._n_reports, self._pauses_at = n_reports, tuple(pauses_at)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial should stop at its last report; why stands in its attributes `bound` and `best`."""
        if trial.last_step in self._pauses_at:
            return True
        found = self.explain(study, trial)
        if found is None or not _worse(study, found["bound"], found["best"]):
            return False
        for name in ("bound", "best"):
            trial.set_user_attr(name, found[name])
        return True

    def explain(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any] | None:
        """The bound, the best finished value and the fraction of the last report; None with too little evidence."""
        report = trial.last_step
        if report is None or not 1 <= report < self._n_reports:
            return None
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(finished) < self._n_startup:
            return None
        scale = Scale(study, finished)
        own = scale.score(curve(trial, self._n_reports))
        curves = scale.score(np.array([curve(other, self._n_reports) for other in finished]))
        curves[:, -1] = scale.score(np.array([other.value for other in finished], np.float64))
        bound = Gains.seen(curves, report).bound(own, report, self._tail)
        if math.isnan(bound):
            return None
        best = scale.value(float(curves[:, -1].max()))
        if (solved := solved_r2(study)) is not None:  # what may still reach it can win, by its cost
            best = min(best, solved)
        return {"bound": scale.value(bound), "best": best, "fraction": report / self._n_reports}


def _worse(study: optuna.Study, value: float, other: float) -> bool:
    return value < other if study.direction is optuna.study.StudyDirection.MAXIMIZE else value > other
