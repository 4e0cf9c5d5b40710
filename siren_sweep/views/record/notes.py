"""An agent's free text in the memory: it is quoted at the end of a section, and read back from there.

The sweep shows and keeps the text, and decides nothing by it: verdicts and evidence are the sweep's own.
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
MOST, LONGEST = 20_000, 500  # most characters of a section's notes, and of a line
_HEADING = re.compile(r"#{1,6}\s+(.*?)\s*")


def notes_of(blocks: Sequence[BlockView]) -> dict[str, str]:
    """The agent's notes by section, in the last block. A new block begins with the notes of the block before."""
    notes: dict[str, str] = {}
    for block in blocks:
        found = [notes.get(name, "") for name in (BEFORE, *OF_A_BLOCK)]
        last = "\n".join(text for text in found[1:] if text) or found[0]
        begun = {name: notes.get(name, "") for name in LASTING} | {BEFORE: last}
        notes = dict(block.notes) if block.notes is not None else begun
    return {name: text for name, text in notes.items() if text}


def with_notes(text: str, notes: Mapping[str, str]) -> str:
    """The text of a memory with the notes at the end of their sections, as quotations."""
    if not notes:
        return text
    sections = list(_sections(text.splitlines(), {*_headings(text)}))
    for heading, lines in sections:
        if own := notes.get(heading):
            end = len(lines) - next((index for index, line in enumerate(reversed(lines)) if line not in ("", "---")), 0)
            lines[end:end] = ["", *(f"> {line}".rstrip() for line in own.splitlines())]
    return "\n".join(line for _, lines in sections for line in lines) + "\n"


def notes_in(text: str, given: str) -> tuple[dict[str, str], bool]:
    """The notes by section in a memory that an agent has edited, and whether it changed anything else.

    `given` is the memory as the agent got it. A section that it removed has no notes. Lines that the sweep had written
    are no notes, wherever they are now.
    """
    headings = {*_headings(given)}
    had, has = (_by_section(one, headings) for one in (given, text))
    written = {line for line in given.splitlines() if not line.startswith(">")}
    notes = {name: own for name in FREE if name in had and (own := _own(has.get(name, []), written))}
    elsewhere = any(_bare(had[name]) != _bare(has.get(name, [])) for name in had if name not in FREE)
    return notes, elsewhere


def _own(lines: Sequence[str], written: set[str]) -> str:
    """The lines that are not among `written`, without the marks of a quotation, up to the longest length."""
    kept = [one_line(re.sub(r"^>\s?", "", line), LONGEST) for line in lines if line not in written]
    return "\n".join(line for line in kept if line.strip())[:MOST]


def _bare(lines: Sequence[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip() not in ("", "---")]


def _headings(text: str) -> Iterator[str]:
    yield from (found[1] for line in text.splitlines() if (found := _HEADING.fullmatch(line)))


def _by_section(text: str, headings: set[str]) -> dict[str, list[str]]:
    return {heading: lines[1:] if heading else lines for heading, lines in _sections(text.splitlines(), headings)}


def _sections(lines: Sequence[str], headings: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Each known heading with its lines, of which it is the first. Lines before the first one have an empty heading."""
    heading, own = "", list[str]()
    for line in lines:
        found = _HEADING.fullmatch(line)
        if found and found[1] in headings:
            yield heading, own
            heading, own = found[1], []
        own.append(line)
    yield heading, own
