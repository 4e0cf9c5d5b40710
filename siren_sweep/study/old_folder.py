"""Reads a folder of the old loop: its log and memory, each iteration's config and weights, the last tree's scores.

Files are found by the names that the old loop gave them. What cannot be read is listed by file and line.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path

from siren_sweep.config.base import read_base
from siren_sweep.config.parameters import EXPLORABLE, value_at
from siren_sweep.errors import DataError, SweepError
from siren_sweep.study.log_parser import Ran, lines_of, number
from siren_sweep.study.old_memory import MEMORY, OldMemory, read_memory
from siren_sweep.text import one_line

_LOG, _SCORES = "_analysis.md", "_ucb_scores.txt"
_CONFIG = re.compile(r"iter_(\d{1,9})(?:_slot_(\d{1,4}))?\.ya?ml")
_NEXT = re.compile(r".*_\d\d\.ya?ml")  # the slots' configs for the next batch, which have not run
_WEIGHTS, _ITERATION = (".pt", ".pth"), re.compile(r"iter_(\d{1,9})(?!\d)")
_NODE = re.compile(r"Node (\d{1,9}): .*?parent=(\w+).*?\bR2=(\S+?),.*")
_FRAMES = "training.n_training_frames"
_MOST_FILES = 100_000
_MOST_NAMED = 10


@dataclass(frozen=True)
class Score:
    """A node of the tree: its parent (None of a root), its R2, and the file and line of both."""

    parent: int | None
    r2: float
    where: str


@dataclass
class OldFolder:
    """The content of a folder of the old loop: configs, scores and weights by iteration, memories, and unread things.

    The memory of the whole exploration comes first in `memories`, then the copies of single blocks, by name.
    """

    root: Path
    log: Path
    configs: dict[int, Ran] = field(default_factory=dict)
    scores: dict[int, Score] = field(default_factory=dict)
    weights: dict[int, Path] = field(default_factory=dict)
    memories: list[OldMemory] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def read_old_folder(folder: Path) -> OldFolder:
    """Read a folder of the old loop. Raises DataError where it does not hold exactly one log, or too many files."""
    files = list(_files(folder))
    logs = [file for file in files if file.name.endswith(_LOG)]
    if len(logs) != 1:
        found = ", ".join(str(file.relative_to(folder)) for file in logs) or "none"
        raise DataError(f"the folder must hold one *{_LOG}, or name it itself; got {found} in {str(folder)!r}")
    old, others = OldFolder(folder, logs[0]), list[str]()
    for file in files:
        name = str(file.relative_to(folder))
        if found_config := _CONFIG.fullmatch(file.name):
            slot = int(found_config[2]) if found_config[2] else None
            _add_config(old, int(found_config[1]), slot, file, name)
        elif file.name.endswith(_SCORES):
            _add_scores(old, file, name)
        elif file.name.endswith(MEMORY):
            _add_memory(old, file, name)
        elif file.suffix in _WEIGHTS:
            of = _ITERATION.search(file.stem)
            if of is None or int(of[1]) in old.weights:
                old.unread.append(f"{name}: weights must have one iter_NNN in their name, each iteration one file")
            else:
                old.weights[int(of[1])] = file
        elif file != old.log and not _NEXT.fullmatch(file.name):
            others.append(name)
    if others:
        named = ", ".join(others[:_MOST_NAMED]) + (
            f" and {len(others) - _MOST_NAMED} more" * (len(others) > _MOST_NAMED)
        )
        old.unread.append(f"files of other kinds, which are not read: {named}")
    old.memories.sort(key=lambda memory: memory.of_a_block)
    return old


def _add_memory(old: OldFolder, file: Path, name: str) -> None:
    if (text := _text(old, file, name)) is not None:
        memory, unread = read_memory(text, name)
        old.memories.append(memory)
        old.unread += unread


def _text(old: OldFolder, file: Path, name: str) -> str | None:
    """The text of a file, with a mark in place of each byte that is not UTF-8; None where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        old.unread.append(f"{name}: cannot be read ({error.strerror})")
        return None


def _files(folder: Path) -> list[Path]:
    """All plain files below a folder, sorted. Raises DataError where there are too many of them."""
    found = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    files = sorted(itertools.islice(found, _MOST_FILES + 1))
    if len(files) > _MOST_FILES:
        raise DataError(f"the folder must hold at most {_MOST_FILES} files, got more in {str(folder)!r}")
    return files


def _add_config(old: OldFolder, iteration: int, slot: int | None, file: Path, name: str) -> None:
    if iteration in old.configs:
        old.unread.append(f"{name}: iteration {iteration} has a config in {old.configs[iteration].file} already")
        return
    try:
        values, _ = read_base(file)
    except SweepError as error:
        old.unread.append(f"{name}: {one_line(error, 300)}")
        return
    own = {key: value_at(values, key) for key in EXPLORABLE}
    known = {key: value for key, value in own.items() if value is not None}
    old.configs[iteration] = Ran(name, known, value_at(values, _FRAMES), slot)


def _add_scores(old: OldFolder, file: Path, name: str) -> None:
    for at, line in lines_of(_text(old, file, name) or ""):
        where, found = f"{name}, line {at}", _NODE.fullmatch(line.strip())
        if found is None:
            if line.strip() and not line.startswith("==="):
                old.unread.append(f"{where}: not a line of a node: {one_line(line, 80)}")
            continue
        if (iteration := int(found[1])) in old.scores:
            old.unread.append(f"{where}: node {iteration} stands in {old.scores[iteration].where} already")
            continue
        try:
            r2 = number(found[3])
        except ValueError:
            old.unread.append(f"{where}: R2 must be a number, got {one_line(found[3], 60)!r}")
            continue
        if not found[2].isdecimal() and found[2].lower() != "root":
            old.unread.append(f"{where}: parent must be root or a number, got {one_line(found[2], 60)!r}")
            continue
        parent = int(found[2]) if found[2].isdecimal() and int(found[2]) > 0 else None
        old.scores[iteration] = Score(parent, r2, where)
