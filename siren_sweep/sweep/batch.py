"""One batch of a block: planned, enqueued, trained, and told; each step can be taken again after a crash."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from siren_sweep.study.records import Outcome, Stint, TrialPlan
from siren_sweep.study.storage import wait_for
from siren_sweep.study.stored import read_plan, write_told
from siren_sweep.study.stored_trials import TrialWriter, read_trials, trial_values
from siren_sweep.study.studies import one_trial, open_batch, trial_id
from siren_sweep.sweep.open_trials import OpenTrials


def enqueue_plan(storage: BaseStorage, study: Study, batch: int, distributions: Mapping[str, BaseDistribution]) -> None:
    """Add what the plan of a batch holds and the study does not yet, and take up what goes on: a write a trial."""
    places = _Places(study)
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
    """The batches and slots of a study that have their trial; read again after a write of which no answer came."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._taken: set[tuple[int, int]] | None = None

    def add(self, trial: FrozenTrial, place: tuple[int, int]) -> None:
        """Add a planned trial, if its place has none."""
        taken, self._taken = self._taken, None
        if taken is None:
            taken = {(other.plan.batch, other.plan.slot) for other in read_trials(self._study)}
        if place not in taken:
            self._study.add_trial(trial)
        self._taken = {*taken, place}


def _take_up(storage: BaseStorage, study: Study, number: int, plan: TrialPlan) -> None:
    """Give a paused trial its place in another batch, if it does not have it yet."""
    trial = one_trial(storage, study, number)
    if trial.batch != plan.batch:
        bound = trial.stop.bound if trial.stop else None
        stint = Stint(plan.batch, plan.slot, trial.attempt, trial.reached, bound, time.time())
        TrialWriter(storage, trial_id(storage, study, number)).stints([*trial.stints, stint])


class Trainer(Protocol):
    """What trains trials: the slots of this machine by any of Hydra's launchers, or the jobs of a cluster."""

    def take_up(self, trials: OpenTrials) -> None:
        """Hear of a study whose trials an earlier start of the sweep may have left training."""
        ...

    def train(self, trials: OpenTrials, numbers: Sequence[int], later: Sequence[int], n_threads: int) -> None:
        """Return when each of `numbers` has an outcome. Those of `later` batches may train meanwhile, and after it.

        `n_threads` are a slot's. Raises SweepError for what a person can mend, and no trial is to be blamed for.
        """
        ...

    def stop(self) -> None:
        """End what trains, where a person or a signal ends the sweep."""
        ...


@contextlib.contextmanager
def stopped(trainer: Trainer) -> Iterator[None]:
    """Have a trainer end what trains wherever in the block KeyboardInterrupt comes up."""
    try:
        yield
    except KeyboardInterrupt:
        trainer.stop()
        raise


def run_batch(study: Study, trials: OpenTrials, trainer: Trainer, n_threads: int) -> None:
    """Train the batch that is told next until each of its trials has an outcome, and tell the study, slot by slot.

    All are told when the batch is over and not before, and batches in their order: what a pruner may compare with is
    then the same on every machine, however busy, and after every crash. Those that the pruner stopped are not told:
    they are paused.
    """
    batch = open_batch(study)
    assert batch is not None
    open_ = [one for one in read_trials(study) if not one.state.is_finished() and one.batch >= batch]
    trials.note(open_)
    mine = [trial.number for trial in open_ if trial.batch == batch]
    later = [trial.number for trial in open_ if trial.batch > batch]
    trainer.train(trials, mine, later, n_threads)
    for number, trial in trials.now(mine).items():
        if not trial.paused:
            trials.folder(number).checkpoint.unlink(missing_ok=True)  # where its worker did not come to it
            wait_for(_tell, study, number, trial.current)
    write_told(study, batch)


def _tell(study: Study, number: int, outcome: Outcome | None) -> None:
    assert outcome is not None
    if outcome.succeeded:
        study.tell(number, outcome.r2, skip_if_finished=True)
    else:
        study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
