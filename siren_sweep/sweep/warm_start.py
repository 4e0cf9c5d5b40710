"""What a sweep knows before its first trial: `sweep.learn_from` names an imported log's folder, or another sweep's.

Its studies are copied beside the sweep's own, so that a resumed one learns the same, also where the folder has changed.
They inform the model and give the first batch its start; results of the sweep they never are.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from siren_sweep.config.parameters import EXPLORABLE, T_PERIOD, T_PERIOD_RATIO, WINDOW, defaults, leaf
from siren_sweep.config.schema import Config
from siren_sweep.errors import DataError, SweepError
from siren_sweep.paths import SweepPaths, sqlite_url
from siren_sweep.search.space import Space
from siren_sweep.study.records import SOLVED, Block
from siren_sweep.study.storage import storage_reason
from siren_sweep.study.stored import mark_copied, n_copied, read_block, write_block
from siren_sweep.study.stored_trials import read_trial, without_parent
from siren_sweep.study.studies import all_blocks, best_trial, complete, load

_PREFIX = "earlier_"
_CLOSE = 0.1  # a config that a space can only meet further away than this share is none of its own


def fault(cfg: Config, paths: SweepPaths) -> str | None:
    """What is wrong with `sweep.learn_from`, or None; a sweep that has begun needs the folder no more."""
    folder = cfg.sweep.learn_from
    if folder is None or paths.study_db.exists() or paths.lock.exists():  # a server may hold the studies
        return None
    try:
        blocks = _studies(Path(folder))
    except SweepError as error:
        return str(error)
    trials = [trial for study in blocks.values() for trial in complete(study)]
    if not trials:
        return f"sweep.learn_from must name a folder with finished trials, got none in {folder!r}"
    unknown = [{leaf(name) for name, value in trial.plan.config.items() if value is None} for trial in trials]
    if all(unknown):
        told = ", ".join(sorted(set.union(*unknown)))
        return (
            f"sweep.learn_from must name a folder of trials whose configs are known, and of those in {folder!r} no log "
            f"says {told}; siren-sweep import with --known NAME=VALUE does"
        )
    return None


def adopt(storage: BaseStorage, folder: Path) -> None:
    """Copy a folder's studies into the sweep's storage, each whole, and once. Raises DataError."""
    known = {name for name in optuna.get_all_study_names(storage) if name.startswith(_PREFIX)}
    done = [n for name in known if (study := load(storage, name)) and (n := n_copied(study))]
    if done and all(n == len(done) for n in done):
        return
    blocks = _studies(folder)
    for number, study in blocks.items():
        name = f"{_PREFIX}{number:02d}"
        if name in known:  # cut off half way
            optuna.delete_study(study_name=name, storage=storage)
        copy = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        known_block = read_block(study)
        write_block(copy, _bare(known_block))
        copy.add_trials([trial for trial in study.get_trials() if trial.state.is_finished()])
        mark_copied(copy, len(blocks))


def earlier(storage: BaseStorage, space: Space) -> list[Study]:
    """The copied trials that lie in a block's space, by study, the one of the nearest number of frames last."""
    names = [name for name in optuna.get_all_study_names(storage) if name.startswith(_PREFIX)]
    found = [earlier_study(study, space) for name in sorted(names) if (study := load(storage, name))]
    frames = math.log(space.block.n_training_frames)
    known = [study for study in found if study.get_trials(deepcopy=False)]
    return sorted(known, key=lambda study: -abs(math.log(read_block(study).n_training_frames) - frames))


def earlier_study(imported: Study, space: Space) -> Study:
    """A study in memory with the trials of a log, or of another sweep, that lie in a block's space, in its parameters.

    Where T_period is searched as a ratio, a trial at another number of frames counts by its ratio. It serves as one of
    the `earlier` studies of `plan_batch`.
    """
    study, known = optuna.create_study(direction="maximize"), read_block(imported)
    write_block(study, _bare(known))
    scale = space.block.n_training_frames / known.n_training_frames
    for trial in imported.get_trials(deepcopy=False):
        found = read_trial(trial)
        if found is None:
            continue
        config = defaults() | dict(found.plan.config)  # an older study knows fewer parameters
        if None in config.values():  # of an imported log: whether the space has it, nobody knows
            continue
        if T_PERIOD_RATIO in space.dimensions and not config[WINDOW]:
            config[T_PERIOD] *= scale
        params = space.nearest(config)
        if _meets(space.config(params), config):
            study.add_trial(
                create_trial(
                    state=trial.state,
                    value=trial.value if trial.state is TrialState.COMPLETE else None,
                    params=params,
                    distributions=space.dimensions,
                    user_attrs=without_parent(trial),  # it may be one of those that are left out
                    intermediate_values=trial.intermediate_values,
                )
            )
    return study


def _bare(block: Block) -> Block:
    """What is to be known of a block beside its trials: its frames, and from which R2 on its configs are equal."""
    settings = {name: value for name, value in block.settings.items() if name == SOLVED}
    return Block(block.number, block.n_training_frames, settings=settings)


def _meets(nearest: dict[str, Any], config: dict[str, Any]) -> bool:
    return all(abs(nearest[name] - config[name]) <= _CLOSE * abs(config[name]) for name in EXPLORABLE)


def best_known(studies: list[Study]) -> dict[str, Any] | None:
    """The best config of the study that comes nearest; None where no trial of it has finished."""
    best = best_trial(studies[-1]) if studies else None
    return dict(best.params) if best else None


def _studies(folder: Path) -> dict[int, Study]:
    """The studies of a folder by block number. Raises DataError."""
    database = SweepPaths(folder).study_db
    if not database.is_file():
        raise DataError(
            "sweep.learn_from must name a folder with a study.db, as siren-sweep import and sweeps make them, got "
            f"{str(folder)!r}"
        )
    try:
        return all_blocks(RDBStorage(sqlite_url(database)))
    except Exception as error:  # SQLAlchemy's and Optuna's own kinds
        raise DataError(f"{database} cannot be read ({storage_reason(error, database)})") from None
