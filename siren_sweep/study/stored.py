"""Reads and writes the records of a sweep and of its blocks; `stored_trials` does those of a trial.

No other module names a stored key. Everything is a user attribute of Optuna's, as JSON (`values` converts it). A study
belongs to one block, or to the runs beside one. Its format has a number, and a study of another format is refused.
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
_TOLD = "told"  # of a study: the last batch of which Optuna was told
_GOES_ON = "goes_on"  # of an entry of a plan


def read_block(study: Study) -> Block:
    """The block of a study. Raises SweepStateError where the study has another format, or is no block's."""
    values = _attributes(study)
    if "block" not in values or "n_training_frames" not in values:
        raise SweepStateError(f"the study {study.study_name!r} is no block's: it has no block and n_training_frames")
    known: dict[str, Any] = {
        name: values[name] for name in ("data_hash", "settings", "dataset", "imported", "command") if values.get(name)
    }
    known |= {"ended": bool(values.get(_ENDED)), "shown": bool(values.get(_SHOWN))}
    return Block(values["block"], values["n_training_frames"], **known)


def has_settings(study: Study) -> bool:
    """Whether all that `write_block` stores is there. After a crash some of it may be missing."""
    return "settings" in _attributes(study)


def solved_r2(study: Study) -> float | None:
    """The R2 from which on configs of a block count as equal; None where it is not set, or the study is no block's."""
    return solved_r2_of(study.user_attrs.get("settings") or {})


def read_plan(study: Study, batch: int) -> list[PlannedTrial]:
    """The plan of a batch; empty where none is stored."""
    entries = _attributes(study).get(_plan_key(batch)) or []
    where = f"the plan of batch {batch}"
    return [PlannedTrial(one["params"], as_plan(one["attributes"], where), one.get(_GOES_ON)) for one in entries]


def last_batch(study: Study) -> int:
    """The number of the last planned batch, 0 where there is none."""
    return max((int(key.removeprefix(_PLAN)) for key in study.user_attrs if key.startswith(_PLAN)), default=0)


def last_told(study: Study) -> int | None:
    """The number of the last batch of which Optuna was told, as the sweep stored it; None where it has not."""
    found = study.user_attrs.get(_TOLD)
    return None if found is None else int(found)


def read_instructions(study: Study) -> list[Instruction]:
    """A person's instructions to the running sweep, in order. `study` is the first block's."""
    return [as_instruction(one) for one in _attributes(study).get(_INSTRUCTIONS) or []]


def n_answered(study: Study) -> int:
    """How many instructions the person's file shows as acknowledged. `study` is the first block's."""
    return int(study.user_attrs.get(_ANSWERED) or 0)


def read_tracked_to(study: Study) -> TrackedTo | None:
    """The MLflow of the sweep's runs; None where it has not tracked. `study` is the first block's."""
    values = _attributes(study).get(_TRACKED_TO)
    return as_record(TrackedTo, values, "the sweep") if values else None


def sweep_id(first: Study) -> str:
    """An id that is different for every sweep, also for two of one name. It is made and stored at the first call."""
    if _SWEEP_ID not in first.user_attrs:
        first.set_user_attr(_SWEEP_ID, uuid.uuid4().hex)
    return str(first.user_attrs[_SWEEP_ID])


def new_sweep_id(first: Study) -> str:
    """Give the sweep a new id, and return it: it is the copy of a sweep that goes on as well."""
    first.set_user_attr(_SWEEP_ID, uuid.uuid4().hex)
    return sweep_id(first)


def read_mirrored(first: Study) -> Mirrored:
    """What is known of the sweep's experiment in MLflow; `first` is the first block's study."""
    values = first.user_attrs.get(_MIRRORED) or {}
    return Mirrored(values.get("experiment", ""), tuple(values.get("keys", ())), tuple(values.get("marks", ())))


def write_mirrored(first: Study, mirrored: Mirrored) -> None:
    """Store what is known of the sweep's experiment in MLflow, in one write."""
    first.set_user_attr(_MIRRORED, dict(vars(mirrored)))


def read_notes(study: Study) -> dict[str, str] | None:
    """An agent's texts on a block, by section of the memory; None where it was not asked yet."""
    found = _attributes(study).get(_NOTES)
    return {str(name): str(text) for name, text in found.items()} if isinstance(found, dict) else None


