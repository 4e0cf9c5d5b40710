"""Writes the record below a sweep's folder; what is there already and unchanged is left alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from optuna.study import Study

from siren_sweep.errors import OutputError
from siren_sweep.paths import SweepPaths, replacing
from siren_sweep.views.blocks import BlockView, read_blocks
from siren_sweep.views.record.analysis import analysis_text
from siren_sweep.views.record.configs import config_text
from siren_sweep.views.record.memory import memory_text, snapshot_text
from siren_sweep.views.record.tree import ucb_text


def write_record(paths: SweepPaths, studies: Mapping[int, Study], validations: Mapping[int, Study]) -> None:
    """Make the record of a sweep from its studies and validation studies, by block number. Raises OutputError.

    It may be called at any time: an unfinished batch is in the configs and the hypothesis, and in no entry yet.
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
    """Every file of the record, by its name below the record's folder."""
    files = {f"{name}_analysis.md": analysis_text(name, blocks), f"{name}_memory.md": memory_text(name, blocks)}
    last = max((trial.batch for trial in blocks[-1].trials), default=0) if blocks else 0
    for block in blocks:
        if block.ended:
            files[f"memory/block_{block.number:03d}_memory.md"] = snapshot_text(name, blocks, block.number)
        for trial in block.trials:
            text = config_text(trial, block)
            files[f"config/iter_{trial.plan.iteration:03d}_slot_{trial.plan.slot:02d}.yaml"] = text
            if block is blocks[-1] and trial.batch == last:
                files[f"{name}_{trial.slot:02d}.yaml"] = text
    if blocks:
        files[f"{name}_ucb_scores.txt"] = ucb_text(blocks[-1])
    return files


def _write(file: Path, text: str) -> None:
    content = text.encode("utf-8", "replace")
    if not file.is_file() or file.read_bytes() != content:
        with replacing(file) as temporary:
            temporary.write_bytes(content)


def _slot_configs(folder: Path, name: str) -> set[str]:
    """The slots' configs of a batch that had more slots."""
    pattern = re.compile(re.escape(name) + r"_\d\d+\.yaml")
    return {file.name for file in folder.glob("*.yaml") if pattern.fullmatch(file.name)} if folder.is_dir() else set()
