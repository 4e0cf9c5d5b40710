"""A trial as the report shows it: its curve, the times in which it trained, its state and the reason of its end."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from optuna.trial import TrialState

from siren_sweep.study.records import Trial

MOST_LINES = 300  # of a figure that has one for each trial: more of them cover each other, and a browser draws for long

T = TypeVar("T")


def best_and_spread(ranked: Sequence[T]) -> Sequence[T]:
    """The trials that a figure of lines shows, given the best one first: all, or of many the best half of `MOST_LINES`,
    and as many spread evenly over the rest."""
    if len(ranked) <= MOST_LINES:
        return ranked
    best, rest = ranked[: MOST_LINES // 2], ranked[MOST_LINES // 2 :]
    places = np.linspace(0, len(rest) - 1, MOST_LINES - len(best))
    return [*best, *(rest[int(place)] for place in places)]


def curve_of(trial: Trial) -> list[tuple[int, float]]:
    """(step, R2) of each report whose R2 is finite."""
    return [(report.step, report.r2) for report in trial.reports if math.isfinite(report.r2)]


def training_intervals(trial: Trial) -> list[tuple[int, datetime.datetime, datetime.datetime]]:
    """(slot, begin, end) of each period in which a trial has trained. A period that a pause ended ends at a report."""
    if trial.began is None:
        return []
    begins = [(trial.plan.slot, trial.began, 0.0)]
    begins += [(one.slot, datetime.datetime.fromtimestamp(one.began), one.fraction) for one in trial.stints]
    found = []
    for (slot, begin, since), until in zip(begins, [one.fraction for one in trial.stints] + [1.0], strict=True):
        end: datetime.datetime | None = begin + _elapsed(trial, until) - _elapsed(trial, since)
        if until == 1.0 and not trial.paused and trial.state is not TrialState.PRUNED:
            end = trial.told
        if end is not None:
            found.append((slot, begin, end))
    return found


def _elapsed(trial: Trial, fraction: float) -> datetime.timedelta:
    """How long a trial had trained when it had done a fraction of its steps."""
    seconds = [report.elapsed_s for report in trial.reports if report.fraction <= fraction]
    return datetime.timedelta(seconds=max(seconds, default=0.0))


def reason_of(trial: Trial) -> str:
    """Why a trial ended or paused; empty where there is no reason, or where the trial has gone on since."""
    outcome = trial.outcome if trial.state.is_finished() else trial.current
    return (outcome.reason if outcome else None) or ""


def state_of(trial: Trial) -> str:
    """The state of a trial: finished, pruned, failed, paused, running or waiting."""
    names = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    return names.get(trial.state, "paused" if trial.paused else trial.state.name.lower())
