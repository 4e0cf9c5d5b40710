"""Reads the entries of an `*_analysis.md`, also of one that was written by hand.

Numbers are read only from an entry's first `Metrics:`, `Config:` and `Mutation:` line, so that numbers in remarks
change nothing. A value that an entry does not have is unknown; it is not guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from siren_sweep.config.parameters import BATCH_SIZE, EXPLORABLE, PARAMETERS, WINDOW, XY_PERIOD, leaf
from siren_sweep.config.schema import METRICS, SAMPLE_NAMES
from siren_sweep.study.log_format import BLOCK_END, CONFIG
from siren_sweep.text import one_line

_ENTRY = re.compile(r"#{1,4}\s*Iter(?:ation)?\s+(\d{1,9})\b.*", re.IGNORECASE)
_NO_ENTRY = re.compile(r"#+\s*Iter(?:ation)?\b.*", re.IGNORECASE)
_LABELS = ("Node", "Hypothesis tested", "Config", "Metrics", "Mutation", "Verdict", "Observation", "Provenance", "Next")
_LABEL = re.compile(rf"\W*({'|'.join(_LABELS)})\W*?:\W*?\s*(.*)", re.IGNORECASE)
_PAIR = re.compile(r"\b([A-Za-z_]\w*)\s*=\s*(.*?)\s*(?=,\s*[A-Za-z_]|;|$)")
_MUTATION = re.compile(r"([A-Za-z_][\w.]*)\s*:\s*(\S+)\s*->\s*([^\s,]+(?:,\d[^\s,]*)*)")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.ASCII | re.IGNORECASE)
_NAMES = {
    **{leaf(name).lower(): name for name in EXPLORABLE},
    **{parameter.short.lower(): name for name, parameter in PARAMETERS.items()},
    **{short.lower(): name for short, name in CONFIG.items()},
    "xy_period": XY_PERIOD,
    "batch_sz": BATCH_SIZE,
    "steps": "claude.total_steps",
}
_ROUNDED = 1e-3  # relative difference that a log's rounding may cause
_LONGEST = 5000  # most characters of a line
FRAMES = ("n_frames", "n_training_frames")
_METRICS = {*METRICS, *SAMPLE_NAMES.values()}
_ROOT = ("root", "none", "0", "-")
_NO_LINE = re.compile(rf"\W*|#.*|{re.escape(BLOCK_END)}|Iterations? \d+.*", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """One iteration of the log; its heading is on line number `line`.

    `config` has every explorable parameter, None where it is not known. `final_r2` is None where the log has nan.
    `parent` is an iteration, or None: of a root where `parent_told`, else since it is not known. `told` is the log's
    own verdict and observation; `notes` are remarks on the entry.
    """

    iteration: int
    line: int
    parent: int | None
    parent_told: bool
    n_frames: int
    config: dict[str, Any]
    final_r2: float | None
    metrics: Mapping[str, float]
    mutation: str
    hypothesis: str
    told: str = ""
    notes: tuple[str, ...] = ()


class _Draft:
    """The lines of one entry, by label, with their numbers."""

    def __init__(self, iteration: int, line: int) -> None:
        self.iteration, self.line = iteration, line
        self.texts: dict[str, tuple[int, str]] = {}

    def text(self, label: str) -> str:
        return self.texts.get(label, (0, ""))[1]

    def at(self, label: str) -> int:
        return self.texts.get(label, (self.line, ""))[0]


class Fault(Exception):
    """The reason why an entry or a value is left out."""


@dataclass(frozen=True)
class Ran:
    """The config file of an iteration: the explorable parameters and the frames that it has, the slot in its name."""

    file: str
    config: Mapping[str, Any]
    n_frames: int | None = None
    slot: int | None = None


_Notes = list[tuple[int, str]]  # the number of a line, and a message about it


def parse_log(text: str, configs: Mapping[int, Ran] | None = None) -> tuple[list[Entry], list[str]]:
    """The entries in the log's order, and one line for each thing that could not be read.

    `configs` are the config files by iteration. Where one differs from the log, its value is taken.
    """
    drafts, unread = _drafts(text)
    entries: dict[int, Entry] = {}
    for draft in drafts:
        if draft.iteration in entries:
            unread.append((draft.line, f"iteration {draft.iteration} stands in the log twice; the first one counts"))
            continue
        notes: _Notes = []
        try:
            entries[draft.iteration] = _entry(draft, entries, (configs or {}).get(draft.iteration), notes)
        except Fault as fault:
            notes.append((draft.line, f"iteration {draft.iteration} is left out: {fault}"))
        unread += notes
    return list(entries.values()), [f"line {number}: {why}" for number, why in sorted(unread)]


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a text with their numbers, from 1 on, as an editor counts them."""
    yield from enumerate(text.removesuffix("\n").split("\n"), 1)


