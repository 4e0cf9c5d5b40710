"""Studies as a search sees them: paused trials look pruned, and of an open batch only the plan is known.

`ReadOnce` also caches what is asked for often.
"""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.study.records import Trial
from siren_sweep.study.stored_trials import as_planned, read_trial


def seen_trials(study: Study) -> list[FrozenTrial]:
    """The trials of a study, with paused ones as pruned ones that have their last value."""
    trials = study.get_trials(deepcopy=False)
    return [_as_pruned(trial) if paused(trial) else trial for trial in trials]


def paused(trial: FrozenTrial) -> Trial | None:
    """The record of a paused trial; None of any other trial."""
    known = read_trial(trial) if trial.state is TrialState.RUNNING else None
    return known if known is not None and known.paused else None


def _as_pruned(trial: FrozenTrial) -> FrozenTrial:
    shown = copy.deepcopy(trial)
    shown.state, shown.datetime_complete = TrialState.PRUNED, trial.datetime_start
    if trial.last_step is not None:
        shown.value = trial.intermediate_values[trial.last_step]
    return shown


class Told(Study):
    """A study as it was when its batches up to `last` were told. Trials of later batches are shown as just planned.

    So what is decided from it is the same on every machine and after every crash.
    """

    def __init__(self, storage: BaseStorage, study: Study, last: int) -> None:
        super().__init__(study.study_name, storage, study.sampler, study.pruner)
        self._study, self._last = study, last

    @property
    def user_attrs(self) -> dict[str, Any]:
        """As `optuna.Study.user_attrs`."""
        return self._study.user_attrs

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """As `optuna.Study.get_trials`."""
        shown = [self._shown(trial) for trial in self._study.get_trials(deepcopy=False)]
        found = [trial for trial in shown if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def _shown(self, trial: FrozenTrial) -> FrozenTrial:
        known = read_trial(trial)
        return trial if known is None or known.batch <= self._last else as_planned(trial)


class ReadOnce(Study):
    """A study whose finished trials and attributes are read only once.

    It serves the pruner of one trial: while that trains, no trial ends that the pruner may see, since all of a batch
    are told together. With `still`, as while a batch is planned or progress is shown, running trials are read once too.
    """

    def __init__(self, storage: BaseStorage, study: Study, still: bool = False) -> None:
        super().__init__(study.study_name, storage, study.sampler, study.pruner)
        self._study, self._still = study, still
        self._known: list[FrozenTrial] | None = None
        self._attributes: dict[str, Any] | None = None

    @property
    def user_attrs(self) -> dict[str, Any]:
        """As `optuna.Study.user_attrs`. The caller must not change it."""
        if self._attributes is None:
            self._attributes = self._study.user_attrs
        return self._attributes

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        """As `optuna.Study.get_trials`. Running trials are read again at each call, unless the study is `still`."""
        running = states is None or any(state in states for state in TrialState if not state.is_finished())
        if running and not self._still:
            return self._study.get_trials(deepcopy, states)
        if self._known is None:
            self._known = self._study.get_trials(deepcopy=False)
        found = [trial for trial in self._known if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found
