"""`siren-sweep import OLD --sweep-folder FOLDER`: what the old loop left, a folder or its log, as studies.

Each n_frames of the log becomes a block's study of finished trials, so that its record can be made and a sweep can
learn from it (`sweep.warm_start`). What cannot be read is listed, line by line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from siren_sweep.config.parameters import (
    EXPLORABLE,
    PARAMETERS,
    T_PERIOD,
    T_PERIOD_RATIO,
    TOTAL_STEPS,
    WINDOW,
    parameter_of,
)
from siren_sweep.config.schema import METRICS
from siren_sweep.errors import DataError, OutputError, SweepStateError
from siren_sweep.field.stimulus_field import StimulusField, open_field
from siren_sweep.paths import SweepPaths, create_once, sqlite_url
from siren_sweep.study.log_format import IMPORTED, one_line
from siren_sweep.study.log_parser import Entry, parse_log
from siren_sweep.study.old_folder import OldFolder, read_old_folder
from siren_sweep.study.records import Block, Hypothesis, Outcome, TrialPlan
from siren_sweep.study.stored import mark_ended, write_block
from siren_sweep.study.stored_trials import trial_values
from siren_sweep.study.studies import study_name
from siren_sweep.train.report import Status

_WIDE = 1e12  # where a parameter has no bound
Imported = tuple[list[Entry], list[str]]  # and what was not read
_ROUNDED = 1e-3  # of an R2 that is written with three digits
_SLOTS = 4  # of a batch in the old loop
NOTE = "final_r2 is the log's own: the old loop's is a squared Pearson correlation on 500 frames"


def import_log(source: Path, folder: Path, data: Path | None = None, n_neurons: int = 1736) -> Imported:
    """Write the studies of a log to `folder/study.db`; the entries, and a line for each thing that was not read.

    `source` is the log, or a folder with one, in which the configs that ran and the scores of the tree are read too.
    With the field in the folder `data`, of `n_neurons` input neurons, weights beside the log are evaluated again. The
    file is made whole or not at all. Raises DataError, OutputError and SweepStateError.
    """
    old = read_old_folder(source) if source.is_dir() else OldFolder(source.parent, source)
    file = old.log
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"the log must be a text file that can be read, got {str(file)!r} ({error})") from None
    entries, unread = parse_log(text, old.configs)
    if source.is_dir():
        name = str(file.relative_to(source))
        entries, beside = _with_scores(entries, old)
        entries, of_weights = _with_weights(entries, old, data, n_neurons)
        beside += of_weights
        without = [one for one in old.configs if one not in {entry.iteration for entry in entries}]
        missing = [f"{old.configs[one][1]}: the log has no entry of iteration {one} that was read" for one in without]
        unread = [*(f"{name}, {line}" for line in unread), *old.unread, *beside, *missing]
    if not entries:
        raise DataError(f'the log must hold entries "## Iter N: ..." with Config and Metrics lines, got {str(file)!r}')
    paths = SweepPaths(folder.absolute())
    if paths.study_db.exists():
        raise SweepStateError(f"a log is imported into a folder of its own, and there is a study.db in {str(folder)!r}")
    try:
        create_once(paths.study_db, lambda temporary: _fill(temporary, entries, file.name))
    except OSError as error:
        raise OutputError(f"{paths.study_db} could not be written ({error})") from None
    return entries, unread


def _with_scores(entries: Sequence[Entry], old: OldFolder) -> Imported:
    """The entries with the parents that only the tree's scores name, and where scores and log differ."""
    known = {entry.iteration: entry for entry in entries}
    found, differ = [], []
    for entry in entries:
        if entry.iteration in old.scores:
            parent, r2, where = old.scores[entry.iteration]
            if parent != entry.parent and entry.parent is None and parent in known and parent < entry.iteration:
                entry = dataclasses.replace(entry, parent=parent)
            elif parent != entry.parent and parent in known:
                differ.append(f"{where}: parent {parent}, and {entry.parent or 'root'} in the log, which is taken")
            if entry.final_r2 is not None and abs(entry.final_r2 - r2) > _ROUNDED:
                differ.append(f"{where}: R2 {r2:g}, and {entry.final_r2:g} in the log, which is taken")
        found.append(entry)
    return found, differ