def number(text: str) -> float:
    """The number in a text that holds nothing else, except Markdown's marks around it. Raises ValueError."""
    bare = text.strip("*`'\" ")
    bare = bare.replace(",", "") if _THOUSANDS.fullmatch(bare) else bare
    if not _NUMBER.fullmatch(bare):
        raise ValueError(bare)
    return float(bare)


def parameter_named(name: str) -> str | None:
    """The explorable parameter for a name in a log; None where there is none."""
    return _NAMES.get(leaf(name).lower())


def same(one: float, other: float) -> bool:
    """Whether two numbers are equal up to a log's rounding."""
    return math.isclose(one, other, rel_tol=_ROUNDED)


def _drafts(text: str) -> tuple[list[_Draft], _Notes]:
    drafts: list[_Draft] = []
    unread: _Notes = []
    inside = False
    for at, line in lines_of(text):
        bare = line.strip()
        if len(line) > _LONGEST:
            unread.append((at, f"longer than {_LONGEST} characters"))
        elif found := _ENTRY.fullmatch(bare):
            drafts.append(_Draft(int(found[1]), at))
            inside = True
        elif line.startswith("#"):
            inside = False  # a section of another kind
            if _NO_ENTRY.fullmatch(bare):
                unread.append((at, f'an entry must begin with "## Iter N", got {one_line(bare, 80)!r}'))
        elif (found := _LABEL.fullmatch(bare)) and (label := _label(found[1])) and inside:
            if label in drafts[-1].texts:
                unread.append((at, f"a second {label} line of iteration {drafts[-1].iteration}; the first one counts"))
            drafts[-1].texts.setdefault(label, (at, found[2].strip("*` ")))
        elif found and label in ("Config", "Metrics"):
            unread.append((at, f"is outside of any entry: {one_line(bare, 80)}"))
        elif inside and not _NO_LINE.fullmatch(bare):
            unread.append((at, f"not a line of an entry: {one_line(bare, 80)}"))
        if "\ufffd" in line:
            unread.append((at, "has bytes that are not UTF-8"))
    return drafts, unread


def _label(text: str) -> str:
    return next(known for known in _LABELS if known.lower() == text.lower())


def _entry(draft: _Draft, entries: Mapping[int, Entry], ran: Ran | None, notes: _Notes) -> Entry:
    """The entry of a draft. Raises Fault where it has no usable final_r2, or a value breaks its bound."""
    metrics = _numbers(draft, "Metrics", _METRICS, notes)
    config = _numbers(draft, "Config", {*_NAMES, *FRAMES}, notes)
    if "final_r2" not in metrics:
        raise Fault("it has no final_r2 in a Metrics line")
    if metrics["final_r2"] > 1:
        raise Fault(f"its final_r2 must be at most 1, got {metrics['final_r2']:g}")
    identity = re.search(r"\bid\s*=\s*(\w+)", draft.text("Node"))
    if identity and identity[1] != str(draft.iteration):
        notes.append((draft.at("Node"), f"id is {one_line(identity[1], 20)} in the entry of {draft.iteration}"))
    parent, told = _parent(draft, entries, notes)
    verdict = draft.text("Verdict"), draft.text("Observation")
    return Entry(
        draft.iteration,
        draft.line,
        parent,
        told,
        _frames(draft, config, ran, notes),
        _config(draft, config, ran, notes),
        metrics["final_r2"] if math.isfinite(metrics["final_r2"]) else None,
        {name: value for name, value in metrics.items() if name in METRICS and math.isfinite(value)},
        one_line(draft.text("Mutation")),
        one_line(draft.text("Hypothesis tested")).strip('"'),
        one_line(". ".join(text for text in verdict if text)),
    )


