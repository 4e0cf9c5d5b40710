"""`siren-sweep import OLD --sweep-folder FOLDER`: the folder or the log of the old loop as studies.

The old loop is the LLM-driven exploration that this program replaces. Each n_frames of the log becomes a block's study
of finished trials, so that its record can be made and a sweep can learn from it (`sweep.warm_start`). Whatever cannot
be read is listed by file and line. A value that no file has is None in the trial's config.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from siren_sweep.field import fits
from siren_sweep.paths import SweepPaths, create_once, sqlite_url
from siren_sweep.study.log_format import IMPORTED
from siren_sweep.study.log_parser import Entry, parse_log
from siren_sweep.study.old_entries import complete, one_block_each
from siren_sweep.study.old_folder import OldFolder, read_old_folder
from siren_sweep.study.records import Block, Hypothesis, Outcome, TrialPlan
from siren_sweep.study.storage import STORAGE_ERRORS
from siren_sweep.study.stored import mark_ended, write_block, write_notes
from siren_sweep.study.stored_trials import trial_values
from siren_sweep.study.studies import study_name
from siren_sweep.train.report import Status

_WIDE = 1e12  # the bound of a parameter that has none
_A_BATCH = 4  # trials of a batch in the old loop
NOTE = "final_r2 is the log's own: the old loop's is a squared Pearson correlation on 500 frames"


def import_log(
    source: Path,
    folder: Path,
    data: Path | None = None,
    n_neurons: int = 1736,
    known: Mapping[str, float] | None = None,
) -> tuple[list[Entry], list[str]]:
    """Write the studies of a log to `folder/study.db`; returns the entries, and a line for each thing that is unread.

    `source` is the log, or a folder with one log; of a folder the configs that ran, the memory and the tree's scores
    are read too. With `data`, the folder of a field of `n_neurons` input neurons, the folder's weights are evaluated
    again. `known` has values of parameters for all iterations for which no file has them. The database is made whole or
    not at all. Raises DataError where the log cannot be read or has no entries, SweepStateError where `folder` has a
    study.db, and OutputError where it cannot be written.
    """
    paths = SweepPaths(folder.absolute())
    if paths.study_db.exists():
        raise SweepStateError(f"a log is imported into a folder of its own, and there is a study.db in {str(folder)!r}")
    old = read_old_folder(source) if source.is_dir() else OldFolder(source.parent, source)
    try:
        text = old.log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"the log must be a text file that can be read, got {str(old.log)!r} ({error})") from None
    read, unread = parse_log(text, old.configs)
    if not read:
        raise DataError(
            f'the log must hold entries "## Iter N: ..." with Config and Metrics lines, got {str(old.log)!r}'
        )
    log = str(old.log.relative_to(old.root))
    entries, more = complete(read, old, log, data, n_neurons, known or {})
    try:
        create_once(paths.study_db, lambda temporary: _fill(temporary, entries, old))
    except (OSError, *STORAGE_ERRORS) as error:
        raise OutputError(f"{paths.study_db} could not be written ({error})") from None
    return entries, [*(f"{log}, {line}" for line in unread), *old.unread, *more]


def _fill(database: Path, entries: Sequence[Entry], old: OldFolder) -> None:
    storage = RDBStorage(sqlite_url(database))
    try:
        for block, own in enumerate(one_block_each(entries), 1):
            _add_block(storage, block, own, old)
    finally:
        storage.engine.dispose()


def _add_block(storage: RDBStorage, block: int, entries: Sequence[Entry], old: OldFolder) -> None:
    study = optuna.create_study(study_name=study_name(block), storage=storage, direction="maximize")
    write_block(study, Block(block, entries[0].n_frames, imported={"file": old.log.name, "note": NOTE}))
    numbers = {entry.iteration: number for number, entry in enumerate(entries)}
    study.add_trials([_trial(entry, block, index, numbers, old) for index, entry in enumerate(entries)])
    if words := next((one.words for one in old.memories if one.n_frames == entries[0].n_frames and one.words), None):
        write_notes(study, words)
    mark_ended(study)


def _trial(entry: Entry, block: int, index: int, numbers: dict[int, int], old: OldFolder) -> FrozenTrial:
    distributions = _distributions(entry)
    params = {name: entry.config[parameter_of(name)] for name in distributions}
    if T_PERIOD_RATIO in params:
        window = entry.config[WINDOW]
        seen = window if fits(entry.n_frames, window) else entry.n_frames
        params[T_PERIOD_RATIO] = seen / entry.config[T_PERIOD]
    finished, ran = entry.final_r2 is not None, old.configs.get(entry.iteration)
    outcome = Outcome(
        attempt=1,
        status=Status.finished if finished else "failed",
        reason=None if finished else "its final_r2 is no number in the log",
        metrics={name: entry.metrics.get(name) for name in METRICS} | {"final_pearson_r2": entry.final_r2},
        stop_step=entry.config[TOTAL_STEPS] or 0,
    )
    plan = TrialPlan(
        iteration=entry.iteration,
        config=entry.config,
        block=block,
        batch=index // _A_BATCH + 1,
        slot=index % _A_BATCH if ran is None or ran.slot is None else ran.slot,
        n_training_frames=entry.n_frames,
        parent=numbers.get(entry.parent) if entry.parent is not None else None,
        mutation=entry.mutation,
        strategy=IMPORTED,
        hypothesis=Hypothesis(rationale=entry.hypothesis) if entry.hypothesis else None,
        note="; ".join([*([f"the log says: {entry.told}"] if entry.told else []), *entry.notes]),
    )
    return create_trial(
        state=TrialState.COMPLETE if finished else TrialState.FAIL,
        value=entry.final_r2,
        params=params,
        distributions=distributions,
        user_attrs=trial_values(plan, outcome, attempt=1),
    )


def _distributions(entry: Entry) -> dict[str, BaseDistribution]:
    """The distributions of the parameters that are known, as wide as the config allows, so that any log fits.

    T_period is a ratio, as it is searched.
    """
    found: dict[str, BaseDistribution] = {}
    for name in (name for name in EXPLORABLE if entry.config[name] is not None):
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
