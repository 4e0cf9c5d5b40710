"""Where the state lives: one Optuna study a block, in one storage; what a trial is stands in its attributes.

Everything else (export, MLflow, pictures, the record) is a view over these and can be made again.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.errors import OutputError
from siren_sweep.paths import SweepPaths, create_once, sqlite_url
from siren_sweep.storage import patient, storage_reason, wait_for

STORAGE_URL_VARIABLE = "SIREN_SWEEP_STORAGE_URL"  # an address with a password is seen by nobody here
BUSY_TIMEOUT_S = 120.0
INSTRUCTIONS = "instructions"  # of the first block's study: what a person asked for while the sweep ran
_PLAN = "batch_"

optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_storage(url: str | None, paths: SweepPaths, existing: bool = False) -> BaseStorage:
    """The sweep's storage; null is the sqlite file in its folder. Raises OutputError.

    An `existing` one, as a worker opens, is not made where its file is gone, and waited for where its server is.
    """
    address = os.environ.get(STORAGE_URL_VARIABLE) or url or sqlite_url(paths.study_db)
    engine = {"connect_args": {"timeout": BUSY_TIMEOUT_S}} if address.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        if address == sqlite_url(paths.study_db):
            if existing and not paths.study_db.exists():
                raise OutputError(f"{paths.study_db} is gone")
            create_once(paths.study_db, lambda file: RDBStorage(sqlite_url(file)).engine.dispose())
        connect = functools.partial(RDBStorage, address, engine_kwargs=engine)
        return patient(get_storage(wait_for(connect) if existing else connect()))
    except OutputError:
        raise
    except Exception as error:  # SQLAlchemy's, the driver's and Optuna's own kinds
        reason = storage_reason(error).replace(address, "<storage.url>")
        raise OutputError(f"the storage of the studies cannot be opened ({type(error).__name__}: {reason})") from None


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


def create(storage: BaseStorage, name: str, attributes: Mapping[str, Any]) -> Study:
    """A study, made where it is not there yet; `attributes` are written once, at its making."""
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
    known = study.user_attrs
    for key, value in attributes.items():
        if key not in known:
            study.set_user_attr(key, value)
    return study


def all_blocks(storage: BaseStorage) -> dict[int, Study]:
    """The studies that have begun, by block number."""
    names = set(optuna.get_all_study_names(storage))
    numbers = (number for number in range(1, 1000) if study_name(number) in names)
    return {number: optuna.load_study(study_name=study_name(number), storage=storage) for number in numbers}


def all_validations(storage: BaseStorage) -> dict[int, Study]:
    """The validation studies that have begun, by block number."""
    found = {number: load(storage, validation_name(number)) for number in all_blocks(storage)}
    return {number: study for number, study in found.items() if study is not None}


def trial_id(storage: BaseStorage, study: Study, number: int) -> int:
    """The storage's id of a trial."""
    study_id = storage.get_study_id_from_name(study.study_name)
    return storage.get_trial_id_from_study_id_trial_number(study_id, number)


def mark_ended(study: Study) -> None:
    """Say that a block is over: told, validated and exported."""
    study.set_user_attr("ended", True)


def has_ended(study: Study) -> bool:
    """Whether the block was marked as over."""
    return bool(study.user_attrs.get("ended"))


def mark_shown(study: Study) -> None:
    """Say that the record and the report of a block that is over are written."""
    study.set_user_attr("shown", True)


def is_shown(study: Study) -> bool:
    """Whether the record and the report tell of the block's end."""
    return bool(study.user_attrs.get("shown"))


def instructions(studies: Mapping[int, Study]) -> list[dict[str, Any]]:
    """What a person asked of the sweep while it ran, in order; `siren_sweep.instructions` says what a record holds."""
    found: list[dict[str, Any]] = studies[1].user_attrs.get(INSTRUCTIONS, []) if 1 in studies else []
    return found


def n_trials_of(asked: Sequence[Mapping[str, Any]], block: int, n_iter_block: int) -> int:
    """How many trials a block is to have: `n_iter_block`, and what a person added by the instructions."""
    return n_iter_block + sum(int(one.get("more", 0)) for one in asked if one["block"] == block)


