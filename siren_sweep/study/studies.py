"""Opens the studies of a sweep, which are its state: one Optuna study for each block, in one storage.

Everything else (export, MLflow, pictures, the record) is a view of these and can be made again.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, get_storage
from optuna.study import Study
from optuna.trial import TrialState

from siren_sweep.errors import OutputError, SweepStateError
from siren_sweep.paths import OutputPaths, SweepPaths, create_once, sqlite_url
from siren_sweep.study.dashboard import TimedStorage, name_metric
from siren_sweep.study.records import Block, Instruction, Trial
from siren_sweep.study.storage import engine_settings, not_opened, patient, snapshot, wait_for, with_driver
from siren_sweep.study.stored import (
    has_settings,
    last_batch,
    last_told,
    read_instructions,
    read_plan,
    solved_r2,
    write_block,
    write_format,
)
from siren_sweep.study.stored_trials import read_trial, read_trials
from siren_sweep.train.size import arithmetic, n_networks

Studies = tuple[dict[int, Study], dict[int, Study]]  # by block: the blocks' studies, and those of the runs beside them
STORAGE_URL_VARIABLE = "SIREN_SWEEP_STORAGE_URL"  # other users cannot read a password here, as they can a command's

optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_storage(url: str | None, paths: SweepPaths, existing: bool = False) -> BaseStorage:
    """The sweep's storage at `url`; None: the sqlite file in its folder. The environment's variable overrides `url`.

    `existing` is for workers: a missing file is an error, and a server that is gone is waited for. Raises OutputError
    where the storage cannot be opened.
    """
    address = with_driver(os.environ.get(STORAGE_URL_VARIABLE) or url or sqlite_url(paths.study_db))
    own = address == sqlite_url(paths.study_db)
    try:
        if own:
            if existing and not paths.study_db.exists():
                raise OutputError(f"{paths.study_db} is gone")
            create_once(paths.study_db, lambda file: TimedStorage(sqlite_url(file)).engine.dispose())
        connect = functools.partial(
            TimedStorage,
            address,
            engine_kwargs=engine_settings(address),
            skip_compatibility_check=existing,  # the sweep has checked it
            skip_table_creation=existing,
        )
        return patient(get_storage(wait_for(connect) if existing else connect()))
    except OutputError:
        raise
    except Exception as error:  # SQLAlchemy, the driver and Optuna raise many kinds
        raise OutputError(not_opened(error, address, paths.study_db if own else None)) from None


def open_folder(folder: Path) -> tuple[SweepPaths, OutputPaths, dict[int, Study], dict[int, Study]]:
    """The paths of a sweep's folder, and its studies and validation studies by block number.

    Raises OutputError where the folder has no study.db, or it cannot be opened.
    """
    paths = _folder_of_a_sweep(folder)
    storage = open_storage(None, paths)
    return paths, OutputPaths(paths.root.parent), *all_studies(storage)


@contextlib.contextmanager
def read_folder(folder: Path) -> Iterator[tuple[SweepPaths, dict[int, Study], dict[int, Study]]]:
    """As `open_folder`, but of a copy in memory, so that a running sweep is not disturbed. Raises OutputError."""
    paths = _folder_of_a_sweep(folder)
    on_server = STORAGE_URL_VARIABLE in os.environ
    with snapshot(paths.study_db) if not on_server else contextlib.nullcontext(open_storage(None, paths)) as storage:
        yield paths, *all_studies(storage)


def _folder_of_a_sweep(folder: Path) -> SweepPaths:
    paths = SweepPaths(folder.absolute())
    if not paths.study_db.is_file() and STORAGE_URL_VARIABLE not in os.environ:
        raise OutputError(f"a sweep's folder holds study.db; there is none in {str(folder)!r}")
    return paths


def study_name(block: int) -> str:
    """The name of a block's study in the sweep's storage."""
    return f"block_{block:02d}"


def validation_name(block: int) -> str:
    """The name of the study in which a block's best is trained again: in all windows, and with other seeds."""
    return f"{study_name(block)}_validation"


