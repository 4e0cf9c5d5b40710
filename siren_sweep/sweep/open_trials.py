"""The open trials of a study, as a trainer sees them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence

from optuna.storages import BaseStorage
from optuna.study import Study

from siren_sweep.config.parameters import EXPLORABLE
from siren_sweep.paths import SweepPaths, TrialPaths, trial_folder
from siren_sweep.search.proposal import ASKED_FOR
from siren_sweep.study.dashboard import write_notes
from siren_sweep.study.records import Outcome, Trial
from siren_sweep.study.stored_trials import TrialWriter, read_trials
from siren_sweep.study.studies import one_trial, trial_id

MAX_DEATHS = 2  # deaths of its worker after which a trial is failed


class OpenTrials:
    """Reads and writes trials of a study by their number, and makes the overrides that train them.

    `inherited` are the overrides of the person's command.
    """

    def __init__(self, storage: BaseStorage, study: Study, paths: SweepPaths, inherited: Sequence[str]) -> None:
        self._storage, self._study, self._paths, self._inherited = storage, study, paths, list(inherited)

    @property
    def study_name(self) -> str:
        return self._study.study_name

    def now(self, numbers: Sequence[int]) -> dict[int, Trial]:
        """The trials as the study has them now."""
        found = {trial.number: trial for trial in read_trials(self._study)}
        return {number: found[number] for number in numbers}

    def trial(self, number: int) -> Trial:
        """One of them, at the cost of reading it alone."""
        return one_trial(self._storage, self._study, number)

    def missing(self, numbers: Sequence[int]) -> list[int]:
        """Those of the trials that have no outcome yet."""
        return [number for number, trial in self.now(numbers).items() if trial.current is None]

    def open(self) -> list[Trial]:
        """All trials of the study that have no outcome yet."""
        return [trial for trial in read_trials(self._study) if not trial.state.is_finished() and trial.current is None]

    def folder(self, number: int) -> TrialPaths:
        return self._paths.trial(self._study.study_name, number)

    def writer(self, number: int) -> TrialWriter:
        return TrialWriter(self._storage, trial_id(self._storage, self._study, number))

    def begin_attempt(self, number: int) -> Trial:
        """Give a trial its next attempt, after which no earlier one may write; returns the trial with it."""
        trial = self.trial(number)
        begun = dataclasses.replace(trial, attempt=trial.attempt + 1)
        self.writer(number).attempt(begun.attempt)
        return begun

    def count_death(self, number: int, reason: str) -> None:
        """Store that a trial's worker died. After `MAX_DEATHS` of them the trial is failed."""
        trial = self.trial(number)
        deaths = [*trial.deaths, reason]
        self.writer(number).deaths(deaths)
        if len(deaths) >= MAX_DEATHS:
            reason = f"its worker died {len(deaths)} times: {reason}"
            self.writer(number).outcome(Outcome(trial.attempt, "failed", reason))

    def note(self, trials: Iterable[Trial]) -> None:
        """Write the trials' hypotheses as notes for optuna-dashboard."""
        study_id = self._storage.get_study_id_from_name(self._study.study_name)
        id_of = functools.partial(self._storage.get_trial_id_from_study_id_trial_number, study_id)
        write_notes(self._storage, study_id, {id_of(trial.number): trial.plan for trial in trials})

    def overrides(self, trial: Trial, n_threads: int) -> list[str]:
        """The Hydra overrides of one trial: those of the person's command, then those of its plan."""
        plan = trial.plan
        own = {name: plan.config[name] for name in EXPLORABLE} | {
            "training.n_training_frames": plan.n_training_frames,
            "training.seed": plan.seed,
            "training.n_threads": n_threads,
            "training.stop_when_solved": plan.strategy != ASKED_FOR,  # a person who asked for it wants its final R2
            "trial.study": self._study.study_name,
            "trial.number": trial.number,
            "trial.attempt": trial.attempt,
            "trial.slot": trial.slot,
            "trial.folder": trial_folder(self._study.study_name, trial.number),
        }
        return [*self._inherited, *(f"{name}={value}" for name, value in own.items())]
