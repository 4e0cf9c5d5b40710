"""A person's instructions to a running sweep: read from `user_input.md` at each batch boundary, stored in the study.

An instruction's effect and its answer are stored first, in one write; then the file is updated. After a crash between
the two, the next start first updates the file, so that no instruction is lost or applied twice.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import Study

from siren_sweep.config.parameters import RATIOS, WINDOW, leaf
from siren_sweep.errors import OutputError
from siren_sweep.paths import SweepPaths
from siren_sweep.search.encoding import axes, key_of, nearest
from siren_sweep.search.limits import Limit, dimension_of, fault, limit_text, limited, single, values_text
from siren_sweep.search.space import Space
from siren_sweep.study.records import Instruction
from siren_sweep.study.stored import last_batch, n_answered, read_instructions, write_answered, write_instructions
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import best_trial, load, n_left, n_trials_of, open_batches, study_name
from siren_sweep.sweep import user_input
from siren_sweep.sweep.block import BlockStart
from siren_sweep.sweep.user_input import Asked, Bound, EndSweep, More, Refused, StopBlock, Try


class Instructions:
    """The instructions of one sweep, stored in its first block's study."""

    def __init__(self, storage: BaseStorage, paths: SweepPaths, n_iter_block: int) -> None:
        self._storage, self._file, self._n_iter_block = storage, paths.user_input, n_iter_block
        self._n_before: int | None = None  # how many there were when this process started
        self._stored: list[Instruction] | None = None  # which only this process writes
        self._had_file = False
        self._told: set[str] = set()

    def take(self, start: BlockStart, study: Study) -> None:
        """Between two batches of a block: read the pending lines, decide, store, acknowledge.

        A file that is broken, missing or not writable is reported once; the sweep goes on.
        """
        self._answer(lambda asked, known: _decided(asked, known, start, study, self._n_iter_block), start.number, study)

    def close(self, study: Study) -> None:
        """After the last block: answer that pending lines came too late."""
        late = _decision("not done: the sweep is over")
        self._answer(lambda asked, known: [late for _ in asked], 0, study)

    def part_of(self, space: Space) -> Space:
        """The part of a block's space to which a person's `fix` and `bound` limit the proposals."""
        return limited(space, _limits(self._records()))

    def wanted(self, block: int) -> list[dict[str, Any]]:
        """The configs, as points of the block's space, that a person asked for by `try` in a block."""
        return [dict(one.wanted) for one in self._records() if one.block == block and one.wanted is not None]

    def n_trials(self, block: int) -> int:
        """A block's budget, in full trials."""
        return n_trials_of(self._records(), block, self._n_iter_block)

    def stop_block(self, block: int) -> bool:
        """Whether a block plans no further batch."""
        return self.end_sweep(block) or any(one.block == block and one.stop for one in self._records())

    def end_sweep(self, block: int) -> bool:
        """Whether a person has asked to end the sweep at this block.

        Where the block had no result yet, the request holds only in the process that read it: the next start goes on
        with the block.
        """
        records = self._records()
        n_before = len(records) if self._n_before is None else self._n_before
        return any(one.block == block and one.end and (one.stop or one.number > n_before) for one in records)

    def _answer(
        self, decide: Callable[[list[Asked], list[Instruction]], list[Instruction]], block: int, study: Study
    ) -> None:
        """Read the file, decide, store, acknowledge. `decide` gets the new instructions and the stored ones."""
        if self._n_before is None:
            self._n_before = len(self._records())
        self._make_file()
        if not self._acknowledge():
            return
        text, note = user_input.read(self._file)
        if note:
            self._tell(note)
        known, asked = self._records(), user_input.read_instructions(text)
        if not asked:
            return
        after = last_batch(study)
        when = f"after batch {after} of block {block}" if after else f"before the first batch of block {block}"
        when = when if block else "after the last block"
        for one, decided in zip(asked, decide(asked, known), strict=True):
            number = len(known) + 1
            answer = f"{decided.answer} (no. {number}, {when})"
            known.append(replace(decided, number=number, line=one.line, block=block, after_batch=after, answer=answer))
        write_instructions(self._first(), known)
        self._stored = known
        self._acknowledge()

    def _acknowledge(self) -> bool:
        """Update the file to what is stored; returns False where it cannot be written."""
        records = self._records()
        new = records[n_answered(self._first()) :] if records else []
        note = user_input.acknowledge(self._file, [(one.line, one.answer) for one in new])
        if note:
            self._tell(f"{note}; what it asks is read again when it can be answered")
        elif new:
            write_answered(self._first(), len(records))
        return note is None

    def _make_file(self) -> None:
        try:
            if not self._file.exists():
                user_input.create(self._file)
                if self._had_file:
                    self._tell(f"{self._file.name} was gone; a new one is there, with nothing pending")
            self._had_file = True
        except (OSError, OutputError) as error:
            self._tell(str(error))

    def _tell(self, note: str) -> None:
        if note not in self._told:
            print(note, file=sys.stderr)
        self._told.add(note)

    def _first(self) -> Study:
        first = load(self._storage, study_name(1))
        assert first is not None
        return first

    def _records(self) -> list[Instruction]:
        if self._stored is None:
            self._stored = read_instructions(self._first())
        return list(self._stored)


