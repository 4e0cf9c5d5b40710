"""How the records of a sweep are read and written: the one place that names a stored key.

Everything is a user attribute of Optuna's, as JSON (`values` has its form). A study is of one block, or of the runs
beside one; its format has a number, and what another version has written is refused with one message.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.errors import SweepStateError
from siren_sweep.study.records import (
    Block,
    Instruction,
    Outcome,
    PlannedTrial,
    Stint,
    Stop,
    TrackedTo,
    Trial,
    TrialPlan,
    solved_r2_of,
)
from siren_sweep.study.values import (
    SAMPLER_STATE,
    as_instruction,
    as_plan,
    as_record,
    instruction_values,
    outcome_values,
    plan_values,
)
from siren_sweep.train.report import Report

FORMAT = 1
_FORMAT, _PLAN = "format", "batch_"
_ENDED, _SHOWN, _COPIED = "ended", "shown", "copied"
_INSTRUCTIONS, _ANSWERED = "instructions", "instructions_answered"  # of the first block's study
_TRACKED_TO, _SWEEP_ID = "tracked_to", "sweep_id"  # of the first block's study
_NOTES = "notes"
_ATTEMPT, _DEATHS, _REPORTS, _STOP, _OUTCOME = "attempt", "deaths", "reports", "stop", "outcome"
_STINTS, _GOES_ON, _GIVEN_UP = "stints", "goes_on", "given_up"


def read_block(study: Study) -> Block:
    """Raises SweepStateError where the study is of another format, or no block's."""
    values = _attributes(study)
    if "block" not in values or "n_training_frames" not in values:
        raise SweepStateError(f"the study {study.study_name!r} is no block's: it has no block and n_training_frames")
    known: dict[str, Any] = {
        name: values[name] for name in ("data_hash", "settings", "dataset", "imported", "command") if values.get(name)
    }
    known |= {"ended": bool(values.get(_ENDED)), "shown": bool(values.get(_SHOWN))}
    return Block(values["block"], values["n_training_frames"], **known)


def has_settings(study: Study) -> bool:
    """Whether all that `write_block` stores is there: a crash may have come before."""
    return "settings" in _attributes(study)


def n_training_frames(study: Study) -> int | None:
    """The frames of a block's study; None of any other study."""
    found = study.user_attrs.get("n_training_frames")
    return int(found) if found is not None else None


def solved_r2(study: Study) -> float | None:
    """The R2 from which on configs of a block are equal; None where none are, and of any other study."""
    return solved_r2_of(study.user_attrs.get("settings") or {})


def read_trials(study: Study) -> list[Trial]:
    """The trials that were planned by a sweep, or imported, in order."""
    found = (read_trial(trial) for trial in study.get_trials(deepcopy=False))
    return [trial for trial in found if trial is not None]


def read_trial(trial: FrozenTrial) -> Trial | None:
    """A trial of a sweep; None of one that another program added. Raises SweepStateError where a record is broken."""
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
        began=trial.datetime_start,
        told=trial.datetime_complete,
    )


def read_plan(study: Study, batch: int) -> list[PlannedTrial]:
    """The plan of a batch; empty where none was stored."""
    entries = _attributes(study).get(_plan_key(batch)) or []
    where = f"the plan of batch {batch}"
    return [PlannedTrial(one["params"], as_plan(one["attributes"], where), one.get(_GOES_ON)) for one in entries]


def last_batch(study: Study) -> int:
    """The number of the last batch that was planned, 0 where there is none."""
    return max((int(key.removeprefix(_PLAN)) for key in study.user_attrs if key.startswith(_PLAN)), default=0)


def read_instructions(study: Study) -> list[Instruction]:
    """What a person asked of the sweep while it ran, in order; from the first block's study."""
    return [as_instruction(one) for one in _attributes(study).get(_INSTRUCTIONS) or []]


def n_answered(study: Study) -> int:
    """How many instructions the file of a person holds as acknowledged."""
    return int(study.user_attrs.get(_ANSWERED) or 0)


def read_tracked_to(study: Study) -> TrackedTo | None:
    """Where the sweep's runs go; None where it has not tracked. From the first block's study."""
    values = _attributes(study).get(_TRACKED_TO)
    return as_record(TrackedTo, values, "the sweep") if values else None


def sweep_id(first: Study) -> str:
    """What tells a sweep from any other, of whatever name; made when it is first asked for. In the first block's
    study."""
    if _SWEEP_ID not in first.user_attrs:
        first.set_user_attr(_SWEEP_ID, uuid.uuid4().hex)
    return str(first.user_attrs[_SWEEP_ID])


def read_notes(study: Study) -> dict[str, str] | None:
    """What an agent wrote in a block, by section of the memory; None where it was not asked yet."""
    found = _attributes(study).get(_NOTES)
    return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else None


def n_copied(study: Study) -> int:
    """Of a study that another sweep's was copied to: how many were copied with it; 0 where it was cut off."""
    return int(study.user_attrs.get(_COPIED) or 0)


def write_block(study: Study, block: Block) -> None:
    """Store what a block is; what is stored already stays."""
    values = {
        _FORMAT: FORMAT,
        "block": block.number,
        "n_training_frames": block.n_training_frames,
        "data_hash": block.data_hash,
        "dataset": dict(block.dataset),
        **({"imported": dict(block.imported)} if block.imported else {}),
        **({"command": block.command} if block.command else {}),
        "settings": dict(block.settings),  # last: a study that has them is whole
    }
    known = study.user_attrs
    for key, value in values.items():
        if key not in known:
            study.set_user_attr(key, value)


