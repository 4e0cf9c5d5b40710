"""Additions for the pages of optuna-dashboard: the metric's name, when each trial trained, its hypothesis as a note."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Mapping, Sequence

import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.study.records import TrialPlan
from siren_sweep.study.stored_trials import read_trial

METRIC = "R2"  # over all frames, or over the windows that a trial trained
_NOTE_LENGTH = 2045  # characters of one part of a note, as optuna-dashboard stores it
_TRIALS = sqlalchemy.table(
    "trials",
    sqlalchemy.column("trial_id"),
    sqlalchemy.column("datetime_start", sqlalchemy.DateTime),
    sqlalchemy.column("datetime_complete", sqlalchemy.DateTime),
)


class TimedStorage(RDBStorage):
    """Optuna's database storage, in which the start and end of a trial are those of its training.

    By default they would be those of `study.tell`, which is called for all trials of a batch together.
    """

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        done = super().set_trial_state_values(trial_id, state, values)
        if done and state.is_finished() and (times := training_times(self.get_trial(trial_id))):
            own = sqlalchemy.update(_TRIALS).where(_TRIALS.c.trial_id == trial_id)
            with self.engine.begin() as connection:
                connection.execute(own.values(datetime_start=times[0], datetime_complete=times[1]))
        return done


def training_times(trial: FrozenTrial) -> tuple[datetime.datetime, datetime.datetime] | None:
    """When the training of a trial began and ended, in local time as Optuna stores it; None where it is not known."""
    found = read_trial(trial)
    outcome = found.outcome if found else None
    if outcome is None or outcome.began_s is None or outcome.ended_s is None:
        return None
    return datetime.datetime.fromtimestamp(outcome.began_s), datetime.datetime.fromtimestamp(outcome.ended_s)


def name_metric(study: Study) -> None:
    """Set the study's metric name, if it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if study.metric_names is None:
            study.set_metric_names([METRIC])


def write_notes(storage: BaseStorage, study_id: int, plans: Mapping[int, TrialPlan]) -> None:
    """Write the hypothesis of each trial, by its id, as its note. A trial that has a note keeps it."""
    known = storage.get_study_system_attrs(study_id)
    for trial_id, plan in plans.items():
        version, text = f"dashboard:{trial_id}:note_ver", note(plan)
        if version in known:
            continue
        for part, start in enumerate(range(0, len(text), _NOTE_LENGTH)):
            key = f"dashboard:{trial_id}:note_str:{part}"
            storage.set_study_system_attr(study_id, key, text[start : start + _NOTE_LENGTH])
        storage.set_study_system_attr(study_id, version, 1)


def note(plan: TrialPlan) -> str:
    """The note of a trial, in Markdown: its hypothesis, the rationale, and its place in the sweep."""
    if plan.parent is None:
        claim = "none; a start of its own, for others to be compared with"
    else:
        claim = f"`{plan.mutation}` improves R2 over trial {plan.parent}"
    lines = [f"**Hypothesis**: {claim}"]
    if plan.hypothesis and plan.hypothesis.rationale:
        lines.append(f"**Rationale**: {plan.hypothesis.rationale}")
    if plan.hypothesis and plan.hypothesis.falsified_by:
        lines.append(f"**Falsified by**: {plan.hypothesis.falsified_by}")
    lines.append(f"Iteration {plan.iteration}, batch {plan.batch}, slot {plan.slot}, laid out as {plan.strategy}")
    return "\n\n".join(lines)
