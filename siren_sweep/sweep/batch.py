"""One batch of a block: planned, enqueued, launched, and told; each step can be taken again after a crash."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Mapping, Sequence

from hydra.core.utils import JobReturn
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from siren_sweep.config.parameters import EXPLORABLE
from siren_sweep.errors import SweepError, SweepStateError
from siren_sweep.paths import SweepPaths, trial_folder
from siren_sweep.search.plan import ASKED_FOR
from siren_sweep.search.proposal import Proposal
from siren_sweep.study.dashboard import write_note
from siren_sweep.study.records import Outcome, PlannedTrial, Stint, Trial, TrialPlan
from siren_sweep.study.storage import wait_for
from siren_sweep.study.stored import read_plan
from siren_sweep.study.stored_trials import TrialWriter, read_trial, read_trials, trial_values
from siren_sweep.study.studies import trial_id
from siren_sweep.sweep.hydra_jobs import job_error
from siren_sweep.sweep.lock import wait_for_end

MAX_DEATHS = 2  # a config that took its worker with it so often is failed


def open_trials(study: Study) -> list[int]:
    """The trials that train or are to, or are to be told: what a stopped sweep left, or a batch just planned."""
    return [trial.number for trial in read_trials(study) if not trial.state.is_finished() and not trial.paused]


def planned(proposal: Proposal, own: TrialPlan) -> PlannedTrial:
    """One slot of a plan: what its proposal says, and what the sweep knows of it."""
    plan = dataclasses.replace(
        own,
        parent=proposal.parent,
        mutation=proposal.mutation,
        strategy=proposal.strategy,
        hypothesis=proposal.hypothesis,
        note=proposal.note,
        sampler_state=proposal.sampler_state,
    )
    return PlannedTrial(proposal.params, plan, proposal.goes_on)


def enqueue_plan(storage: BaseStorage, study: Study, batch: int, distributions: Mapping[str, BaseDistribution]) -> None:
    """Add what the plan of a batch holds and the study does not yet, and take up what goes on: a write a trial."""
    for one in read_plan(study, batch):
        if one.goes_on is not None:
            _take_up(storage, study, one.goes_on, one.plan)
            continue
        trial = create_trial(
            state=TrialState.RUNNING,
            params=dict(one.params),
            distributions={name: distributions[name] for name in one.params},
            user_attrs=trial_values(one.plan),
        )
        wait_for(functools.partial(_add_once, study, trial, (batch, one.plan.slot)))


def _add_once(study: Study, trial: FrozenTrial, place: tuple[int, int]) -> None:
    """Add a planned trial, if its slot of the batch has none: a write may have arrived of which no answer came."""
    if place not in [(other.plan.batch, other.plan.slot) for other in read_trials(study)]:
        study.add_trial(trial)


def _take_up(storage: BaseStorage, study: Study, number: int, plan: TrialPlan) -> None:
    """Give a paused trial its place in another batch, if it does not have it yet."""
    trial = next(known for known in read_trials(study) if known.number == number)
    if trial.batch != plan.batch:
        bound = trial.stop.bound if trial.stop else None
        stint = Stint(plan.batch, plan.slot, trial.attempt, trial.reached, bound, time.time())
        TrialWriter(storage, trial_id(storage, study, number)).stints([*trial.stints, stint])


class _NotBegun(Exception):
    """A job that was never started: no worker died of it."""


class BatchRun:
    """Launches the open trials of a batch until each has an outcome, and tells the study, slot by slot.

    All are told when the batch is over and not before: what a pruner may compare with is then the same on every
    machine, however busy, and after every crash. Those that the pruner stopped are not told: they are paused.
    """

    def __init__(
        self,
        storage: BaseStorage,
        study: Study,
        paths: SweepPaths,
        launch: Callable[[Sequence[Sequence[str]], int], Sequence[JobReturn]],
        inherited: Sequence[str],
        callbacks: Sequence[Callable[[Study, FrozenTrial], None]],
    ) -> None:
        self._storage, self._study, self._launch, self._inherited = storage, study, launch, list(inherited)
        self._paths, self._callbacks = paths, list(callbacks)

    def run(self, n_threads: int) -> None:
        """Run all open trials and tell the study; the callbacks are called after each tell, as Optuna does."""
        numbers = open_trials(self._study)
        for number in numbers:
            self._note(number)
        while missing := [number for number in numbers if self._trial(number).current is None]:
            self._launch_once(missing, n_threads)
        for number in [number for number in numbers if not self._trial(number).paused]:
            wait_for(functools.partial(self._tell, number))
            for callback in self._callbacks:
                callback(self._study, self._study.get_trials(deepcopy=False)[number])

    def _launch_once(self, numbers: Sequence[int], n_threads: int) -> None:
        for number in numbers:
            self._writer(number).attempt(self._trial(number).attempt + 1)
        jobs = [self._overrides(self._trial(number), n_threads) for number in numbers]
        first = self._trial(numbers[0]).plan.iteration - 1
        try:
            errors = [job_error(result) for result in self._launch(jobs, first)]
        except SweepError:
            raise
        except Exception as error:  # a launcher that gives up a whole batch when one job dies hard
            errors = self._given_up(numbers, error)
        faults = []  # that a person can mend, and no trial is to be blamed for: it runs when the sweep goes on
        for number, met in zip(numbers, errors, strict=True):
            if self._trial(number).current is None:
                if isinstance(met, SweepError):
                    faults.append(met)
                elif not isinstance(met, _NotBegun):
                    self._count_death(number, str(met or "the worker left no outcome") or type(met).__name__)
        if faults:
            raise faults[0]

    def _given_up(self, numbers: Sequence[int], error: Exception) -> list[Exception | None]:
        """What became of the jobs of a launcher that gave up: those that still train are waited for."""
        why = RuntimeError(f"the launcher gave up: {type(error).__name__}: {error}")
        ends: list[Exception | None] = []
        for number in numbers:
            lock = self._paths.trial(self._study.study_name, number).lock
            began = wait_for_end(lock) == self._trial(number).attempt
            ends.append(why if began else _NotBegun())
        if all(isinstance(end, _NotBegun) for end in ends):
            raise SweepStateError(f"{why}; no trial had begun") from error
        return ends

    def _note(self, number: int) -> None:
        study_id = self._storage.get_study_id_from_name(self._study.study_name)
        write_note(self._storage, study_id, trial_id(self._storage, self._study, number), self._trial(number).plan)

    def _count_death(self, number: int, reason: str) -> None:
        trial = self._trial(number)
        deaths = [*trial.deaths, reason]
        self._writer(number).deaths(deaths)
        if len(deaths) >= MAX_DEATHS:
            reason = f"its worker died {len(deaths)} times: {reason}"
            self._writer(number).outcome(Outcome(trial.attempt, "failed", reason))

    def _tell(self, number: int) -> None:
        outcome = self._trial(number).current
        assert outcome is not None
        tell = functools.partial(self._study.tell, number, skip_if_finished=True)
        if outcome.succeeded:
            tell(outcome.r2)
        else:
            tell(state=TrialState.FAIL)

    def _overrides(self, trial: Trial, n_threads: int) -> list[str]:
        """The Hydra overrides of one trial: what the person gave, then what makes this trial this trial."""
        plan = trial.plan
        own = {name: plan.config[name] for name in EXPLORABLE} | {
            "training.n_training_frames": plan.n_training_frames,
            "training.seed": plan.seed,
            "training.n_threads": n_threads,
            "training.stop_when_solved": plan.strategy != ASKED_FOR,  # a person wants to know how it ends
            "trial.study": self._study.study_name,
            "trial.number": trial.number,
            "trial.attempt": trial.attempt,
            "trial.slot": trial.slot,
            "trial.folder": trial_folder(self._study.study_name, trial.number),
        }
        return [*self._inherited, *(f"{name}={value}" for name, value in own.items())]

    def _trial(self, number: int) -> Trial:
        trial = read_trial(self._study.get_trials(deepcopy=False)[number])
        assert trial is not None
        return trial

    def _writer(self, number: int) -> TrialWriter:
        return TrialWriter(self._storage, trial_id(self._storage, self._study, number))
