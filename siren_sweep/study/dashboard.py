"""Additions for the pages of optuna-dashboard: the metric's name, when each trial trained, its hypothesis as a note."""

from __future__ import annotations

import datetime
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.study.records import TrialPlan
from siren_sweep.study.storage import wait_for
from siren_sweep.study.stored_trials import read_trial

METRIC = "R2"  # over all frames, or over the windows that a trial trained
_NOTE_LENGTH = 2045  # characters of one part of a note, as optuna-dashboard stores it
_TRIALS = sqlalchemy.table(
    "trials",
    sqlalchemy.column("trial_id"),
    sqlalchemy.column("datetime_start", sqlalchemy.DateTime),
    sqlalchemy.column("datetime_complete", sqlalchemy.DateTime),
)
_ATTRIBUTES = sqlalchemy.table(
    "study_system_attributes", sqlalchemy.column("study_id"), sqlalchemy.column("key"), sqlalchemy.column("value_json")
)


class TimedStorage(RDBStorage):
    """Optuna's database storage, in which the start and end of a trial are those of its training.

    By default they would be those of `study.tell`, which is called for all trials of a batch together. What Optuna
    writes one by one can be written together, since each write to a file waits for the disk.
    """

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        done = super().set_trial_state_values(trial_id, state, values)
        if done and state.is_finished() and (times := training_times(self.get_trial(trial_id))):
            own = sqlalchemy.update(_TRIALS).where(_TRIALS.c.trial_id == trial_id)
            with self.engine.begin() as connection:
                connection.execute(own.values(datetime_start=times[0], datetime_complete=times[1]))
        return done

    def set_trial_intermediate_values(self, trial_id: int, values: Mapping[int, float]) -> None:
        """As `set_trial_intermediate_value` for several steps, in one write."""
        with self.scoped_session() as session, session.begin():
            for step, value in values.items():
                self._set_trial_intermediate_value_without_commit(session, trial_id, step, value)

    def set_study_system_attrs(self, study_id: int, values: Mapping[str, Any]) -> None:
        """As `set_study_system_attr` for several keys, in one write."""
        rows = [{"study_id": study_id, "key": key, "value_json": json.dumps(value)} for key, value in values.items()]
        own = _ATTRIBUTES.c.study_id == study_id, _ATTRIBUTES.c.key.in_(list(values))
        with self.engine.begin() as connection:
            connection.execute(sqlalchemy.delete(_ATTRIBUTES).where(*own))
            connection.execute(sqlalchemy.insert(_ATTRIBUTES), rows)


def write_values(storage: BaseStorage, trial_id: int, values: Mapping[int, float]) -> None:
    """Write a trial's intermediate values, by step; in a database in one write."""
    if (database := _database(storage)) is not None:
        wait_for(database.set_trial_intermediate_values, trial_id, values)
        return
    for step, value in values.items():
        storage.set_trial_intermediate_value(trial_id, step, value)


def _database(storage: BaseStorage) -> TimedStorage | None:
    """The database of a storage, which lies below Optuna's cache; None where it is no database."""
    below = getattr(storage, "_backend", storage)  # the cache has no public name for it
    return below if isinstance(below, TimedStorage) else None


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
    known, new = storage.get_study_system_attrs(study_id), dict[str, Any]()
    for trial_id, plan in plans.items():
        version, text = f"dashboard:{trial_id}:note_ver", note(plan)
        if version in known:
            continue
        for part, start in enumerate(range(0, len(text), _NOTE_LENGTH)):
            new[f"dashboard:{trial_id}:note_str:{part}"] = text[start : start + _NOTE_LENGTH]
        new[version] = 1
    if new and (database := _database(storage)) is not None:
        wait_for(database.set_study_system_attrs, study_id, new)
        return
    for key, value in new.items():
        storage.set_study_system_attr(study_id, key, value)


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