def load(storage: BaseStorage, name: str, **policies: Any) -> Study | None:
    """The study of a name, or None where there is none. `policies` are Optuna's `sampler` and `pruner`."""
    try:
        return optuna.load_study(study_name=name, storage=storage, **policies)
    except KeyError:
        return None


def create(storage: BaseStorage, name: str, block: Block | None = None) -> Study:
    """The study of a name, made where there is none. With a `block` it is that block's, else it is beside a block's.

    Raises SweepStateError where a trial of it was deleted.
    """
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
    numbers = [trial.number for trial in study.get_trials(deepcopy=False)]
    if gone := {*range(max(numbers, default=-1))} - {*numbers}:
        raise SweepStateError(
            f"the study {name!r} must have all of its trials, and trial {min(gone)} was deleted from it; put the copy "
            "of the studies that is made after each batch, study.copy.db, in the place of study.db"
        )
    if block is None:
        write_format(study)
    else:
        write_block(study, block)
    name_metric(study)
    return study


def all_blocks(storage: BaseStorage, known: Mapping[int, Study] | None = None) -> dict[int, Study]:
    """The studies of the blocks that have begun, by block number; `known` ones are not loaded again.

    A study without its settings has not begun: `write_block` stores them last. Listing the names of all studies reads
    much of the database, so with `known` studies only those of the following blocks are looked for.
    """
    if not known:
        names = set(optuna.get_all_study_names(storage))
        numbers = [number for number in range(1, 1000) if study_name(number) in names]
        found = {number: optuna.load_study(study_name=study_name(number), storage=storage) for number in numbers}
        return {number: study for number, study in found.items() if has_settings(study)}
    blocks, number = dict(known), max(known) + 1
    while (study := load(storage, study_name(number))) is not None and has_settings(study):
        blocks[number] = study
        number += 1
    return blocks


def all_studies(storage: BaseStorage, known: Studies = ({}, {})) -> Studies:
    """The studies of all blocks that have begun, and those beside them; `known` ones are not loaded again."""
    blocks, validations = all_blocks(storage, known[0]), dict(known[1])
    for number in blocks.keys() - validations.keys():
        if (study := load(storage, validation_name(number))) is not None:
            validations[number] = study
    return blocks, dict(sorted(validations.items()))


def trial_id(storage: BaseStorage, study: Study, number: int) -> int:
    """The storage's id of the trial with a number. Raises KeyError where there is none."""
    study_id = storage.get_study_id_from_name(study.study_name)
    return storage.get_trial_id_from_study_id_trial_number(study_id, number)


def one_trial(storage: BaseStorage, study: Study, number: int) -> Trial:
    """One trial of a sweep as the storage has it now. No other trial is read."""
    found = read_trial(storage.get_trial(trial_id(storage, study, number)))
    assert found is not None
    return found


def n_trials_of(asked: Sequence[Instruction], block: int, n_iter_block: int) -> int:
    """A block's budget in full trials: `n_iter_block`, and what a person's instructions added."""
    return n_iter_block + sum(one.more for one in asked if one.block == block)


def instructions(studies: Mapping[int, Study]) -> list[Instruction]:
    """A person's instructions to the running sweep, in order; `studies` are those of the blocks."""
    return read_instructions(studies[1]) if 1 in studies else []


def told_batch(study: Study) -> int:
    """The last batch of which Optuna was told, 0 where there is none."""
    told = last_told(study)
    if told is not None:
        return told
    last = last_batch(study)  # where it is not stored, one batch at a time was open
    over = sum(trial.batch == last and (trial.state.is_finished() or trial.paused) for trial in read_trials(study))
    return last - 1 if last and over < len(read_plan(study, last)) else last


def open_batches(study: Study) -> list[int]:
    """The open batches, in order: those that are planned and not told yet."""
    return list(range(told_batch(study) + 1, last_batch(study) + 1))


def open_batch(study: Study) -> int | None:
    """The first open batch, which is told next; None where none is open."""
    return next(iter(open_batches(study)), None)


