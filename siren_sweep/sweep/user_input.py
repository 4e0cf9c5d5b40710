"""Reads and updates `user_input.md`, in which a person writes instructions to a running sweep.

Pending lines are parsed to instructions. Each is then moved to the acknowledged section, with what was done, or why
not. A file that cannot be read is left as it is, with a note on stderr, and the sweep goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from siren_sweep.config.parameters import EXPLORABLE, PARAMETERS, leaf
from siren_sweep.errors import OutputError
from siren_sweep.paths import replacing

MAX_BYTES = 1 << 20
MAX_MORE = 1000  # trials that one line may add
HEAD = """\
# User input

Write one instruction a line below "Pending Instructions", at any time. It is read when the next batch is planned, and
moved to "Acknowledged" with what was done, or why it was not. These forms are understood:

    fix omega_f = 30                        keep a parameter at a value from now on
    bound learning_rate_NNR_f 1e-5 .. 1e-3  search a parameter between two values from now on
    try omega_f=30, hidden_dim_nnr_f=128    run this change of the best config in the next batch
    more 8                                  give this block the steps of 8 more full trials
    stop block                              end this block, and go on with the next
    end sweep                               end this block and the sweep; the same command goes on with the next

The parameters: {names}.

## Pending Instructions

## Acknowledged
"""
_PENDING = re.compile(r"#+\s*pending(\s+instructions?)?\s*:?\s*", re.IGNORECASE)
_ACKNOWLEDGED = re.compile(r"#+\s*acknowledged\s*:?\s*", re.IGNORECASE)
_HEADING = re.compile(r"#{1,6}\s")
_NAMES = {leaf(name).lower(): name for name in EXPLORABLE} | {name.lower(): name for name in EXPLORABLE}


@dataclass(frozen=True)
class Bound:
    """Search a parameter (dotted name) between two values, both included; keep it fixed where they are equal."""

    line: str
    parameter: str
    low: float
    high: float


@dataclass(frozen=True)
class Try:
    """Run the best config with these values (by dotted name) in the next batch."""

    line: str
    values: Mapping[str, float] = field(hash=False)


@dataclass(frozen=True)
class More:
    """Add trials to the block."""

    line: str
    n_trials: int


@dataclass(frozen=True)
class StopBlock:
    """End the block."""

    line: str


@dataclass(frozen=True)
class EndSweep:
    """End the sweep."""

    line: str


@dataclass(frozen=True)
class Refused:
    """A line that is not understood, or breaks a parameter's bound, and the reason."""

    line: str
    why: str


Asked = Bound | Try | More | StopBlock | EndSweep | Refused


def create(file: Path) -> None:
    """Write a file without instructions, whose head explains their forms, where there is none. Raises OutputError."""
    if not file.exists():
        names = ", ".join(map(leaf, EXPLORABLE))
        with replacing(file) as temporary:
            temporary.write_text(HEAD.format(names=names), encoding="utf-8")


def read(file: Path) -> tuple[str, str | None]:
    """The file's text, and a note where it cannot be read. Without a file, an empty text and no note."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return "", None
    except OSError as error:
        return "", f"{file.name} cannot be read ({error}); it is left as it is"
    if len(content) > MAX_BYTES:
        return "", f"{file.name} is longer than {MAX_BYTES} bytes; it is left as it is"
    if b"\0" in content:
        return "", f"{file.name} is no text; it is left as it is"
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "", f"{file.name} is no UTF-8 text; it is left as it is"
    if text.strip() and not any(_PENDING.fullmatch(line) for line in text.splitlines()):
        return "", f'{file.name} has no section "## Pending Instructions"; nothing is read from it'
    return text, None


def read_instructions(text: str) -> list[Asked]:
    """The instruction of each pending line, in order."""
    return [_asked(line) for line in pending_lines(text)]


def pending_lines(text: str) -> list[str]:
    """The lines of the pending section, without bullets, blank lines and one-line comments."""
    return [pending for _, pending in _lines(text) if pending]


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Every line as it is, with the instruction in it; empty where it has none."""
    inside = False
    for line in text.splitlines():
        heading, bare = _HEADING.match(line), _bare(line)
        if heading:
            inside = bool(_PENDING.fullmatch(line))
        comment = bare.startswith("<!--") and bare.endswith("-->")
        yield line, bare if inside and not heading and not comment else ""