def write_format(study: Study) -> None:
    """Mark a study that is beside a block's."""
    if _FORMAT not in study.user_attrs:
        study.set_user_attr(_FORMAT, FORMAT)


def write_plan(study: Study, planned: Sequence[PlannedTrial]) -> None:
    """Store a batch in one write, so that it is there whole or not at all."""
    entries = [
        {"params": dict(one.params), "attributes": plan_values(one.plan)}
        | ({} if one.goes_on is None else {_GOES_ON: one.goes_on})
        for one in planned
    ]
    study.set_user_attr(_plan_key(planned[0].plan.batch), entries)


def write_notes(study: Study, notes: Mapping[str, str]) -> None:
    """Store what an agent wrote, in the place of what it wrote before."""
    study.set_user_attr(_NOTES, dict(notes))


def write_tracked_to(study: Study, tracked: TrackedTo) -> None:
    """Store where the sweep's runs go from now on."""
    if read_tracked_to(study) != tracked:
        study.set_user_attr(_TRACKED_TO, dict(vars(tracked)))


def mark_ended(study: Study) -> None:
    """Say that a block is over: told, trained whole, validated and exported."""
    study.set_user_attr(_ENDED, True)


def mark_open(study: Study) -> None:
    """Say that a block is to be gone on with, and shown anew, though it was over."""
    study.set_user_attr(_ENDED, False)
    study.set_user_attr(_SHOWN, False)


def write_settings(study: Study, settings: Mapping[str, Any]) -> None:
    """Store the sweep's settings in the place of those that a block has."""
    study.set_user_attr("settings", dict(settings))


def mark_shown(study: Study) -> None:
    """Say that the record and the report of a block that is over are written."""
    study.set_user_attr(_SHOWN, True)


def mark_copied(study: Study, n_blocks: int) -> None:
    """Say that a study was copied whole, one of `n_blocks`."""
    study.set_user_attr(_COPIED, n_blocks)


def write_instructions(study: Study, instructions: Sequence[Instruction]) -> None:
    """Store all of them, in one write."""
    study.set_user_attr(_INSTRUCTIONS, [instruction_values(one) for one in instructions])


def write_answered(study: Study, n: int) -> None:
    """Store how many instructions are acknowledged."""
    study.set_user_attr(_ANSWERED, n)


class TrialWriter:
    """Writes what happens to one trial."""

    def __init__(self, storage: BaseStorage, trial_id: int) -> None:
        self._storage, self._trial_id = storage, trial_id

    def attempt(self, number: int) -> None:
        self._set(_ATTEMPT, number)

    def deaths(self, reasons: Sequence[str]) -> None:
        self._set(_DEATHS, list(reasons))

    def reports(self, reports: Sequence[Report]) -> None:
        self._set(_REPORTS, [dataclasses.asdict(report) for report in reports])

    def stop(self, stop: Stop) -> None:
        self._set(_STOP, {key: value for key, value in vars(stop).items() if value is not None})

    def stints(self, stints: Sequence[Stint]) -> None:
        """Take a paused trial up again, in one write: it then has no current outcome."""
        self._set(_STINTS, [dict(vars(stint)) for stint in stints])

    def given_up(self, batch: int) -> None:
        self._set(_GIVEN_UP, batch)

    def outcome(self, outcome: Outcome) -> None:
        self._set(_OUTCOME, outcome_values(outcome))

    def _set(self, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(self._trial_id, key, value)


def trial_values(plan: TrialPlan, outcome: Outcome | None = None, attempt: int = 0) -> dict[str, Any]:
    """The attributes of a trial that is added whole."""
    values = {**plan_values(plan), _ATTEMPT: attempt}
    if outcome is not None:
        values[_OUTCOME] = outcome_values(outcome)
    return values


def without_parent(trial: FrozenTrial) -> dict[str, Any]:
    """The attributes of a trial for another study, in which its parent may not be."""
    return {**trial.user_attrs, "parent": None}


def sampler_state(trial: FrozenTrial) -> Mapping[str, Any]:
    """What a sampler kept with a trial for itself."""
    found: Mapping[str, Any] = trial.user_attrs.get(SAMPLER_STATE) or {}
    return found


def stated_parent(trial: FrozenTrial) -> tuple[bool, int | None]:
    """Whether a trial says what its parent is, and which."""
    return "parent" in trial.user_attrs, trial.user_attrs.get("parent")


def failure(trial: FrozenTrial) -> Outcome | None:
    """The outcome of a trial that failed, whoever added it."""
    values = trial.user_attrs.get(_OUTCOME)
    return as_record(Outcome, values, f"trial {trial.number}") if trial.state is TrialState.FAIL and values else None


def _plan_key(batch: int) -> str:
    return f"{_PLAN}{batch:03d}"


def _attributes(study: Study) -> dict[str, Any]:
    values: dict[str, Any] = study.user_attrs
    if (found := values.get(_FORMAT, FORMAT)) != FORMAT:  # studies of before the number was written are as version 1
        raise SweepStateError(
            f"the study {study.study_name!r} must be of format {FORMAT}, got {found!r}: another version of this "
            "program has written it"
        )
    return values
