"""Ends paused trials that are not resumed, and deletes their checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence

from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import TrialState

from siren_sweep.paths import SweepPaths
from siren_sweep.study.records import Trial
from siren_sweep.study.storage import wait_for
from siren_sweep.study.stored_trials import TrialWriter, read_trials
from siren_sweep.study.studies import paused_trials, told_trials, trial_id

MOST_BYTES = 4 << 30  # for the checkpoints of a block's paused trials


def give_up_beyond(storage: BaseStorage, study: Study, paths: SweepPaths, most_bytes: int = MOST_BYTES) -> bool:
    """Tell the study PRUNED of paused trials whose checkpoints exceed `most_bytes`, the least promising ones first.

    Those that never go on come before all others. Returns whether there were any.
    """
    held, beyond = 0, []
    for trial in sorted(paused_trials(study), key=lambda one: (not one.may_go_on, -_promise(one), one.number)):
        file = paths.trial(study.study_name, trial.number).checkpoint
        held += file.stat().st_size if file.exists() else 0
        if held > most_bytes:
            beyond.append(trial)
    _give_up(storage, study, beyond)
    for trial in beyond:
        paths.trial(study.study_name, trial.number).checkpoint.unlink(missing_ok=True)
    return bool(beyond)


def give_up_all(storage: BaseStorage, study: Study, paths: SweepPaths) -> None:
    """Tell the study PRUNED of all paused trials, at a block's end."""
    _give_up(storage, study, paused_trials(study))
    discard_checkpoints(study, paths)


def discard_checkpoints(study: Study, paths: SweepPaths) -> None:
    """Delete the checkpoints of pruned trials."""
    for trial in told_trials(study):
        if trial.state is TrialState.PRUNED:
            paths.trial(study.study_name, trial.number).checkpoint.unlink(missing_ok=True)


def _give_up(storage: BaseStorage, study: Study, trials: Sequence[Trial]) -> None:
    """Tell the study PRUNED of trials, with their last reported value."""
    batch = max((trial.batch for trial in read_trials(study)), default=0)
    for trial in trials:
        TrialWriter(storage, trial_id(storage, study, trial.number)).given_up(batch)
        wait_for(study.tell, trial.number, state=TrialState.PRUNED, skip_if_finished=True)


def _promise(trial: Trial) -> float:
    """The final R2 that a paused trial could reach: the pruner's bound, or its last R2 where there is no bound."""
    bound = trial.stop.bound if trial.stop else None
    known = bound if bound is not None else trial.last_r2
    return known if known is not None else -math.inf
