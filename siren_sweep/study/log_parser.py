"""Reads the entries of an `*_analysis.md`, also of one that was written by hand.

A number is read from its own line alone (`Metrics:`, `Config:`), the first of its kind in an entry: what a remark
quotes changes nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from siren_sweep.config.parameters import (
    BATCH_SIZE,
    EXPLORABLE,
    PARAMETERS,
    T_PERIOD,
    WINDOW,
    XY_PERIOD,
    defaults,
    leaf,
)
from siren_sweep.config.schema import METRICS
from siren_sweep.study.log_format import BLOCK_END, CONFIG, one_line

_ENTRY = re.compile(r"#{1,4}\s*Iter(?:ation)?\s+(\d{1,9})\b.*", re.IGNORECASE)
_LABELS = ("Node", "Hypothesis tested", "Config", "Metrics", "Mutation", "Verdict", "Observation", "Next")
_LABEL = re.compile(rf"\W*({'|'.join(_LABELS)})\W*?:\W*?\s*(.*)", re.IGNORECASE)
_PAIR = re.compile(r"\b([A-Za-z_]\w*)\s*=\s*(.*?)\s*(?=,\s*[A-Za-z_]|;|$)")
_MUTATION = re.compile(r"([A-Za-z_][\w.]*)\s*:\s*(\S+)\s*->\s*([^\s,]+)")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")
_NAMES = {
    **{leaf(name).lower(): name for name in EXPLORABLE},
    **{short.lower(): name for short, name in CONFIG.items()},
    "xy_period": XY_PERIOD,
    "batch_sz": BATCH_SIZE,
    "steps": "claude.total_steps",
}
_ROUNDED = 1e-3  # relative: what a log may have rounded
_LONGEST = 5000  # characters of a line
_FRAMES = ("n_frames", "n_training_frames")
_NO_LINE = re.compile(rf"\W*|#.*|{re.escape(BLOCK_END)}|Iterations? \d+.*", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """One iteration of the log; `final_r2` is None where the log says that there is none (nan)."""

    iteration: int
    parent: int | None
    n_frames: int
    config: dict[str, Any]
    final_r2: float | None
    metrics: Mapping[str, float]
    mutation: str
    hypothesis: str
    note: str = ""  # what its weights give, where they were evaluated again


class _Draft:
    """The lines of one entry, by label, with their numbers."""

    def __init__(self, iteration: int, line: int) -> None:
        self.iteration, self.line = iteration, line
        self.texts: dict[str, tuple[int, str]] = {}

    def text(self, label: str) -> str:
        return self.texts.get(label, (0, ""))[1]

    def at(self, label: str) -> int:
        return self.texts.get(label, (self.line, ""))[0]


class _Fault(Exception):
    """Why an entry is left out, and on which line."""


Configs = Mapping[int, tuple[Mapping[str, Any], str]]  # by iteration: the parameters that a file names, and its name


def parse_log(text: str, configs: Configs | None = None) -> tuple[list[Entry], list[str]]:
    """The entries in the log's order, and one line for each thing that could not be read.

    `configs` are files of what ran: they count where they say something else than the log.
    """
    drafts, unread = _drafts(text)
    entries: dict[int, Entry] = {}
    for draft in drafts:
        if draft.iteration in entries:
            unread.append((draft.line, f"iteration {draft.iteration} stands in the log twice; the first one counts"))
            continue
        notes: list[tuple[int, str]] = []
        try:
            entries[draft.iteration] = _entry(draft, entries, (configs or {}).get(draft.iteration), notes)
        except _Fault as fault:
            notes.append((draft.line, f"iteration {draft.iteration} is left out: {fault}"))
        unread += notes
    return list(entries.values()), [f"line {number}: {why}" for number, why in sorted(unread)]


def _drafts(text: str) -> tuple[list[_Draft], list[tuple[int, str]]]:
    drafts: list[_Draft] = []
    unread: list[tuple[int, str]] = []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > _LONGEST:
            unread.append((number, f"longer than {_LONGEST} characters"))
        elif found := _ENTRY.fullmatch(line.strip()):
            drafts.append(_Draft(int(found[1]), number))
            inside = True
        elif line.startswith("#"):
            inside = False  # a section of another kind
        elif inside and (found := _LABEL.fullmatch(line.strip())):
            label = next(known for known in _LABELS if known.lower() == found[1].lower())
            drafts[-1].texts.setdefault(label, (number, found[2].strip("*` ")))
        elif inside and not _NO_LINE.fullmatch(line.strip()):
            unread.append((number, f"no line of an entry: {one_line(line, 80)}"))
    return drafts, unread


def _entry(
    draft: _Draft, entries: Mapping[int, Entry], ran: tuple[Mapping[str, Any], str] | None, notes: list[tuple[int, str]]
) -> Entry:
    """Raises _Fault."""
    metrics, config = _numbers(draft, "Metrics", notes), _numbers(draft, "Config", notes)
    if "final_r2" not in metrics:
        raise _Fault("it has no final_r2 in a Metrics line")
    if metrics["final_r2"] > 1:
        raise _Fault(f"its final_r2 must be at most 1, got {metrics['final_r2']:g}")
    frames = next((config[name] for name in _FRAMES if name in config), None)
    if frames is None or not frames.is_integer() or not 2 <= frames <= 1e9:
        raise _Fault("it has no n_frames of 2 or more in its Config line")
    parent = _parent(draft, entries, notes)
    return Entry(
        draft.iteration,
        parent,
        int(frames),
        _config(draft, config, int(frames), ran, entries.get(parent) if parent is not None else None, notes),
        metrics["final_r2"] if math.isfinite(metrics["final_r2"]) else None,
        {name: value for name, value in metrics.items() if name in METRICS and math.isfinite(value)},
        one_line(draft.text("Mutation")),
        one_line(draft.text("Hypothesis tested")).strip('"'),
    )


def _numbers(draft: _Draft, label: str, notes: list[tuple[int, str]]) -> dict[str, float]:
    """The `name=number` pairs of a line, the first of each name."""
    found: dict[str, float] = {}
    for name, text in _PAIR.findall(draft.text(label)):
        try:
            found.setdefault(name.lower(), _number(text))
        except ValueError:
            notes.append((draft.at(label), f"{name} must be a number, got {one_line(text, 60)!r}"))
    return found


def _number(text: str) -> float:
    """Raises ValueError."""
    bare = text.strip("*`'\" ")
    return float(bare.replace(",", "") if _THOUSANDS.fullmatch(bare) else bare)


def _parent(draft: _Draft, entries: Mapping[int, Entry], notes: list[tuple[int, str]]) -> int | None:
    found = re.search(r"parent\s*=\s*(\w+)", draft.text("Node"))
    if found is None or not re.fullmatch(r"[0-9]{1,9}", found[1]):
        return None
    if int(found[1]) in entries:
        return int(found[1])
    if int(found[1]) > 0:
        notes.append((draft.at("Node"), f"parent {found[1]} is no earlier entry that was read; taken as a root"))
    return None


def _config(
    draft: _Draft,
    given: Mapping[str, float],
    frames: int,
    ran: tuple[Mapping[str, Any], str] | None,
    parent: Entry | None,
    notes: list[tuple[int, str]],
) -> dict[str, Any]:
    """The explorable parameters: as they ran, else the entry's own, else by its mutation, else its parent's, else the
    defaults.

    Raises _Fault where one breaks its bound.
    """
    own = {_NAMES[name]: value for name, value in given.items() if name in _NAMES}
    mutated = {}
    for name, _, new in _MUTATION.findall(draft.text("Mutation")):
        parameter = _NAMES.get(leaf(name).lower())
        try:
            if parameter is not None:
                mutated[parameter] = _number(new)
        except ValueError:
            notes.append((draft.at("Mutation"), f"{name} must be a number, got {one_line(new, 60)!r}"))
    config = {}
    filed, file = ran or ({}, "")
    for name in EXPLORABLE:
        if name in own and name in filed and not math.isclose(own[name], filed[name], rel_tol=_ROUNDED):
            differ = f"{leaf(name)} is {own[name]:g} here and {filed[name]:g} in {file}, which is taken"
            notes.append((draft.at("Config"), differ))
        for source in (filed, own, mutated, parent.config if parent else {}, _defaults(frames)):
            if name in source:
                config[name] = _checked(name, source[name])
                break
        if name not in own and name not in filed and name not in (XY_PERIOD, WINDOW):  # which the format need not have
            notes.append((draft.at("Config"), f"{leaf(name)} is not in the Config line; {config[name]:g} is taken"))
    return config


def _defaults(frames: int) -> dict[str, Any]:
    plain = defaults()
    return plain | {T_PERIOD: float(frames), BATCH_SIZE: min(plain[BATCH_SIZE], frames)}


def _checked(name: str, value: float) -> Any:
    """The value in its parameter's type. Raises _Fault."""
    try:
        checked = PARAMETERS[name].checked(value)
    except ValueError as fault:
        raise _Fault(f"{leaf(name)} {fault}") from None
    if not 1e-12 <= value <= 1e12 and name != WINDOW:
        raise _Fault(f"{leaf(name)} must lie between 1e-12 and 1e12, got {value}")
    return checked