def told_trials(study: Study) -> list[Trial]:
    """The trials of which Optuna was told: complete, pruned or failed."""
    return [trial for trial in read_trials(study) if trial.state.is_finished()]


def paused_trials(study: Study) -> list[Trial]:
    """The trials that the pruner stopped, and that were not told yet."""
    return [trial for trial in read_trials(study) if trial.paused]


def n_left(trials: Sequence[Trial], n_trials: int, full: Container[int] = ()) -> int:
    """How many full trials a block of `n_trials` has left after its `trials`, to the nearest whole number.

    The steps that a paused trial has not run are left for others. What a trial of one of the batches `full` will run
    there counts as a full trial, whatever it has run of it.
    """
    spent = 0.0
    for trial in trials:
        before = trial.stints[-1].fraction if trial.stints else 0.0
        spent += before + 1 if trial.batch in full else trial.spent
    return math.floor(n_trials - spent + 0.5 + 1e-9)


def complete(study: Study) -> list[Trial]:
    """The trials that ran to their end."""
    return [trial for trial in read_trials(study) if trial.state is TrialState.COMPLETE]


def best_trial(study: Study, trials: Sequence[Trial] | None = None) -> Trial | None:
    """The complete trial of highest R2; of those that reached `claude.solved_r2`, the cheapest. None without any.

    `trials` are the study's trials, where the caller has read them already.
    """
    known = read_trials(study) if trials is None else trials
    return min((one for one in known if one.state is TrialState.COMPLETE), key=standing(study), default=None)


def standing(study: Study, validation: Study | None = None) -> Callable[[Trial], tuple[float, float, int]]:
    """A sort key for a block's finished trials, the best first: by R2, and among solved ones by their arithmetic.

    Solved trials are not compared by R2: the difference between 1 - 1e-6 and 1 - 2e-6 matters to nobody, and a larger
    config costs the next blocks time. A config that another seed in `validation` did not solve has the R2 of its worst
    seed.
    """
    solved = solved_r2(study)
    others: dict[int | None, list[float]] = {}
    for run in seed_runs(validation):
        others.setdefault(run.plan.validation_of, []).append(run.value or 0.0)

    def key(trial: Trial) -> tuple[float, float, int]:
        value, number = trial.value or 0.0, trial.number if trial.plan.whole_of is None else trial.plan.whole_of
        if solved is None or value < solved:
            return -value, 0.0, trial.number
        if (worst := min(others.get(number, [value]))) < solved:
            return -worst, 0.0, trial.number
        steps = (trial.outcome.stop_step if trial.outcome else 0) or None
        whole = n_networks(trial.plan.n_training_frames, trial.plan.config)
        return -solved, arithmetic(trial.plan.config, whole, steps), trial.number

    return key


def whole_runs(validation: Study | None) -> list[Trial]:
    """The finished runs in which a config was trained in all its windows."""
    return [trial for trial in complete(validation) if trial.plan.whole_of is not None] if validation else []


def seed_runs(validation: Study | None) -> list[Trial]:
    """The finished runs of the winner with other seeds."""
    return [trial for trial in complete(validation) if trial.plan.validation_of is not None] if validation else []


@dataclass(frozen=True)
class Winner:
    """The run that a block exports, trained in all windows, and the name of its study.

    `searched` is the block's trial of that config. It is the run itself, unless it trained only a sample of the
    windows.
    """

    study: str
    run: Trial
    searched: Trial

    @property
    def final_r2(self) -> float:
        return float(self.run.metrics["final_r2"])


def winner(study: Study, validation: Study | None) -> Winner | None:
    """The best run in all windows, by `standing`, of the block's trials and of their whole runs; None without one."""
    known = {trial.number: trial for trial in complete(study)}
    own = [trial for trial in known.values() if not trial.sampled]
    whole = [trial for trial in whole_runs(validation) if trial.plan.whole_of in known]
    best = min([*own, *whole], key=standing(study, validation), default=None)
    if best is not None and validation is not None and best.plan.whole_of is not None:
        return Winner(validation.study_name, best, known[best.plan.whole_of])
    return Winner(study.study_name, best, best) if best else None
