"""How the records of a sweep and of its blocks are read and written; those of a trial are in `stored_trials`.

These two alone name a stored key. Everything is a user attribute of Optuna's, as JSON (`values` has its form). A study
is of one block, or of the runs beside one; its format has a number, and what another version has written is refused
with one message.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.study import Study

from siren_sweep.errors import SweepStateError
from siren_sweep.study.records import Block, Instruction, Mirrored, PlannedTrial, TrackedTo, solved_r2_of
from siren_sweep.study.values import as_instruction, as_plan, as_record, instruction_values, plan_values

FORMAT = 1
_FORMAT, _PLAN = "format", "batch_"
_ENDED, _SHOWN, _COPIED = "ended", "shown", "copied"
_INSTRUCTIONS, _ANSWERED = "instructions", "instructions_answered"  # of the first block's study
_TRACKED_TO, _SWEEP_ID, _MIRRORED = "tracked_to", "sweep_id", "mirrored"  # of the first block's study
_NOTES = "notes"
_TOLD = "told"  # of a study: its last batch that was told
_GOES_ON = "goes_on"  # of an entry of a plan


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


def solved_r2(study: Study) -> float | None:
    """The R2 from which on configs of a block are equal; None where none are, and of any other study."""
    return solved_r2_of(study.user_attrs.get("settings") or {})


def read_plan(study: Study, batch: int) -> list[PlannedTrial]:
    """The plan of a batch; empty where none was stored."""
    entries = _attributes(study).get(_plan_key(batch)) or []
    where = f"the plan of batch {batch}"
    return [PlannedTrial(one["params"], as_plan(one["attributes"], where), one.get(_GOES_ON)) for one in entries]


def last_batch(study: Study) -> int:
    """The number of the last batch that was planned, 0 where there is none."""
    return max((int(key.removeprefix(_PLAN)) for key in study.user_attrs if key.startswith(_PLAN)), default=0)


def last_told(study: Study) -> int | None:
    """The number of the last batch that was told, as the sweep wrote it down; None where it did not yet."""
    found = study.user_attrs.get(_TOLD)
    return None if found is None else int(found)


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


def new_sweep_id(first: Study) -> str:
    """The sweep is another from now on: a copy, of which the original goes on as well."""
    first.set_user_attr(_SWEEP_ID, uuid.uuid4().hex)
    return sweep_id(first)


def read_mirrored(first: Study) -> Mirrored:
    """What is known of the sweep's experiment in MLflow. From the first block's study."""
    values = first.user_attrs.get(_MIRRORED) or {}
    return Mirrored(values.get("experiment", ""), tuple(values.get("keys", ())), tuple(values.get("marks", ())))


def write_mirrored(first: Study, mirrored: Mirrored) -> None:
    """Store it, in one write."""
    first.set_user_attr(_MIRRORED, dict(vars(mirrored)))


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


def write_told(study: Study, batch: int) -> None:
    """Say that all trials of a batch were told, or are paused; batches are told in their order."""
    study.set_user_attr(_TOLD, batch)


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


def _plan_key(batch: int) -> str:
    return f"{_PLAN}{batch:03d}"


def _attributes(study: Study) -> dict[str, Any]:
    values = study.user_attrs
    if (found := values.get(_FORMAT, FORMAT)) != FORMAT:  # studies of before the number was written are as version 1
        raise SweepStateError(
            f"the study {study.study_name!r} must be of format {FORMAT}, got {found!r}: another version of this "
            "program has written it"
        )
    return values