def _with_weights(entries: Sequence[Entry], old: OldFolder, data: Path | None, n_neurons: int) -> Imported:
    """The entries with the exact R2 of their weights as a note, and what could not be evaluated."""
    found, told = [], []
    if old.weights and data is None:
        told.append(f"the weights of {len(old.weights)} iterations are not evaluated: no --data is named")
    fields: dict[int, StimulusField] = {}
    for entry in entries:
        file = old.weights.get(entry.iteration)
        if file is not None and data is not None:
            from siren_sweep.study.old_weights import evaluate_weights

            name, frames = str(file.relative_to(old.root)), entry.n_frames
            try:
                if frames not in fields:
                    fields[frames] = open_field(data, n_frames=frames, n_input_neurons=n_neurons, cache_dir=None)
                r2 = evaluate_weights(file, entry.config, fields[frames]).r2
                note = f"the weights in {name} have R2 {r2:.6g} over all {frames} frames and neurons of {data}"
                entry = dataclasses.replace(entry, note=note)
            except DataError as error:
                told.append(f"{name}: {one_line(error, 300)}")
        found.append(entry)
    return found, told


def _fill(database: Path, entries: Sequence[Entry], source: str) -> None:
    storage = RDBStorage(sqlite_url(database))
    try:
        frames = list(dict.fromkeys(entry.n_frames for entry in entries))
        for block, n_frames in enumerate(frames, 1):
            _add_block(storage, block, [entry for entry in entries if entry.n_frames == n_frames], source)
    finally:
        storage.engine.dispose()


def _add_block(storage: RDBStorage, block: int, entries: Sequence[Entry], source: str) -> None:
    study = optuna.create_study(study_name=study_name(block), storage=storage, direction="maximize")
    write_block(study, Block(block, entries[0].n_frames, imported={"file": source, "note": NOTE}))
    numbers = {entry.iteration: number for number, entry in enumerate(entries)}
    study.add_trials([_trial(entry, block, index, numbers) for index, entry in enumerate(entries)])
    mark_ended(study)


def _trial(entry: Entry, block: int, index: int, numbers: dict[int, int]) -> FrozenTrial:
    distributions = _distributions()
    params = {name: entry.config[parameter_of(name)] for name in distributions}
    params[T_PERIOD_RATIO] = entry.n_frames / entry.config[T_PERIOD]
    finished = entry.final_r2 is not None
    outcome = Outcome(
        attempt=1,
        status=Status.finished if finished else "failed",
        reason=None if finished else "the log has no final_r2",
        metrics={name: entry.metrics.get(name) for name in METRICS} | {"final_pearson_r2": entry.final_r2},
        stop_step=entry.config[TOTAL_STEPS],
    )
    plan = TrialPlan(
        iteration=entry.iteration,
        config=entry.config,
        block=block,
        batch=index // _SLOTS + 1,
        slot=index % _SLOTS,
        n_training_frames=entry.n_frames,
        parent=numbers.get(entry.parent) if entry.parent is not None else None,
        mutation=entry.mutation,
        strategy=IMPORTED,
        hypothesis=Hypothesis(rationale=entry.hypothesis) if entry.hypothesis else None,
        note=entry.note,
    )
    return create_trial(
        state=TrialState.COMPLETE if finished else TrialState.FAIL,
        value=entry.final_r2,
        params=params,
        distributions=distributions,
        user_attrs=trial_values(plan, outcome, attempt=1),
    )


def _distributions() -> dict[str, BaseDistribution]:
    """As wide as the config allows, so that any log fits; T_period as a ratio, as it is searched."""
    found: dict[str, BaseDistribution] = {}
    for name in EXPLORABLE:
        bounds = PARAMETERS[name].bounds
        if name == T_PERIOD:
            found[T_PERIOD_RATIO] = FloatDistribution(1 / _WIDE, _WIDE, log=True)
        elif name == WINDOW:
            found[name] = IntDistribution(bounds["low"], int(_WIDE))
        elif PARAMETERS[name].kind is int:
            found[name] = IntDistribution(bounds["low"], bounds.get("high", int(_WIDE)), log=True)
        else:
            found[name] = FloatDistribution(1 / _WIDE, bounds.get("high", _WIDE), log=True)
    return found
