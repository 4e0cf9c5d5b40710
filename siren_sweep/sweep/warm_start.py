"""Starts a sweep from earlier trials: `sweep.learn_from` is the folder of another sweep, or of an imported log.

Its studies are copied into the sweep's storage, so that a resumed sweep learns the same, also where the folder has
changed. Their trials train the sampler's model, and the best of them starts the first batch. They never count as
results of the sweep.
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
_CLOSE = 0.1  # largest relative difference of a trial's config from the nearest config in the space


def fault(cfg: Config, paths: SweepPaths) -> str | None:
    """What is wrong with `sweep.learn_from`, or None. A sweep that has begun no longer needs the folder."""
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
            f"sweep.learn_from must name a folder of trials whose configs are known, and {folder!r} has none with "
            f"{told}; siren-sweep import with --known NAME=VALUE adds a value"
        )
    return None


def adopt(storage: BaseStorage, folder: Path) -> None:
    """Copy a folder's studies into the sweep's storage, unless that was done. Raises DataError."""
    known = {name for name in optuna.get_all_study_names(storage) if name.startswith(_PREFIX)}
    done = [n for name in known if (study := load(storage, name)) and (n := n_copied(study))]
    if done and all(n == len(done) for n in done):
        return
    blocks = _studies(folder)
    for number, study in blocks.items():
        name = f"{_PREFIX}{number:02d}"
        if name in known:  # its copy was interrupted
            optuna.delete_study(study_name=name, storage=storage)
        copy = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        known_block = read_block(study)
        write_block(copy, _bare(known_block))
        copy.add_trials([trial for trial in study.get_trials() if trial.state.is_finished()])
        mark_copied(copy, len(blocks))


def earlier(storage: BaseStorage, space: Space) -> list[Study]:
    """The copied studies, each with its trials that lie in a block's space; the nearest number of frames comes last."""
    names = [name for name in optuna.get_all_study_names(storage) if name.startswith(_PREFIX)]
    found = [earlier_study(study, space) for name in sorted(names) if (study := load(storage, name))]
    frames = math.log(space.block.n_training_frames)
    known = [study for study in found if study.get_trials(deepcopy=False)]
    return sorted(known, key=lambda study: -abs(math.log(read_block(study).n_training_frames) - frames))


def earlier_study(imported: Study, space: Space) -> Study:
    """A study in memory with the trials of an imported study that lie in a block's space, as points of that space.

    Where T_period is searched as a ratio, a trial at another number of frames keeps its ratio. The study serves as one
    of the `earlier` studies of `plan_batch`.
    """
    study, known = optuna.create_study(direction="maximize"), read_block(imported)
    write_block(study, _bare(known))
    scale = space.block.n_training_frames / known.n_training_frames
    for trial in imported.get_trials(deepcopy=False):
        found = read_trial(trial)
        if found is None:
            continue
        config = defaults() | dict(found.plan.config)  # an older study has fewer parameters
        if None in config.values():  # of an imported log: it is not known whether the space has it
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
                    user_attrs=without_parent(trial),  # the parent may be left out
                    intermediate_values=trial.intermediate_values,
                )
            )
    return study


def _bare(block: Block) -> Block:
    """A block with only its number, its frames and its `claude.solved_r2`."""
    settings = {name: value for name, value in block.settings.items() if name == SOLVED}
    return Block(block.number, block.n_training_frames, settings=settings)


def _meets(nearest: dict[str, Any], config: dict[str, Any]) -> bool:
    return all(abs(nearest[name] - config[name]) <= _CLOSE * abs(config[name]) for name in EXPLORABLE)


def best_known(studies: list[Study]) -> dict[str, Any] | None:
    """The best config, as a point, of the last study, which has the nearest number of frames; None without any."""
    best = best_trial(studies[-1]) if studies else None
    return dict(best.params) if best else None


def _studies(folder: Path) -> dict[int, Study]:
    """The studies of a folder by block number. Raises DataError where it has no study.db that can be read."""
    database = SweepPaths(folder).study_db
    if not database.is_file():
        raise DataError(
            "sweep.learn_from must name a folder with a study.db, as siren-sweep import and sweeps make them, got "
            f"{str(folder)!r}"
        )
    try:
        return all_blocks(RDBStorage(sqlite_url(database)))
    except Exception as error:  # SQLAlchemy and Optuna raise many kinds
        raise DataError(f"{database} cannot be read ({storage_reason(error, database)})") from None
