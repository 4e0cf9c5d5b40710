"""Completes the entries of an old log with the files beside it, and reports where two files differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from siren_sweep.config.parameters import EXPLORABLE, leaf
from siren_sweep.errors import DataError
from siren_sweep.field.stimulus_field import StimulusField, open_field
from siren_sweep.study.log_parser import Entry, Fault, checked, same
from siren_sweep.study.old_folder import OldFolder
from siren_sweep.study.old_memory import Row
from siren_sweep.text import one_line

_ROUNDED = 1e-3  # rounding of an R2 that is written with three digits


def complete(
    read: Sequence[Entry], old: OldFolder, log: str, data: Path | None, n_neurons: int, known: Mapping[str, float]
) -> tuple[list[Entry], list[str]]:
    """The entries of the log named `log`, completed, and a line for each thing that differs or is not known.

    The scores add parents, the memories add values, `known` adds a person's values, and the weights add their exact R2.
    The arguments are those of `import_log.import_log`.
    """
    entries = {entry.iteration: entry for entry in read}
    missing = {ran.file: one for one, ran in old.configs.items() if one not in entries}
    told = [f"{file}: the log has no entry of iteration {one} that was read" for file, one in missing.items()]
    told += _take_scores(entries, old)
    told += _take_memories(entries, old)
    for iteration, entry in entries.items():
        config = {name: known.get(name) if value is None else value for name, value in entry.config.items()}
        entries[iteration] = dataclasses.replace(
            entry, config=config, notes=(*entry.notes, *_of_parent(entry, entries))
        )
    told += _unknown(list(entries.values()), log)
    told += _take_weights(entries, old, data, n_neurons)
    return list(entries.values()), told


def one_block_each(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The entries of each number of frames. The numbers come in the order in which they first occur."""
    for n_frames in dict.fromkeys(entry.n_frames for entry in entries):
        yield [entry for entry in entries if entry.n_frames == n_frames]


def _take_scores(entries: dict[int, Entry], old: OldFolder) -> Iterator[str]:
    """Take parents that only the tree's scores have; yields a line for each difference."""
    for iteration, score in old.scores.items():
        entry = entries.get(iteration)
        if entry is None:
            yield f"{score.where}: the log has no entry of iteration {iteration} that was read"
            continue
        elsewhere = entry.parent is not None and entries[entry.parent].n_frames != entry.n_frames
        if not entry.parent_told and (score.parent is None or score.parent in entries):
            entries[iteration] = dataclasses.replace(entry, parent=score.parent, parent_told=True)
        elif score.parent != entry.parent and not (score.parent is None and elsewhere):
            own = _named(entry.parent) if entry.parent_told else "none that was read"
            yield f"{score.where}: parent {_named(score.parent)}, and {own} in the log, which is taken"
        if entry.final_r2 is not None and not abs(entry.final_r2 - score.r2) <= _ROUNDED:
            yield f"{score.where}: R2 {score.r2:g}, and {entry.final_r2:g} in the log, which is taken"


def _named(parent: int | None) -> str:
    return "root" if parent is None else str(parent)


def _take_memories(entries: dict[int, Entry], old: OldFolder) -> Iterator[str]:
    """Take values that only a memory's table has; yields a line for each difference."""
    frames = {entry.n_frames for entry in entries.values()}
    for memory in old.memories:
        if memory.words and memory.n_frames not in frames:
            of = "no n_training_frames" if memory.n_frames is None else f"n_training_frames {memory.n_frames}"
            yield f"{memory.name}: its text belongs to no block of the log: its Block Info has {of}"
        for row in memory.rows:
            entry = entries.get(row.iteration)
            if entry is None:
                yield f"{row.where}: the log has no entry of iteration {row.iteration} that was read"
                continue
            yield from _take_row(entries, entry, row)


def _take_row(entries: dict[int, Entry], entry: Entry, row: Row) -> Iterator[str]:
    config = dict(entry.config)
    for name, value in row.figures.items():
        own = {"n_frames": entry.n_frames, "final_r2": entry.final_r2, **config}[name]
        if own is None and name in config:
            try:
                config[name] = checked(name, value)
            except Fault as fault:
                yield f"{row.where}: {fault}"
        elif own is None or not (abs(own - value) <= _ROUNDED if name == "final_r2" else same(own, value)):
            said = "no number" if own is None else f"{own:g}"
            yield f"{row.where}: {leaf(name)} {value:g}, and {said} in the log or its config, which is taken"
    entries[row.iteration] = dataclasses.replace(entry, config=config)


def _of_parent(entry: Entry, entries: Mapping[int, Entry]) -> Iterator[str]:
    """A note on a trial that has no parent in its block, though it may not be a root."""
    if not entry.parent_told:
        yield "its parent is not known"
    elif entry.parent is not None and entries[entry.parent].n_frames != entry.n_frames:
        yield f"its parent, iteration {entry.parent}, is of another block"


def _unknown(entries: Sequence[Entry], log: str) -> Iterator[str]:
    """A line for each parent and parameter that no file has. A parameter that no entry has gets one line for all."""
    everywhere = [name for name in EXPLORABLE if all(entry.config[name] is None for entry in entries)]
    for name in everywhere:
        yield f"{log}: no iteration has a value of {leaf(name)}; --known {leaf(name)}=VALUE gives one for all"
    for entry in entries:
        if not entry.parent_told:
            yield f"{log}, line {entry.line}: the parent of iteration {entry.iteration} is unknown"
        names = [leaf(name) for name in EXPLORABLE if entry.config[name] is None and name not in everywhere]
        if names:
            yield f"{log}, line {entry.line}: iteration {entry.iteration} has no value of {', '.join(names)}"


def _take_weights(entries: dict[int, Entry], old: OldFolder, data: Path | None, n_neurons: int) -> Iterator[str]:
    """Evaluate the weights and note their exact R2; yields a line for each that cannot be evaluated."""
    if old.weights and data is None:
        yield f"the weights of {len(old.weights)} iterations are not evaluated: no --data is named"
        return
    from siren_sweep.study.old_weights import evaluate_weights  # here, since it imports torch

    fields: dict[int, StimulusField] = {}
    for iteration, file in old.weights.items():
        name, entry = str(file.relative_to(old.root)), entries.get(iteration)
        if entry is None:
            yield f"{name}: the log has no entry of iteration {iteration} that was read"
            continue
        frames = entry.n_frames
        assert data is not None
        try:
            if frames not in fields:
                fields[frames] = open_field(data, n_frames=frames, n_input_neurons=n_neurons, cache_dir=None)
            r2 = evaluate_weights(file, entry.config, fields[frames]).r2
            note = f"the weights in {name} have R2 {r2:.6g} over all {frames} frames and neurons of {data}"
            entries[iteration] = dataclasses.replace(entry, notes=(*entry.notes, note))
        except DataError as error:
            yield f"{name}: {one_line(error, 300)}"
