"""Writes the files of the record in a sweep's folder. Files that would not change are not written."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.study import Study

from siren_sweep.config.config_file import yaml_text
from siren_sweep.config.parameters import grouped, leaf
from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import OutputError
from siren_sweep.paths import SweepPaths, replacing
from siren_sweep.text import one_line
from siren_sweep.views.blocks import BlockView, TrialView, current_block, read_blocks
from siren_sweep.views.record.analysis import analysis_text
from siren_sweep.views.record.memory import memory_text, snapshot_text
from siren_sweep.views.record.ucb_scores import ucb_text


def write_record(paths: SweepPaths, studies: Mapping[int, Study], validations: Mapping[int, Study]) -> None:
    """Write the record of a sweep from its studies and validation studies, by block number. Raises OutputError.

    It may be called at any time. Of an unfinished batch the record has the configs and the hypotheses, and no entries.
    """
    files = record_files(paths.root.name, read_blocks(studies, validations))
    try:
        for name, text in files.items():
            _write(paths.record / name, text)
        for stale in _slot_configs(paths.record, paths.root.name) - files.keys():
            (paths.record / stale).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{paths.record} could not be written ({error})") from None


def record_files(name: str, blocks: Sequence[BlockView]) -> dict[str, str]:
    """The text of every file of the record, by its path in the record's folder."""
    files = {f"{name}_analysis.md": analysis_text(name, blocks), f"{name}_memory.md": memory_text(name, blocks)}
    now = current_block(blocks)
    last = max((trial.batch for trial in now.trials), default=0) if now else 0
    for block in blocks:
        if block.ended:
            files[f"memory/block_{block.number:03d}_memory.md"] = snapshot_text(name, blocks, block.number)
        for trial in block.trials:
            text = _config_text(trial, block)
            files[f"config/iter_{trial.plan.iteration:03d}_slot_{trial.plan.slot:02d}.yaml"] = text
            if block is now and trial.batch == last:
                files[f"{name}_{trial.slot:02d}.yaml"] = text
    if now:
        files[f"{name}_ucb_scores.txt"] = ucb_text(now)
    return files


def _config_text(trial: TrialView, block: BlockView) -> str:
    """The YAML config of one trial: the settings that a training run reads, with the trial's own values.

    `python -m siren_sweep --config-dir FOLDER --config-name NAME` runs it.
    """
    settings, values = grouped(block.settings), dict[str, dict[str, Any]]()
    for group in dataclasses.fields(TrialConfig):
        known = {item.name for item in dataclasses.fields(getattr(TrialConfig(), group.name))}
        values[group.name] = {key: value for key, value in settings.get(group.name, {}).items() if key in known}
    values["dataset"] |= {**block.block.dataset, "generate": False}
    values["training"] |= {"n_training_frames": trial.plan.n_training_frames, "seed": trial.plan.seed}
    for name, own in grouped(trial.config).items():
        values[name] |= own
    values = {name: {key: value for key, value in own.items() if value is not None} for name, own in values.items()}
    unknown = [leaf(name) for name, value in trial.config.items() if value is None]
    what = one_line(trial.plan.mutation) or "a start of its own"
    head = f"# Iteration {trial.plan.iteration}, slot {trial.plan.slot}: {what}.\n"
    origin = {"data_hash": block.block.data_hash, "command": block.block.command}
    head += "".join(f"# {name}: {one_line(value)}\n" for name, value in origin.items() if value)
    if unknown:
        head += f"# Not known, and left to its default: {', '.join(unknown)}.\n"
    return yaml_text(values, head)


def _write(file: Path, text: str) -> None:
    content = text.encode("utf-8", "replace")
    if not file.is_file() or file.read_bytes() != content:
        with replacing(file) as temporary:
            temporary.write_bytes(content)


def _slot_configs(folder: Path, name: str) -> set[str]:
    """The names of the slots' configs that are in the folder."""
    pattern = re.compile(re.escape(name) + r"_\d\d+\.yaml")
    return {file.name for file in folder.glob("*.yaml") if pattern.fullmatch(file.name)} if folder.is_dir() else set()
