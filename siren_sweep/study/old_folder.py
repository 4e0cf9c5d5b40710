"""The folder of the old loop: its log, the config of each iteration, and the scores of its last tree.

What is in it is found by the names that the old loop gives. What cannot be read is told by file and line.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from siren_sweep.config.base import read_base
from siren_sweep.config.parameters import EXPLORABLE
from siren_sweep.errors import DataError, SweepError
from siren_sweep.study.log_format import one_line

_LOG, _SCORES = "_analysis.md", "_ucb_scores.txt"
_CONFIG = re.compile(r"iter_(\d{1,9})(?:_slot_\d{1,4})?\.ya?ml")
_WEIGHTS, _ITERATION = (".pt", ".pth"), re.compile(r"iter_(\d{1,9})(?!\d)")
_NODE = re.compile(r"Node (\d{1,9}): .*?parent=(\w+).*?\bR2=(\S+?),.*")
_MOST_FILES = 100_000


@dataclass
class OldFolder:
    """What a folder of the old loop holds beside its log: `configs` by iteration, the explorable parameters that a file
    names, and the file; `scores` by iteration, the parent (None for a root), the R2 and where that stands; `weights`
    the file by iteration, where its name says whose they are."""

    root: Path
    log: Path
    configs: dict[int, tuple[dict[str, Any], str]] = field(default_factory=dict)
    scores: dict[int, tuple[int | None, float, str]] = field(default_factory=dict)
    weights: dict[int, Path] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def read_old_folder(folder: Path) -> OldFolder:
    """Raises DataError where a folder does not hold one log."""
    files = list(_files(folder))
    logs = [file for file in files if file.name.endswith(_LOG)]
    if len(logs) != 1:
        found = ", ".join(str(file.relative_to(folder)) for file in logs) or "none"
        raise DataError(f"the folder must hold one *{_LOG}, or name it itself; got {found} in {str(folder)!r}")
    old = OldFolder(folder, logs[0])
    for file in files:
        name = str(file.relative_to(folder))
        if found_config := _CONFIG.fullmatch(file.name):
            _add_config(old, int(found_config[1]), file, name)
        elif file.name.endswith(_SCORES):
            _add_scores(old, file, name)
        elif file.suffix in _WEIGHTS:
            of = _ITERATION.search(file.stem)
            if of is None or int(of[1]) in old.weights:
                old.unread.append(f"{name}: weights must have one iter_NNN in their name, each iteration one file")
            else:
                old.weights[int(of[1])] = file
    return old


def _files(folder: Path) -> Iterator[Path]:
    """All plain files below a folder, in order."""
    found = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    yield from sorted(itertools.islice(found, _MOST_FILES))


def _add_config(old: OldFolder, iteration: int, file: Path, name: str) -> None:
    if iteration in old.configs:
        old.unread.append(f"{name}: iteration {iteration} has a config in {old.configs[iteration][1]} already")
        return
    try:
        values, _ = read_base(file)
    except SweepError as error:
        old.unread.append(f"{name}: {one_line(error, 300)}")
        return
    own = {key: _value(values, key) for key in EXPLORABLE}
    old.configs[iteration] = {key: value for key, value in own.items() if value is not None}, name


def _value(values: Mapping[str, Any], name: str) -> Any:
    section, _, key = name.partition(".")
    return (values.get(section) or {}).get(key)


def _add_scores(old: OldFolder, file: Path, name: str) -> None:
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        found = _NODE.fullmatch(line.strip())
        if found is None:
            if line.strip() and not line.startswith("==="):
                old.unread.append(f"{name}, line {number}: no line of a node: {one_line(line, 80)}")
            continue
        try:
            r2 = float(found[3])
        except ValueError:
            old.unread.append(f"{name}, line {number}: R2 must be a number, got {one_line(found[3], 60)!r}")
            continue
        parent = int(found[2]) if found[2].isdecimal() and int(found[2]) > 0 else None
        old.scores[int(found[1])] = parent, r2, f"{name}, line {number}"
