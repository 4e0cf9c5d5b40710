"""Where the state lives: one Optuna study a block, in one storage; what a trial is stands in its attributes.

Everything else (export, MLflow, pictures, the record) is a view over these and can be made again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.errors import OutputError
from siren_sweep.paths import SweepPaths, create_once, sqlite_url

STORAGE_URL_VARIABLE = "SIREN_SWEEP_STORAGE_URL"  # hands an address with a password to the workers, on no disk
BUSY_TIMEOUT_S = 120.0

optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_storage(url: str | None, paths: SweepPaths) -> RDBStorage:
    """The sweep's storage; null is the sqlite file in its folder. Raises OutputError."""
    address = os.environ.get(STORAGE_URL_VARIABLE) or url or sqlite_url(paths.study_db)
    engine = {"connect_args": {"timeout": BUSY_TIMEOUT_S}} if address.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        if address == sqlite_url(paths.study_db):
            create_once(paths.study_db, lambda file: RDBStorage(sqlite_url(file)).engine.dispose())
        return RDBStorage(address, engine_kwargs=engine)
    except Exception as error:  # SQLAlchemy's, the driver's and Optuna's own kinds
        reason = str(error).splitlines()[0].replace(address, "<storage.url>")
        raise OutputError(f"the storage of the studies cannot be opened ({type(error).__name__}: {reason})") from None


def study_name(block: int) -> str:
    """The name of a block's study in the sweep's storage."""
    return f"block_{block:02d}"


def load_block(storage: RDBStorage, block: int, **policies: Any) -> Study | None:
    """The study of a block, or None where it has not begun; `policies` are Optuna's sampler and pruner."""
    try:
        return optuna.load_study(study_name=study_name(block), storage=storage, **policies)
    except KeyError:
        return None


def create_block(storage: RDBStorage, block: int, attributes: Mapping[str, Any], **policies: Any) -> Study:
    """The study of a block, made where it is not there yet; `attributes` are written once, at its making."""
    study = optuna.create_study(
        study_name=study_name(block), storage=storage, direction="maximize", load_if_exists=True, **policies
    )
    known = study.user_attrs
    for key, value in attributes.items():
        if key not in known:
            study.set_user_attr(key, value)
    return study


def all_blocks(storage: RDBStorage) -> dict[int, Study]:
    """The studies that have begun, by block number."""
    names = set(optuna.get_all_study_names(storage))
    numbers = (number for number in range(1, 1000) if study_name(number) in names)
    return {number: optuna.load_study(study_name=study_name(number), storage=storage) for number in numbers}


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that were told: complete, pruned or failed."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def best_trial(study: Study) -> FrozenTrial | None:
    """The complete trial of highest final_r2, the earliest of equals; None where no trial has finished."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)
