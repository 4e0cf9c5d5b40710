"""The trials of a study as a search sees them: one that is paused looks like a pruned one, until it goes on."""

from __future__ import annotations

import copy

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.study.stored_trials import read_trial


def seen_trials(study: Study) -> list[FrozenTrial]:
    """The trials of a study as a search sees them: those that are paused as pruned ones, with their last value."""
    trials = study.get_trials(deepcopy=False)
    return [_as_pruned(trial) if is_paused(trial) else trial for trial in trials]


def is_paused(trial: FrozenTrial) -> bool:
    """Whether a trial was stopped and may go on."""
    known = read_trial(trial) if trial.state is TrialState.RUNNING else None
    return known is not None and known.paused


def _as_pruned(trial: FrozenTrial) -> FrozenTrial:
    shown = copy.deepcopy(trial)
    shown.state, shown.datetime_complete = TrialState.PRUNED, trial.datetime_start
    if trial.last_step is not None:
        shown.value = trial.intermediate_values[trial.last_step]
    return shown
