"""Reads and writes the record of a trial: the user attributes of an Optuna trial, whose keys only this module names."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.study.records import ClusterJob, Outcome, Stint, Stop, Trial, TrialPlan
from siren_sweep.study.values import SAMPLER_STATE, as_plan, as_record, outcome_values, plan_values
from siren_sweep.train.report import Report

_ATTEMPT, _DEATHS, _REPORTS, _STOP, _OUTCOME = "attempt", "deaths", "reports", "stop", "outcome"
_STINTS, _GIVEN_UP, _JOB = "stints", "given_up", "job"
_told: dict[int, tuple[weakref.ref[FrozenTrial], Trial | None]] = {}  # finished trials that were read, by object id


def read_trials(study: Study) -> list[Trial]:
    """The trials of a study that a sweep planned or imported, in order."""
    found = (read_trial(trial) for trial in study.get_trials(deepcopy=False))
    return [trial for trial in found if trial is not None]


def read_trial(trial: FrozenTrial) -> Trial | None:
    """The record of a sweep's trial; None of a trial that another program added.

    A finished trial does not change, so its record is read once. Raises SweepStateError where a record is broken.
    """
    kept = _told.get(id(trial))
    if kept is not None and kept[0]() is trial:
        return kept[1]
    found, key = _read(trial), id(trial)
    if trial.state.is_finished():
        _told[key] = weakref.ref(trial, lambda _: _told.pop(key, None)), found
    return found


def _read(trial: FrozenTrial) -> Trial | None:
    values = trial.user_attrs
    if not {"iteration", "config"} <= values.keys():
        return None
    where = f"trial {trial.number}"
    stints = tuple(as_record(Stint, one, where) for one in values.get(_STINTS) or ())
    stop = as_record(Stop, values[_STOP], where) if values.get(_STOP) else None
    return Trial(
        number=trial.number,
        state=trial.state,
        value=trial.value,
        params=trial.params,
        plan=as_plan(values, where),
        attempt=int(values.get(_ATTEMPT) or 0),
        deaths=tuple(values.get(_DEATHS) or ()),
        reports=tuple(as_record(Report, one, where) for one in values.get(_REPORTS) or ()),
        stop=stop if stop and (not stints or stop.fraction > stints[-1].fraction) else None,
        outcome=as_record(Outcome, values[_OUTCOME], where) if values.get(_OUTCOME) else None,
        stints=stints,
        given_up=values.get(_GIVEN_UP),
        job=as_record(ClusterJob, values[_JOB], where) if values.get(_JOB) else None,
        began=trial.datetime_start,
        told=trial.datetime_complete,
    )


def as_planned(trial: FrozenTrial) -> FrozenTrial:
    """A trial as it was when it was planned: it runs, and has no reports and no outcome."""
    shown = copy.copy(trial)
    shown.state, shown.value, shown.datetime_complete = TrialState.RUNNING, None, None
    shown.intermediate_values = {}
    since = {_ATTEMPT, _DEATHS, _REPORTS, _STOP, _OUTCOME, _JOB}
    shown.user_attrs = {name: value for name, value in trial.user_attrs.items() if name not in since}
    return shown


class TrialWriter:
    """Writes the record of one trial, each method in one write."""

    def __init__(self, storage: BaseStorage, trial_id: int) -> None:
        self._storage, self._trial_id = storage, trial_id

    def attempt(self, number: int) -> None:
        self._set(_ATTEMPT, number)

    def deaths(self, reasons: Sequence[str]) -> None:
        self._set(_DEATHS, list(reasons))

    def reports(self, reports: Sequence[Report]) -> None:
        self._set(_REPORTS, [vars(report) for report in reports])

    def stop(self, stop: Stop) -> None:
        self._set(_STOP, _stop_values(stop))

    def stints(self, stints: Sequence[Stint]) -> None:
        """The resumptions of a paused trial. With a new one the trial has no current outcome."""
        self._set(_STINTS, [dict(vars(stint)) for stint in stints])

    def given_up(self, batch: int) -> None:
        self._set(_GIVEN_UP, batch)

    def job(self, job: ClusterJob) -> None:
        self._set(_JOB, dict(vars(job)))

    def outcome(self, outcome: Outcome) -> None:
        self._set(_OUTCOME, outcome_values(outcome))

    def _set(self, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._trial_id, key, value)


def trial_values(
    plan: TrialPlan, outcome: Outcome | None = None, attempt: int = 0, stop: Stop | None = None
) -> dict[str, Any]:
    """The attributes of a trial that is added to a study with all that is known of it."""
    values = {**plan_values(plan), _ATTEMPT: attempt}
    if stop is not None:
        values[_STOP] = _stop_values(stop)
    if outcome is not None:
        values[_OUTCOME] = outcome_values(outcome)
    return values


def _stop_values(stop: Stop) -> dict[str, float]:
    return {key: value for key, value in vars(stop).items() if value is not None}


def without_parent(trial: FrozenTrial) -> dict[str, Any]:
    """The attributes of a trial for another study, which may lack its parent."""
    return {**trial.user_attrs, "parent": None}


def sampler_state(trial: FrozenTrial) -> Mapping[str, Any]:
    """What a sampler stored with a trial for its own use."""
    found: Mapping[str, Any] = trial.user_attrs.get(SAMPLER_STATE) or {}
    return found


def stated_parent(trial: FrozenTrial) -> tuple[bool, int | None]:
    """Whether a trial states its parent, and the parent's number; None of a root."""
    return "parent" in trial.user_attrs, trial.user_attrs.get("parent")


def failure(trial: FrozenTrial) -> Outcome | None:
    """The outcome of a failed trial, also of one that was not planned by a sweep; else None."""
    values = trial.user_attrs.get(_OUTCOME)
    return as_record(Outcome, values, f"trial {trial.number}") if trial.state is TrialState.FAIL and values else None