def n_copied(study: Study) -> int:
    """How many studies were copied from another sweep together with this one; 0 where the copy is not complete."""
    return int(study.user_attrs.get(_COPIED) or 0)


def write_block(study: Study, block: Block) -> None:
    """Store what a block is. Values that are stored already do not change."""
    values = {
        _FORMAT: FORMAT,
        "block": block.number,
        "n_training_frames": block.n_training_frames,
        "data_hash": block.data_hash,
        "dataset": dict(block.dataset),
        **({"imported": dict(block.imported)} if block.imported else {}),
        **({"command": block.command} if block.command else {}),
        "settings": dict(block.settings),  # last: `has_settings` rests on it
    }
    known = study.user_attrs
    for key, value in values.items():
        if key not in known:
            study.set_user_attr(key, value)


def write_format(study: Study) -> None:
    """Store the format's number in a study beside a block's."""
    if _FORMAT not in study.user_attrs:
        study.set_user_attr(_FORMAT, FORMAT)


def write_plan(study: Study, planned: Sequence[PlannedTrial]) -> None:
    """Store a batch's plan in one write, so that it is there whole or not at all."""
    entries = [
        {"params": dict(one.params), "attributes": plan_values(one.plan)}
        | ({} if one.goes_on is None else {_GOES_ON: one.goes_on})
        for one in planned
    ]
    study.set_user_attr(_plan_key(planned[0].plan.batch), entries)


def write_told(study: Study, batch: int) -> None:
    """Store that Optuna was told of all trials of a batch, except paused ones. Batches are told in their order.

    The plan of the batch before is emptied, since its trials have what it held. Optuna reads all attributes of a study
    at once, several times a batch; with the plans of thousands of trials that takes longer with every batch.
    """
    study.set_user_attr(_TOLD, batch)
    if batch > 1:
        study.set_user_attr(_plan_key(batch - 1), [])


def write_notes(study: Study, notes: Mapping[str, str]) -> None:
    """Store an agent's texts in place of its earlier ones."""
    study.set_user_attr(_NOTES, dict(notes))


def write_tracked_to(study: Study, tracked: TrackedTo) -> None:
    """Store the MLflow to which the sweep's runs go from now on."""
    if read_tracked_to(study) != tracked:
        study.set_user_attr(_TRACKED_TO, dict(vars(tracked)))


def mark_ended(study: Study) -> None:
    """Store that a block has ended: its trials are told, its best is trained whole and validated."""
    study.set_user_attr(_ENDED, True)


def opened_again(study: Study) -> bool:
    """Whether a block that had ended was opened again, as by a higher `claude.n_iter_block`, and is open still."""
    return study.user_attrs.get(_ENDED) is False


def mark_open(study: Study) -> None:
    """Store that a block goes on though it had ended, and that its record and report must be written again."""
    study.set_user_attr(_ENDED, False)
    study.set_user_attr(_SHOWN, False)


def write_settings(study: Study, settings: Mapping[str, Any]) -> None:
    """Store the sweep's settings in place of the block's earlier ones."""
    study.set_user_attr("settings", dict(settings))


def mark_shown(study: Study) -> None:
    """Store that the record and the report of a block that has ended are written."""
    study.set_user_attr(_SHOWN, True)


def mark_copied(study: Study, n_blocks: int) -> None:
    """Store that a study was copied completely, as one of `n_blocks`."""
    study.set_user_attr(_COPIED, n_blocks)


def write_instructions(study: Study, instructions: Sequence[Instruction]) -> None:
    """Store all instructions, in one write."""
    study.set_user_attr(_INSTRUCTIONS, [instruction_values(one) for one in instructions])


def write_answered(study: Study, n: int) -> None:
    """Store how many instructions are acknowledged."""
    study.set_user_attr(_ANSWERED, n)


def _plan_key(batch: int) -> str:
    return f"{_PLAN}{batch:03d}"


def _attributes(study: Study) -> dict[str, Any]:
    values = study.user_attrs
    if (found := values.get(_FORMAT, FORMAT)) != FORMAT:  # studies without a number are of format 1
        raise SweepStateError(
            f"the study {study.study_name!r} must be of format {FORMAT}, got {found!r}: another version of this "
            "program has written it"
        )
    return values