def finished(study: Study) -> list[FrozenTrial]:
    """The trials that were told: complete, pruned or failed."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def plan_key(batch: int) -> str:
    """The study's attribute that holds the plan of a batch."""
    return f"{_PLAN}{batch:03d}"


def last_batch(study: Study) -> int:
    """The number of the last batch that was planned, 0 where there is none."""
    return max((int(key.removeprefix(_PLAN)) for key in study.user_attrs if key.startswith(_PLAN)), default=0)


def open_batch(study: Study) -> int | None:
    """The batch that is planned and not told to its end, or None."""
    batch = last_batch(study)
    planned = len(study.user_attrs[plan_key(batch)]) if batch else 0
    told = sum(trial.user_attrs["batch"] == batch for trial in finished(study))
    return batch if told < planned else None


def objective(metrics: Mapping[str, Any]) -> float:
    """What a block's trials are compared by: final_r2, or that of the windows that were trained."""
    return float(metrics["sample_r2" if is_sample(metrics) else "final_r2"])


def is_sample(metrics: Mapping[str, Any]) -> bool:
    """Whether a run trained some of its windows only."""
    return "sample_r2" in metrics


def sample_words(metrics: Mapping[str, Any]) -> str:
    """`over 16 of 512 windows`, for an R2 that is over some of them; else empty."""
    return f"over {metrics['sample_windows']} of {metrics['n_windows']} windows" if is_sample(metrics) else ""


def metrics_of(trial: FrozenTrial) -> dict[str, Any]:
    """The metrics that a trial ended with; empty where it has none."""
    found: dict[str, Any] = (trial.user_attrs.get("outcome") or {}).get("metrics") or {}
    return found


def best_trial(study: Study) -> FrozenTrial | None:
    """The complete trial of highest R2; above `claude.solved_r2` the cheapest. None where no trial has finished."""
    return min(complete(study), key=lambda trial: standing(study, trial), default=None)


def standing(study: Study, trial: FrozenTrial) -> tuple[float, float, int]:
    """The order of a block's finished trials, the best first: by R2, and among solved ones by arithmetic.

    A difference between 1 - 1e-6 and 1 - 2e-6 means nothing to a person, and costs the next blocks their time.
    """
    solved, value = (study.user_attrs.get("settings") or {}).get("claude.solved_r2"), trial.value or 0.0
    if solved is None or value < solved:
        return -value, 0.0, trial.number
    config = trial.user_attrs["config"]
    steps = config["claude.total_steps"] * config["training.inr_batch_size"]
    return -solved, float(metrics_of(trial).get("total_params") or 0) * steps, trial.number


def whole_runs(validation: Study | None) -> list[FrozenTrial]:
    """The finished runs in which a config was trained in all its windows; each names its trial in `whole_of`."""
    return [trial for trial in complete(validation) if "whole_of" in trial.user_attrs] if validation else []


def seed_runs(validation: Study | None) -> list[FrozenTrial]:
    """The finished runs of the winner with other seeds; each names its trial in `validation_of`."""
    return [trial for trial in complete(validation) if "validation_of" in trial.user_attrs] if validation else []


@dataclass(frozen=True)
class Winner:
    """What a block exports and carries on: a run that was trained whole, and its study.

    `searched` is the trial of the block that it came from: the run itself, unless that trial trained a sample.
    """

    study: str
    run: FrozenTrial
    searched: FrozenTrial

    @property
    def final_r2(self) -> float:
        return float(metrics_of(self.run)["final_r2"])


def winner(study: Study, validation: Study | None) -> Winner | None:
    """The whole run of highest final_r2, of the block's trials and of those trained whole afterwards; None without."""
    known = {trial.number: trial for trial in complete(study)}
    own = [trial for trial in known.values() if not is_sample(metrics_of(trial))]
    whole = [trial for trial in whole_runs(validation) if trial.user_attrs["whole_of"] in known]
    best = min([*own, *whole], key=lambda trial: standing(study, trial), default=None)
    if best is not None and validation is not None and "whole_of" in best.user_attrs:
        return Winner(validation.study_name, best, known[best.user_attrs["whole_of"]])
    return Winner(study.study_name, best, best) if best else None


def complete(study: Study) -> list[FrozenTrial]:
    """The trials that ran to their end."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
