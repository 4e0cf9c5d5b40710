"""The steps of a batch: it is enqueued, trained, and told to the study. Each step can be repeated after a crash."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from siren_sweep.study.records import Outcome, Stint, Trial, TrialPlan
from siren_sweep.study.storage import wait_for
from siren_sweep.study.stored import read_plan, write_told
from siren_sweep.study.stored_trials import TrialWriter, read_trials, trial_values
from siren_sweep.study.studies import one_trial, open_batch, trial_id
from siren_sweep.sweep.open_trials import OpenTrials


def enqueue_plan(
    storage: BaseStorage,
    study: Study,
    batch: int,
    distributions: Mapping[str, BaseDistribution],
    known: Sequence[Trial] | None = None,
) -> None:
    """Add the planned trials of a batch that the study lacks, and resume its paused trials: one write for each.

    `known` are the study's trials, where the caller has read them already.
    """
    places = _Places(study, known)
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
        wait_for(places.add, trial, (batch, one.plan.slot))


class _Places:
    """The batches and slots of a study that have a trial. They are read again after a write that was not confirmed."""

    def __init__(self, study: Study, known: Sequence[Trial] | None) -> None:
        self._study = study
        self._taken = None if known is None else _places(known)

    def add(self, trial: FrozenTrial, place: tuple[int, int]) -> None:
        """Add a planned trial at a place (batch, slot), unless that has one."""
        taken, self._taken = self._taken, None
        if taken is None:
            taken = _places(read_trials(self._study))
        if place not in taken:
            self._study.add_trial(trial)
        self._taken = {*taken, place}


def _places(trials: Sequence[Trial]) -> set[tuple[int, int]]:
    return {(trial.plan.batch, trial.plan.slot) for trial in trials}


def _take_up(storage: BaseStorage, study: Study, number: int, plan: TrialPlan) -> None:
    """Resume a paused trial in the batch of `plan`, unless that was done already."""
    trial = one_trial(storage, study, number)
    if trial.batch != plan.batch:
        bound = trial.stop.bound if trial.stop else None
        stint = Stint(plan.batch, plan.slot, trial.attempt, trial.reached, bound, time.time())
        TrialWriter(storage, trial_id(storage, study, number)).stints([*trial.stints, stint])


class Trainer(Protocol):
    """The interface of what trains trials: one of Hydra's launchers on this machine, or the jobs of a cluster."""

    def take_up(self, trials: OpenTrials) -> None:
        """Take over the trials of a study that an earlier start of the sweep may have left training."""
        ...

    def train(self, trials: OpenTrials, numbers: Sequence[int], later: Sequence[int], n_threads: int) -> None:
        """Train trials, and return when each of `numbers` has an outcome. `later` ones may train meanwhile, and go on.

        `n_threads` are the CPU threads of a slot. Raises SweepError for a fault that no trial caused.
        """
        ...

    def stop(self) -> None:
        """End the training when a person or a signal ends the sweep."""
        ...


@contextlib.contextmanager
def stopped(trainer: Trainer) -> Iterator[None]:
    """Inside the context, a KeyboardInterrupt makes the trainer stop; then it is raised again."""
    try:
        yield
    except KeyboardInterrupt:
        trainer.stop()
        raise


def run_batch(
    study: Study,
    trials: OpenTrials,
    trainer: Trainer,
    n_threads: int,
    work: Callable[[Trial], float] = lambda trial: 0.0,
) -> None:
    """Train the first open batch until each of its trials has an outcome, then tell the study, slot by slot.

    The trial with the most `work` begins first, so that where there are fewer slots than trials no slot is left with a
    long one while the others have nothing to do.

    The study is told of a batch only when the whole batch has ended, and of batches in their order. So the trials that
    a pruner compares with are the same on every machine and after every crash. Trials that the pruner stopped are not
    told: they are paused.
    """
    batch = open_batch(study)
    assert batch is not None
    open_ = [one for one in read_trials(study) if not one.state.is_finished() and one.batch >= batch]
    trials.note(open_)
    mine = [trial.number for trial in open_ if trial.batch == batch]
    longest_first = [trial.number for trial in sorted(open_, key=work, reverse=True) if trial.batch == batch]
    later = [trial.number for trial in open_ if trial.batch > batch]
    trainer.train(trials, longest_first, later, n_threads)
    for number, trial in trials.now(mine).items():
        if not trial.paused:
            trials.folder(number).checkpoint.unlink(missing_ok=True)  # where its worker could not
            wait_for(_tell, study, number, trial.current)
    write_told(study, batch)


def _tell(study: Study, number: int, outcome: Outcome | None) -> None:
    assert outcome is not None
    if outcome.succeeded:
        study.tell(number, outcome.r2, skip_if_finished=True)
    else:
        study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