def _decision(answer: str, **changes: Any) -> Instruction:
    """An instruction's changes and answer. Its number, line and place are filled in when it is stored."""
    return Instruction(0, "", 0, 0, answer, **changes)


def _limits(records: Sequence[Instruction]) -> dict[str, Limit]:
    """The last limit that was asked for of each parameter."""
    return {one.limit[0]: Limit(*one.limit[1:]) for one in records if one.limit}


def _decided(
    asked: Sequence[Asked], known: Sequence[Instruction], start: BlockStart, study: Study, n_iter_block: int
) -> list[Instruction]:
    """The changes and the answer of each instruction. One that cannot be done changes nothing; its answer says why."""
    can_stop = best_trial(study) is not None
    lines = [one.line for one in asked if isinstance(one, EndSweep) or (can_stop and isinstance(one, StopBlock))]
    lines += [one.line for one in known if one.block == start.number and one.stop]
    ends = lines[0] if lines else None
    block = _Block(start, study, n_iter_block, ends, list(known))
    decided = []
    for one in asked:
        try:
            decision = block.decide(one)
        except ValueError as error:
            decision = _decision(f"not done: {error}")
        block.records.append(replace(decision, line=one.line, block=start.number))
        decided.append(decision)
    return decided


class _Block:
    """A block between two batches, and the instructions so far. `ends` is the line that ends the block now, or None."""

    def __init__(
        self, start: BlockStart, study: Study, n_iter_block: int, ends: str | None, records: list[Instruction]
    ) -> None:
        self._start, self._study, self._n_iter_block, self._ends = start, study, n_iter_block, ends
        self.records = records

    def decide(self, one: Asked) -> Instruction:
        """The changes and the answer of one instruction.

        Raises ValueError, with the reason, where it cannot be done.
        """
        match one:
            case Refused():
                raise ValueError(one.why)
            case Bound():
                return self._limit(one.parameter, Limit(one.low, one.high))
            case Try():
                return self._try(one.values)
            case More():
                return self._more(one.n_trials)
            case StopBlock():
                if best_trial(self._study) is None:
                    raise ValueError("a block can be stopped once a trial of it has finished; write it again then")
                return _decision(f"block {self._start.number} ends", stop=True)
            case EndSweep():
                answer = "the sweep ends; the same command goes on"
                return _decision(answer, stop=best_trial(self._study) is not None, end=True)

    def _limit(self, parameter: str, limit: Limit) -> Instruction:
        known = {} if parameter == WINDOW else _limits(self.records)  # the windows set what a ratio means
        space = limited(self._start.space, {name: one for name, one in known.items() if name == WINDOW})
        if why_not := fault(space, parameter, limit):
            raise ValueError(why_not)
        name = dimension_of(space, parameter)
        values = values_text(limited(space, {parameter: limit}), name) if name else limit_text(limit)
        return _decision(f"from now on {leaf(parameter)} is {values}", limit=(parameter, limit.low, limit.high))

    def _more(self, n_trials: int) -> Instruction:
        self._refuse_at_end()
        total = self._n_trials() + n_trials
        return _decision(f"block {self._start.number} has the steps of {total} full trials", more=n_trials)

    def _try(self, values: Mapping[str, float]) -> Instruction:
        self._refuse_at_end()
        space = self._start.space
        best = best_trial(self._study)
        part = axes(limited(space, _limits(self.records)).dimensions)
        params = nearest(part, best.params if best else self._start.base)
        window = values.get(WINDOW, space.config(params)[WINDOW])
        own = limited(space, {WINDOW: Limit(window, window)})  # with the windows to which the ratios refer
        where = f" with windows of {own.windows[0]} frames" if own.windows[0] else ""
        wrong = []
        for parameter, value in values.items():
            name, of = dimension_of(space, parameter), space if parameter == WINDOW else own
            if why_not := fault(of, parameter, Limit(value, value)):
                wrong.append(why_not + where if name in RATIOS else why_not)
            elif name is not None:
                params[name] = single(of, name, value)
        if wrong:
            raise ValueError("; ".join(wrong))
        waiting = self._refuse_repeated(params)
        left = n_left(read_trials(self._study), self._n_trials(), open_batches(self._study))
        more = 0 if waiting < left else 1
        return _decision("it is in the next batch" + (", one trial more" if more else ""), wanted=params, more=more)

    def _refuse_repeated(self, params: Mapping[str, Any]) -> int:
        """How many configs wait to be tried. Raises ValueError where this config waits already, or has run."""
        space = axes(self._start.space.dimensions)
        run = {key_of(space, trial.params): trial.number for trial in self._study.get_trials(deepcopy=False)}
        own = [one.wanted for one in self.records if one.block == self._start.number and one.wanted is not None]
        waiting = {key_of(space, wanted) for wanted in own} - run.keys()
        key = key_of(space, params)
        if key in run:
            raise ValueError(f"trial {run[key]} of this block has this config")
        if key in waiting:
            raise ValueError("it was asked for already")
        return len(waiting)

    def _refuse_at_end(self) -> None:
        if self._ends:
            raise ValueError(f"the block ends now, by {self._ends!r}")

    def _n_trials(self) -> int:
        return n_trials_of(self.records, self._start.number, self._n_iter_block)