def _numbers(draft: _Draft, label: str, known: set[str], notes: _Notes) -> dict[str, float]:
    """The `name=number` pairs of a line, the first of each name. Anything else in the line is added to `notes`."""
    found: dict[str, float] = {}
    text, at = draft.text(label), draft.at(label)
    for name, value in _PAIR.findall(text):
        if name.lower() not in known:
            notes.append((at, f"{one_line(name, 60)} is not a known name of a {label} line"))
            continue
        if name.lower() in found:
            notes.append((at, f"{name} stands in the line twice; the first one counts"))
            continue
        try:
            found[name.lower()] = number(value)
        except ValueError:
            notes.append((at, f"{name} must be a number, got {one_line(value, 60)!r}"))
    if rest := _PAIR.sub("", text).strip(" ,;."):
        notes.append((at, f"the {label} line must be name=number, ..., got {one_line(rest, 60)!r}"))
    return found


def _parent(draft: _Draft, entries: Mapping[int, Entry], notes: _Notes) -> tuple[int | None, bool]:
    """The parent, None of a root or where it is not known; and whether the log has it."""
    found = re.search(r"parent\s*=\s*([\w-]+)", draft.text("Node"))
    if found is None:
        return None, False
    if found[1].lower() in _ROOT:
        return None, True
    if re.fullmatch(r"[0-9]{1,9}", found[1]) and int(found[1]) in entries:
        return int(found[1]), True
    notes.append((draft.at("Node"), f"parent {one_line(found[1], 20)} is no earlier entry that was read"))
    return None, False


def _frames(draft: _Draft, given: Mapping[str, float], ran: Ran | None, notes: _Notes) -> int:
    """The number of frames, of the config file or else of the Config line. Raises Fault where neither has one."""
    own = next((given[name] for name in FRAMES if name in given), None)
    filed = ran.n_frames if ran else None
    if own is not None and filed is not None and own != filed:
        notes.append(
            (draft.at("Config"), f"n_frames is {own:g} here and {filed} in {ran and ran.file}, which is taken")
        )
    frames = own if filed is None else float(filed)
    if frames is None or not frames.is_integer() or not 2 <= frames <= 1e9:
        raise Fault("it has no n_frames of 2 or more in its Config line")
    return int(frames)


def _config(draft: _Draft, given: Mapping[str, float], ran: Ran | None, notes: _Notes) -> dict[str, Any]:
    """The explorable parameters: from the config file, else the Config line, else the Mutation line, else None.

    A log without `window_frames` had no windows, so this is 0 then. Raises Fault where a value breaks its bound.
    """
    own = {_NAMES[name]: value for name, value in given.items() if name in _NAMES and not math.isnan(value)}
    filed, mutated = (ran.config if ran else {}), _mutated(draft, notes)
    config: dict[str, Any] = {}
    for name in EXPLORABLE:
        at, what = draft.at("Config"), leaf(name)
        if ran and name in own and name in filed and not same(own[name], filed[name]):
            notes.append((at, f"{what} is {own[name]:g} here and {filed[name]:g} in {ran.file}, which is taken"))
        if name not in filed and name in own and name in mutated and not same(own[name], mutated[name]):
            differ = f"{what} is {mutated[name]:g} here and {own[name]:g} in the Config line, which is taken"
            notes.append((draft.at("Mutation"), differ))
        found = next((source[name] for source in (filed, own, mutated) if name in source), None)
        config[name] = checked(name, found) if found is not None else 0 if name == WINDOW else None
    return config


def _mutated(draft: _Draft, notes: _Notes) -> dict[str, float]:
    """The new values in the Mutation line."""
    mutated = {}
    for name, _, new in _MUTATION.findall(draft.text("Mutation")):
        if (parameter := parameter_named(name)) is None:
            notes.append((draft.at("Mutation"), f"{one_line(name, 60)} is not a known parameter"))
            continue
        try:
            mutated[parameter] = number(new)
        except ValueError:
            notes.append((draft.at("Mutation"), f"{name} must be a number, got {one_line(new, 60)!r}"))
    return mutated


def checked(name: str, value: float) -> Any:
    """A value in its parameter's type. Raises Fault with the rule and the value."""
    try:
        own = PARAMETERS[name].checked(value)
    except ValueError as fault:
        raise Fault(f"{leaf(name)} {fault}") from None
    if not 1e-12 <= value <= 1e12 and name != WINDOW:
        raise Fault(f"{leaf(name)} must lie between 1e-12 and 1e12, got {value}")
    return own
