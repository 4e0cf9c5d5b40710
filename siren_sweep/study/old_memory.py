"""Reads the memory of the old loop, `*_memory.md`: its table of results, and its agent's text, section by section.

The text is kept as it is. A value in the table is used where neither the log nor a config has it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from siren_sweep.config.parameters import WINDOW
from siren_sweep.study.log_parser import FRAMES, lines_of, number, parameter_named
from siren_sweep.text import one_line

MEMORY = "_memory.md"
# The sections of a memory, in their order. What stands below another heading is not read.
SECTIONS = (
    "Paper Summary",
    "Knowledge Base",
    "R2 Progression Table",
    "Established Principles",
    "Falsified Hypotheses",
    "Open Questions",
    "Previous Block Summary",
    "Current Block",
    "Block Info",
    "Hypothesis",
    "Iterations This Block",
    "Emerging Observations",
)
_TABLE, _CURRENT, _INFO = "R2 Progression Table", "Current Block", "Block Info"
_OF_A_BLOCK = re.compile(r"(?:.*/)?block_\d+_memory\.md")
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*")
_WITHIN = re.compile(r"n_training_frames\W*:\W*(\d{1,9})\b.*")
_NO_WORDS = re.compile(r"-{3,}|\*\*CRITICAL: This section must ALWAYS be at the END of memory file\.\*\*|")
_RULE = re.compile(r"\|[\s|:-]*")
_LONGEST, _MOST = 2000, 100_000  # most characters of a line, and of a section
_NO_VALUE = ("", "-", "nan", "n/a", "pending", "failed", "pruned", "paused", "open")
_WINDOWS = re.compile(r"(.*) in windows of (\d{1,9})")  # as in this program's own record
_R2 = "final_r2"


@dataclass(frozen=True)
class Row:
    """A row of the table: an iteration and its values, by parameter, `n_frames` or `final_r2`."""

    iteration: int
    figures: Mapping[str, float]
    where: str


@dataclass
class OldMemory:
    """A memory: the agent's text by section (`words`), the rows of its table, and the frames of its current block.

    `n_frames` is None where the memory does not have it.
    """

    name: str
    n_frames: int | None = None
    words: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    @property
    def of_a_block(self) -> bool:
        """Whether it is a copy that was made at the end of a block, not the memory itself."""
        return _OF_A_BLOCK.fullmatch(self.name) is not None


def read_memory(text: str, name: str) -> tuple[OldMemory, list[str]]:
    """The memory in `text`, of the file `name`, and one line for each thing that could not be read."""
    memory, unread = OldMemory(name), list[str]()
    lines: dict[str, list[str]] = {}
    section, columns = "", list[str]()
    for at, line in lines_of(text):
        where = f"{name}, line {at}"
        if heading := _HEADING.fullmatch(line.rstrip()):
            found = next((one for one in SECTIONS if _is(one, heading[2])), "")
            if not found and len(heading[1]) > 1:
                unread.append(
                    f"{where}: not a section of a memory, so nothing below it is read: {one_line(heading[2], 80)}"
                )
            section, columns = _INFO if found == _CURRENT else found, []
            continue
        if _NO_WORDS.fullmatch(line.strip()) or not section:
            continue
        if section == _TABLE and line.lstrip().startswith("|"):
            columns = _add_row(memory, columns, line, where, unread)
            continue
        if section == _INFO and (frames := _WITHIN.fullmatch(line.strip())):
            memory.n_frames = int(frames[1])
        lines.setdefault(section, []).append(one_line(re.sub(r"^(>\s?)+", "", line), _LONGEST))
        if len(line) > _LONGEST:
            unread.append(f"{where}: longer than {_LONGEST} characters, and cut there")
    for section, own in lines.items():
        memory.words[section] = "\n".join(own)[:_MOST]
        if len("\n".join(own)) > _MOST:
            unread.append(f"{name}: {section} is longer than {_MOST} characters, and cut there")
    return memory, unread


def _is(section: str, heading: str) -> bool:
    return heading == section or (section == _CURRENT and heading.startswith(section))


def _add_row(memory: OldMemory, columns: list[str], line: str, where: str, unread: list[str]) -> list[str]:
    """Read one line of the table into `memory`; returns the columns' names, which are the table's first line."""
    cells = [cell.strip(" *`") for cell in line.strip().strip("|").split("|")]
    if _RULE.fullmatch(line.strip()):
        return columns
    if not columns:
        return [cell.lower() for cell in cells]
    own = dict(zip(columns, cells, strict=False))
    if not own.get("iter", "").isdecimal() or len(cells) < len(columns):
        unread.append(f"{where}: a row must have {len(columns)} cells, an iteration first: {one_line(line, 80)}")
        return columns
    figures: dict[str, float] = {}
    for column, cell in own.items():
        name = column if column in (*FRAMES, _R2) else parameter_named(column)
        if name is None or cell.lower() in _NO_VALUE:
            continue
        if windows := _WINDOWS.fullmatch(cell):
            cell, figures[WINDOW] = windows[1], float(windows[2])
        try:
            figures["n_frames" if name in FRAMES else name] = number(cell)
        except ValueError:
            unread.append(f"{where}: {column} must be a number, got {one_line(cell, 60)!r}")
    memory.rows.append(Row(int(own["iter"]), figures, where))
    return columns
