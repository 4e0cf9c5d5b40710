"""One batch of a block: planned, enqueued, launched, and told; each step can be taken again after a crash."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from siren_sweep.config.parameters import EXPLORABLE
from siren_sweep.errors import SweepError, SweepStateError
from siren_sweep.paths import SweepPaths, trial_folder
from siren_sweep.search.proposal import SAMPLER_STATE, Proposal
from siren_sweep.study.storage import wait_for
from siren_sweep.study.studies import objective, plan_key, trial_id
from siren_sweep.sweep.hydra_jobs import job_error
from siren_sweep.sweep.lock import wait_for_end

MAX_DEATHS = 2  # a config that took its worker with it so often is failed


def open_trials(study: Study) -> list[FrozenTrial]:
    """The trials that are planned but not told, in order: what a stopped sweep left, or a batch just planned."""
    return [trial for trial in study.get_trials(deepcopy=False) if not trial.state.is_finished()]


def store_plan(study: Study, proposals: Sequence[Proposal], attributes: Sequence[Mapping[str, Any]]) -> None:
    """Write a planned batch in one write, so that it is there whole or not at all."""
    plan = [
        {
            "params": proposal.params,
            "attributes": {
                "parent": proposal.parent,
                "mutation": proposal.mutation,
                "strategy": proposal.strategy,
                "hypothesis": proposal.hypothesis,
                **({SAMPLER_STATE: proposal.sampler_state} if proposal.sampler_state else {}),
                **own,
            },
        }
        for proposal, own in zip(proposals, attributes, strict=True)
    ]
    study.set_user_attr(plan_key(attributes[0]["batch"]), plan)


def enqueue_plan(study: Study, batch: int, distributions: Mapping[str, BaseDistribution]) -> None:
    """Add what the plan of a batch holds and the study does not yet, each trial whole in one write."""
    for entry in study.user_attrs.get(plan_key(batch), []):
        params, attributes = entry["params"], entry["attributes"]
        trial = create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions={name: distributions[name] for name in params},
            user_attrs=attributes,
        )
        wait_for(functools.partial(_add_once, study, trial))


def _add_once(study: Study, trial: FrozenTrial) -> None:
    """Add a planned trial, if its slot of the batch has none: a write may have arrived of which no answer came."""
    place = ("batch", "slot")
    taken = [[other.user_attrs.get(key) for key in place] for other in study.get_trials(deepcopy=False)]
    if [trial.user_attrs[key] for key in place] not in taken:
        study.add_trial(trial)


class _NotBegun(Exception):
    """A job that was never started: no worker died of it."""


class BatchRun:
    """Launches the open trials of a batch until each has an outcome, and tells the study, slot by slot.

    All are told when the batch is over and not before: what a pruner may compare with is then the same on every
    machine, however busy, and after every crash.
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
        trials = open_trials(self._study)
        while missing := [trial.number for trial in trials if self._outcome(trial.number) is None]:
            self._launch_once(missing, n_threads)
        for trial in trials:
            wait_for(functools.partial(self._tell, trial.number))
            for callback in self._callbacks:
                callback(self._study, self._trial(trial.number))

    def _launch_once(self, numbers: Sequence[int], n_threads: int) -> None:
        for number in numbers:
            self._set(number, "attempt", self._trial(number).user_attrs.get("attempt", 0) + 1)
        jobs = [self._overrides(self._trial(number), n_threads) for number in numbers]
        first = self._trial(numbers[0]).user_attrs["iteration"] - 1
        try:
            errors = [job_error(result) for result in self._launch(jobs, first)]
        except SweepError:
            raise
        except Exception as error:  # a launcher that gives up a whole batch when one job dies hard
            errors = self._given_up(numbers, error)
        faults = []  # that a person can mend, and no trial is to be blamed for: it runs when the sweep goes on
        for number, met in zip(numbers, errors, strict=True):
            if self._outcome(number) is None:
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
            began = wait_for_end(lock) == self._trial(number).user_attrs["attempt"]
            ends.append(why if began else _NotBegun())
        if all(isinstance(end, _NotBegun) for end in ends):
            raise SweepStateError(f"{why}; no trial had begun") from error
        return ends

    def _count_death(self, number: int, reason: str) -> None:
        deaths = [*self._trial(number).user_attrs.get("deaths", []), reason]
        self._set(number, "deaths", deaths)
        if len(deaths) >= MAX_DEATHS:
            attempt = self._trial(number).user_attrs["attempt"]
            reason = f"its worker died {len(deaths)} times: {reason}"
            outcome = {"attempt": attempt, "status": "failed", "reason": reason, "metrics": {}, "stop_step": 0}
            self._set(number, "outcome", outcome)

    def _tell(self, number: int) -> None:
        outcome = self._outcome(number)
        assert outcome is not None
        tell = functools.partial(self._study.tell, number, skip_if_finished=True)
        if outcome["status"] in ("finished", "truncated"):
            tell(objective(outcome["metrics"]))
        elif outcome["status"] == "stopped":
            tell(state=TrialState.PRUNED)
        else:
            tell(state=TrialState.FAIL)

    def _overrides(self, trial: FrozenTrial, n_threads: int) -> list[str]:
        """The Hydra overrides of one trial: what the person gave, then what makes this trial this trial."""
        attributes = trial.user_attrs
        own = {name: attributes["config"][name] for name in EXPLORABLE} | {
            "training.n_training_frames": attributes["n_training_frames"],
            "training.seed": attributes["seed"],
            "training.n_threads": n_threads,
            "trial.study": self._study.study_name,
            "trial.number": trial.number,
            "trial.attempt": attributes["attempt"],
            "trial.slot": attributes["slot"],
            "trial.folder": trial_folder(self._study.study_name, trial.number),
        }
        return [*self._inherited, *(f"{name}={value}" for name, value in own.items())]

    def _outcome(self, number: int) -> dict[str, Any] | None:
        attributes = self._trial(number).user_attrs
        outcome = attributes.get("outcome")
        return outcome if outcome and outcome["attempt"] == attributes["attempt"] else None

    def _trial(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _set(self, number: int, key: str, value: Any) -> None:
        self._storage.set_trial_user_attr(trial_id(self._storage, self._study, number), key, value)
