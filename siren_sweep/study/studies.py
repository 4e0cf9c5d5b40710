"""Where the state lives: one Optuna study a block, in one storage; what a trial is stands in its attributes.

Everything else (export, MLflow, pictures, the record) is a view over these and can be made again.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
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

Studies = tuple[dict[int, Study], dict[int, Study]]  # of the blocks, and of the runs beside them, by block
STORAGE_URL_VARIABLE = "SIREN_SWEEP_STORAGE_URL"  # an address with a password is seen by nobody here

optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_storage(url: str | None, paths: SweepPaths, existing: bool = False) -> BaseStorage:
    """The sweep's storage; null is the sqlite file in its folder. Raises OutputError.

    An `existing` one, as a worker opens, is not made where its file is gone, and waited for where its server is.
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
            skip_compatibility_check=existing,  # who made it has looked
            skip_table_creation=existing,
        )
        return patient(get_storage(wait_for(connect) if existing else connect()))
    except OutputError:
        raise
    except Exception as error:  # SQLAlchemy's, the driver's and Optuna's own kinds
        raise OutputError(not_opened(error, address, paths.study_db if own else None)) from None


def open_folder(folder: Path) -> tuple[SweepPaths, OutputPaths, dict[int, Study], dict[int, Study]]:
    """The studies of a sweep's folder and its validation studies, by block. Raises OutputError where it holds none."""
    paths = _folder_of_a_sweep(folder)
    storage = open_storage(None, paths)
    return paths, OutputPaths(paths.root.parent), *all_studies(storage)


@contextlib.contextmanager
def read_folder(folder: Path) -> Iterator[tuple[SweepPaths, dict[int, Study], dict[int, Study]]]:
    """As `open_folder`, of the studies as they stand now, while they are read: nothing is written, whoever runs the
    sweep. Raises OutputError."""
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
    """The name of the study in which a block's best is trained again: whole, and with other seeds."""
    return f"{study_name(block)}_validation"


def load(storage: BaseStorage, name: str, **policies: Any) -> Study | None:
    """A study, or None where it has not begun; `policies` are Optuna's sampler and pruner."""
    try:
        return optuna.load_study(study_name=name, storage=storage, **policies)
    except KeyError:
        return None


def create(storage: BaseStorage, name: str, block: Block | None = None) -> Study:
    """A study, made where it is not there yet: of a block, which is stored once, at its making, or beside one.

    Raises SweepStateError where somebody deleted a trial of it.
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
    """The studies that have begun, by block number; those that are `known` are not loaded again.

    One of which not all is written down yet, which takes its maker some writes, has not begun. To list the names of
    studies is to read all that is stored in each: who looks again asks for the one after those that it knows.
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
    """All studies that have begun, those of blocks and those beside them; those that are `known` are not loaded
    again."""
    blocks, validations = all_blocks(storage, known[0]), dict(known[1])
    for number in blocks.keys() - validations.keys():
        if (study := load(storage, validation_name(number))) is not None:
            validations[number] = study
    return blocks, dict(sorted(validations.items()))


def trial_id(storage: BaseStorage, study: Study, number: int) -> int:
    """The storage's id of a trial."""
    study_id = storage.get_study_id_from_name(study.study_name)
    return storage.get_trial_id_from_study_id_trial_number(study_id, number)


def one_trial(storage: BaseStorage, study: Study, number: int) -> Trial:
    """One of the sweep's trials, as the storage has it now, at the cost of reading it alone."""
    found = read_trial(storage.get_trial(trial_id(storage, study, number)))
    assert found is not None
    return found


def n_trials_of(asked: Sequence[Instruction], block: int, n_iter_block: int) -> int:
    """A block's budget in full trials: `n_iter_block`, and what a person added by the instructions."""
    return n_iter_block + sum(one.more for one in asked if one.block == block)


def instructions(studies: Mapping[int, Study]) -> list[Instruction]:
    """What a person asked of the sweep while it ran, in order."""
    return read_instructions(studies[1]) if 1 in studies else []


def told_batch(study: Study) -> int:
    """The last batch that was told, 0 where none was."""
    told = last_told(study)
    if told is not None:
        return told
    last = last_batch(study)  # of a study that does not say: one batch at a time was open
    over = sum(trial.batch == last and (trial.state.is_finished() or trial.paused) for trial in read_trials(study))
    return last - 1 if last and over < len(read_plan(study, last)) else last


def open_batches(study: Study) -> list[int]:
    """The batches that are planned and not told yet, in order."""
    return list(range(told_batch(study) + 1, last_batch(study) + 1))


def open_batch(study: Study) -> int | None:
    """The batch that is told next, or None where none is open."""
    return next(iter(open_batches(study)), None)


def told_trials(study: Study) -> list[Trial]:
    """The trials that were told: complete, pruned or failed."""
    return [trial for trial in read_trials(study) if trial.state.is_finished()]


def paused_trials(study: Study) -> list[Trial]:
    """The trials that the pruner stopped and that may go on."""
    return [trial for trial in read_trials(study) if trial.paused]


def n_left(trials: Sequence[Trial], n_trials: int) -> int:
    """How many trials at their full length a block of `n_trials` has left after its `trials`, to the nearest whole
    number.

    What a paused trial has not run is there for others.
    """
    return math.floor(n_trials - sum(trial.spent for trial in trials) + 0.5 + 1e-9)


def complete(study: Study) -> list[Trial]:
    """The trials that ran to their end."""
    return [trial for trial in read_trials(study) if trial.state is TrialState.COMPLETE]


def best_trial(study: Study, trials: Sequence[Trial] | None = None) -> Trial | None:
    """The complete trial of highest R2; of those that reached `claude.solved_r2` the cheapest. None without any.

    `trials` are the study's where they have been read.
    """
    known = read_trials(study) if trials is None else trials
    return min((one for one in known if one.state is TrialState.COMPLETE), key=standing(study), default=None)


def standing(study: Study, validation: Study | None = None) -> Callable[[Trial], tuple[float, float, int]]:
    """The order of a block's finished trials, the best first: by R2, and among solved ones by the arithmetic they took.

    A difference between 1 - 1e-6 and 1 - 2e-6 means nothing to a person, and costs the next blocks their time. What
    other seeds of a config do not solve was solved by luck, and stands where the worst of its seeds stands.
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
    """What a block exports and carries on: a run that was trained whole, and the name of its study.

    `searched` is the trial of the block that it came from: the run itself, unless that trial trained a sample.
    """

    study: str
    run: Trial
    searched: Trial

    @property
    def final_r2(self) -> float:
        return float(self.run.metrics["final_r2"])


def winner(study: Study, validation: Study | None) -> Winner | None:
    """The whole run of highest final_r2, of the block's trials and of those trained whole afterwards; None without."""
    known = {trial.number: trial for trial in complete(study)}
    own = [trial for trial in known.values() if not trial.sampled]
    whole = [trial for trial in whole_runs(validation) if trial.plan.whole_of in known]
    best = min([*own, *whole], key=standing(study, validation), default=None)
    if best is not None and validation is not None and best.plan.whole_of is not None:
        return Winner(validation.study_name, best, known[best.plan.whole_of])
    return Winner(study.study_name, best, best) if best else None
