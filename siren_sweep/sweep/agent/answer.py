"""Reads an agent's folder: the valid configs, its hypotheses and notes, and all faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from siren_sweep.search.encoding import axes, key_of
from siren_sweep.sweep.agent import texts
from siren_sweep.sweep.agent.folder import AgentFolder, Refused
from siren_sweep.sweep.agent.parsing import MOST_BYTES, MOST_WORDS, Stated, placed, read_config, read_hypotheses
from siren_sweep.sweep.agent.request import USER_INPUT, Request
from siren_sweep.text import one_line
from siren_sweep.views.record.notes import notes_in

_MOST_RECORD = 8 << 20  # bytes of the memory, or of the log


@dataclass
class Answer:
    """What an agent wrote: the point of the space (`params`) of each valid config by slot, and the faults by file.

    `stated` are its statements by slot. `notes` is its text in the memory, by section; None where that cannot be read.
    `not_taken` lists changes that are ignored but are no faults. `ended` says why the program failed, if it did.
    """

    params: dict[int, dict[str, Any]] = field(default_factory=dict)
    stated: dict[int, Stated] = field(default_factory=dict)
    notes: dict[str, str] | None = None
    faults: dict[str, list[str]] = field(default_factory=dict)
    not_taken: list[str] = field(default_factory=list)
    ended: str = ""

    @property
    def lines(self) -> list[str]:
        """All faults, a line each."""
        ended = [f"the program: {self.ended}"] if self.ended else []
        return ended + [f"{file}: {line}" for file, lines in self.faults.items() for line in lines]

    def why_not(self, file: str) -> str:
        """Why the config in a file was not taken, in one line."""
        return one_line("; ".join([*([self.ended] if self.ended else []), *self.faults.get(file, ())]), 300)


def read_answer(folder: AgentFolder, request: Request, ended: str) -> Answer:
    """The content of the folder now. Where the program failed (`ended`), a config that was not edited is a fault."""
    answer = Answer(ended=ended)
    space = axes(request.space.dimensions)
    taken, near = {key_of(space, one.params): one.name for one in request.known}, list(request.near)
    for slot, name in zip(request.batch.slots, request.batch.configs, strict=True):
        try:
            text = folder.read(name, MOST_BYTES)
            if ended and text == request.files[name]:
                raise Refused("is as it was given")
            params = placed(read_config(text, request.given[name], request.space), request.space, near)
            key = key_of(space, params)
            if key in taken:
                raise Refused(f"must be another config, and is that of {taken[key]}")
        except Refused as why:
            answer.faults[name] = why.lines
        else:
            taken[key], answer.params[slot] = name, params
            near.append(params)
    _read_words(folder, request, answer)
    return answer


def _read_words(folder: AgentFolder, request: Request, answer: Answer) -> None:
    """Read hypotheses and notes into `answer`. A fault in them does not affect the configs."""
    try:
        text = folder.read(texts.HYPOTHESES, MOST_WORDS)
        answer.stated, wrong = read_hypotheses(text, request.batch.slots)
    except Refused as why:
        wrong = why.lines
    if wrong:
        answer.faults[texts.HYPOTHESES] = wrong
    memory = request.batch.file("memory.md")
    try:
        answer.notes, elsewhere = notes_in(folder.read(memory, _MOST_RECORD), request.files[memory])
        if elsewhere:
            answer.not_taken.append(f"{memory}: what was changed outside of its free sections")
    except Refused as why:
        answer.faults[memory] = why.lines
    for name in (request.batch.file("analysis.md"), USER_INPUT):
        try:
            same = folder.read(name, _MOST_RECORD) == request.files[name]
        except Refused:
            same = False
        if not same:
            answer.not_taken.append(f"{name}: the sweep writes it")
