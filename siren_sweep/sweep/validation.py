"""Trains a block's best config again, in all its windows and with other seeds, in a study beside the block's.

A trial of many windows trains only a sample of them. The block's winner, which is exported and has the block's
final_r2, must be trained whole, that is, in all windows. So the best trial is trained whole. The next best is too,
where the first cannot be trained whole, or its whole R2 is below what the next one promises. Then the winner's config
is trained with other seeds, as its trial was; they give the noise for the verdicts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import Study

from siren_sweep.paths import SweepPaths
from siren_sweep.study.records import PlannedTrial, Trial, TrialPlan, finite
from siren_sweep.study.stored import last_batch, read_block, read_plan, solved_r2, write_plan
from siren_sweep.study.studies import (
    complete,
    create,
    load,
    open_batch,
    standing,
    told_trials,
    validation_name,
    whole_runs,
    winner,
)
from siren_sweep.sweep.batch import Trainer, enqueue_plan, run_batch
from siren_sweep.sweep.open_trials import OpenTrials
from siren_sweep.train.machine import n_cores

WHOLE = ["claude.search_windows=0", "trial.alone=true"]
MOST_WHOLE = 2  # most configs that are trained whole to their end
MOST_SEEDED = 3  # most configs that are trained with other seeds
DOUBT = 2.0  # standard errors that are subtracted from a sample's R2


class Validation:
    """The runs after a block's last batch. Each method resumes what an earlier, interrupted call left."""

    def __init__(
        self,
        storage: BaseStorage,
        study: Study,
        paths: SweepPaths,
        trainer: Trainer,
        inherited: Sequence[str],
        n_threads: int,
    ) -> None:
        self._storage, self._study, self._paths, self._trainer = storage, study, paths, trainer
        self._inherited, self._n_threads = list(inherited), n_threads
        self._block = read_block(study).number
        self._own = load(storage, validation_name(self._block))

    def train_whole(self) -> None:
        """Train the best trials whole until the best whole R2 is at least what the next trial promises.

        A trial that cannot be trained whole, as where memory is too small, is skipped. Where trials trained all
        windows, nothing is trained again.
        """
        self._finish_open()
        n_ended = 0
        for trial in sorted(complete(self._study), key=standing(self._study)):
            best = winner(self._study, self._own)
            if n_ended == MOST_WHOLE or not trial.sampled or (best and best.final_r2 >= self._wanted(trial)):
                return
            done = [run.plan.whole_of for run in told_trials(self._made())]
            if trial.number not in done:
                self._run([self._again(trial, whole_of=trial.number)])
            n_ended += trial.number in [run.plan.whole_of for run in whole_runs(self._own)]

    def _wanted(self, trial: Trial) -> float:
        """The whole R2 from which on this trial need not be trained whole: its promise, `claude.solved_r2` at most."""
        solved = solved_r2(self._study)
        return promise(trial) if solved is None else min(promise(trial), solved)

    def train_seeds(self, n_seeds: int) -> None:
        """Train the winner's config with `n_seeds` other seeds, in the windows of its trial.

        Where the trial was solved and a seed is not, another config may become the winner; it is then trained so too.
        """
        if n_seeds == 0:
            return
        self._finish_open()
        while (best := winner(self._study, self._own)) is not None:
            trial = best.searched
            done = {run.plan.validation_of for run in told_trials(self._made())} - {None}
            if trial.number in done or len(done) >= MOST_SEEDED:
                return
            first = (trial.plan.seed or 0) + 1
            runs = [
                self._again(trial, slot=slot, seed=first + slot, validation_of=trial.number) for slot in range(n_seeds)
            ]
            self._run(runs)

    def _again(self, trial: Trial, **own: Any) -> TrialPlan:
        """The plan of another run of a trial's config; `own` are the fields in which it differs."""
        plan = TrialPlan(
            iteration=trial.plan.iteration,
            config=trial.plan.config,
            block=trial.plan.block,
            batch=last_batch(self._made()) + 1,
            n_training_frames=trial.plan.n_training_frames,
            seed=trial.plan.seed,
            data_hash=trial.plan.data_hash,
            strategy="validation",
        )
        change = f"seed: {plan.seed} -> {own['seed']}" if "seed" in own else "all windows"
        return dataclasses.replace(plan, mutation=change, **own)

    def _made(self) -> Study:
        """The study of these runs, which is made where there is none."""
        if self._own is None:
            self._own = create(self._storage, validation_name(self._block))
        return self._own

    def _finish_open(self) -> None:
        """Finish a batch of runs that was interrupted."""
        if self._own is not None and (batch := open_batch(self._own)) is not None:
            self._launch([one.plan for one in read_plan(self._own, batch)])

    def _run(self, runs: Sequence[TrialPlan]) -> None:
        """Run one batch of runs of the same trial's config."""
        (params,) = [trial.params for trial in complete(self._study) if trial.number == _origin(runs[0])]
        write_plan(self._made(), [PlannedTrial(params, run) for run in runs])
        self._launch(runs)

    def _launch(self, runs: Sequence[TrialPlan]) -> None:
        own, whole = self._made(), runs[0].whole_of is not None
        (searched,) = [one for one in self._study.get_trials(deepcopy=False) if one.number == _origin(runs[0])]
        enqueue_plan(self._storage, own, runs[0].batch, searched.distributions)
        trials = OpenTrials(self._storage, own, self._paths, [*self._inherited, *(WHOLE if whole else [])])
        run_batch(own, trials, self._trainer, n_cores() if whole else self._n_threads)


def _origin(run: TrialPlan) -> int | None:
    """The number of the block's trial that a run trains again."""
    return run.whole_of if run.whole_of is not None else run.validation_of


def promise(trial: Trial) -> float:
    """A low estimate of a trial's R2 if it is trained whole: its R2 minus `DOUBT` standard errors of its sample."""
    doubt = finite(trial.metrics["sample_r2_se"]) if trial.sampled else None  # NaN for a single window
    return float(trial.value or 0) - DOUBT * (doubt or 0.0)