def acknowledge(file: Path, results: Sequence[tuple[str, str]]) -> str | None:
    """Move lines to the acknowledged section. `results` are (line, what was done or why not).

    Returns a note where the file cannot be read or written, else None. The file is read again first, so that what a
    person wrote meanwhile stays. Results that the file already has change nothing.
    """
    if not results:
        return None
    text, note = read(file)
    if note is not None:
        return note
    if {_answered(*result) for result in results} <= {*text.splitlines()}:
        return None
    try:
        with replacing(file) as temporary:
            temporary.write_text(_acknowledged(text, results), encoding="utf-8")
    except OutputError as error:
        return str(error)
    return None


def _acknowledged(text: str, results: Sequence[tuple[str, str]]) -> str:
    """The text without the first pending line of each result, and with the results in the acknowledged section."""
    open_ = [line for line, _ in results]
    kept = []
    for line, pending in _lines(text):
        if pending in open_:
            open_.remove(pending)
        else:
            kept.append(line)
    heads = [index for index, line in enumerate(kept) if _ACKNOWLEDGED.fullmatch(line)]
    if not heads:
        kept += ["", "## Acknowledged"]
        heads = [len(kept) - 1]
    later = (index for index in range(heads[0] + 1, len(kept)) if _HEADING.match(kept[index]))
    end = next(later, len(kept))
    while end > heads[0] + 1 and not kept[end - 1].strip():
        end -= 1
    done = [_answered(*result) for result in results]
    return "\n".join([*kept[:end], *([""] if end == heads[0] + 1 else []), *done, *kept[end:]]) + "\n"


def _answered(line: str, outcome: str) -> str:
    return f"- {line} -> {' '.join(outcome.split())}"


def _bare(line: str) -> str:
    """A line without its bullet, code marks and surrounding spaces."""
    return re.sub(r"^\s*(?:[-*+]|\d+[.)])\s+", "", line).strip().strip("`").strip()


def _asked(line: str) -> Asked:
    try:
        return _parsed(line)
    except ValueError as error:
        return Refused(line, str(error))


def _parsed(line: str) -> Asked:
    """One instruction. Raises ValueError with the rule and the value."""
    if len(line) > 1000:
        raise ValueError("an instruction must have at most 1000 characters")
    word, _, rest = line.rstrip(".").partition(" ")
    match word.lower(), " ".join(rest.lower().split()):
        case "stop", "block":
            return StopBlock(line)
        case "end", "sweep":
            return EndSweep(line)
        case "more", count:
            return More(line, _count(count))
        case "fix", _:
            parameter, value = _assignment(rest)
            return Bound(line, parameter, value, value)
        case "try", _:
            return Try(line, _assignments(rest))
        case "bound", _:
            return Bound(line, *_bounds(rest))
    raise ValueError("must begin with fix, bound, try or more, or be 'stop block' or 'end sweep'")


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or not 1 <= int(text) <= MAX_MORE:
        raise ValueError(f"more must be followed by a whole number from 1 to {MAX_MORE}, got {text!r}")
    return int(text)


def _assignments(text: str) -> dict[str, float]:
    pairs = [_assignment(part) for part in text.split(",") if part.strip()]
    values = dict(pairs)
    if not values or len(values) < len(pairs):
        raise ValueError(f"try must be followed by name=value, name=value, each name once, got {text!r}")
    return values


def _assignment(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"must be of the form name = value, got {text.strip()!r}")
    parameter = _parameter(name)
    return parameter, _value(parameter, value)


def _bounds(text: str) -> tuple[str, float, float]:
    found = re.fullmatch(r"\s*(\S+)\s+(\S+?)\s*\.\.\s*(\S+)\s*", text)
    if not found:
        raise ValueError(f"must be of the form bound name low .. high, got {text.strip()!r}")
    parameter = _parameter(found[1])
    low, high = (_value(parameter, side) for side in (found[2], found[3]))
    if not low < high:
        raise ValueError(f"the lower bound must be below the upper one, got {low:g} .. {high:g}")
    return parameter, low, high


def _parameter(name: str) -> str:
    parameter = _NAMES.get(name.strip().lower())
    if parameter is None:
        raise ValueError(f"the parameters are {', '.join(sorted(set(_NAMES.values())))}, got {name.strip()!r}")
    return parameter


def _value(parameter: str, text: str) -> Any:
    """A value in the parameter's type. Raises ValueError where it breaks a rule."""
    try:
        number = float(text.strip().strip("'\""))
    except ValueError:
        raise ValueError(f"{parameter} must be a number, got {text.strip()!r}") from None
    try:
        return PARAMETERS[parameter].checked(number)
    except ValueError as fault:
        raise ValueError(f"{parameter} {fault}") from None
