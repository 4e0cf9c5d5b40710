"""The free text of an agent in the memory: quoted below what the sweep says there, and read back from the same places.

It is shown and kept, and nothing follows from it: verdicts and evidence are the sweep's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from siren_sweep.text import one_line
from siren_sweep.views.blocks import BlockView

LASTING = ("Paper Summary", "Open Questions")
OF_A_BLOCK = ("Hypothesis", "Emerging Observations")
BEFORE = "Previous Block Summary"
FREE = (*LASTING, BEFORE, *OF_A_BLOCK)  # the sections in which an agent may write
MOST, LONGEST = 20_000, 500  # characters of a section, and of a line
_HEADING = re.compile(r"#{1,6}\s+(.*?)\s*")


def notes_of(blocks: Sequence[BlockView]) -> dict[str, str]:
    """The agent's text by section, as of the last block. A new block's begins with what the one before ended with."""
    notes: dict[str, str] = {}
    for block in blocks:
        found = [notes.get(name, "") for name in (BEFORE, *OF_A_BLOCK)]
        last = "\n".join(text for text in found[1:] if text) or found[0]
        begun = {name: notes.get(name, "") for name in LASTING} | {BEFORE: last}
        notes = dict(block.notes) if block.notes is not None else begun
    return {name: text for name, text in notes.items() if text}


def with_notes(text: str, notes: Mapping[str, str]) -> str:
    """A memory with the notes at the end of their sections, each line a quotation."""
    if not notes:
        return text
    sections = list(_sections(text.splitlines(), {*_headings(text)}))
    for heading, lines in sections:
        if own := notes.get(heading):
            end = len(lines) - next((index for index, line in enumerate(reversed(lines)) if line not in ("", "---")), 0)
            lines[end:end] = ["", *(f"> {line}".rstrip() for line in own.splitlines())]
    return "\n".join(line for _, lines in sections for line in lines) + "\n"


def notes_in(text: str, given: str) -> tuple[dict[str, str], bool]:
    """What an agent wrote into the free sections of a memory that it was given, and whether it changed anything else.

    A section that it removed has no notes. What the sweep had written there is no note, wherever it stands now.
    """
    headings = {*_headings(given)}
    had, has = (_by_section(one, headings) for one in (given, text))
    written = {line for line in given.splitlines() if not line.startswith(">")}
    notes = {name: own for name in FREE if name in had and (own := _own(has.get(name, []), written))}
    elsewhere = any(_bare(had[name]) != _bare(has.get(name, [])) for name in had if name not in FREE)
    return notes, elsewhere


def _own(lines: Sequence[str], written: set[str]) -> str:
    """The lines that the sweep did not write, without the marks of a quotation, in bounded length."""
    kept = [one_line(re.sub(r"^>\s?", "", line), LONGEST) for line in lines if line not in written]
    return "\n".join(line for line in kept if line.strip())[:MOST]


def _bare(lines: Sequence[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip() not in ("", "---")]


def _headings(text: str) -> Iterator[str]:
    yield from (found[1] for line in text.splitlines() if (found := _HEADING.fullmatch(line)))


def _by_section(text: str, headings: set[str]) -> dict[str, list[str]]:
    return {heading: lines[1:] if heading else lines for heading, lines in _sections(text.splitlines(), headings)}


def _sections(lines: Sequence[str], headings: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Each known heading with its lines, itself the first; what comes before them has none."""
    heading, own = "", list[str]()
    for line in lines:
        found = _HEADING.fullmatch(line)
        if found and found[1] in headings:
            yield heading, own
            heading, own = found[1], []
        own.append(line)
    yield heading, own
