"""A block's best trained again, in a study beside the block's: in all its windows, and with other seeds.

A trial of many windows trains a sample of them. What is exported, carried on and called the block's final_r2 was
trained whole: the best trial, and after it the next best where the whole falls short of what that one promises. The
winner with other seeds, on the sample, gives the noise of a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.plugins.launcher import Launcher
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from siren_sweep.batch import BatchRun, enqueue_plan, store_plan
from siren_sweep.engine import n_cores
from siren_sweep.paths import SweepPaths
from siren_sweep.search.proposal import Proposal
from siren_sweep.studies import (
    complete,
    create,
    finished,
    is_sample,
    last_batch,
    load,
    metrics_of,
    open_batch,
    standing,
    validation_name,
    winner,
)

UNPRUNED = ["pruner=none"]  # a stopped run says nothing of the noise, and is no result
WHOLE = [*UNPRUNED, "claude.search_windows=0"]
MOST_WHOLE = 2  # configs that are trained whole; each takes as long as a slot's budget allows
DOUBT = 2.0  # standard errors of a sample's R2 that are taken off what it promises


class Validation:
    """The runs after a block's last batch; each call goes on where an earlier one was cut off."""

    def __init__(
        self,
        storage: BaseStorage,
        study: Study,
        paths: SweepPaths,
        launcher: Launcher,
        inherited: Sequence[str],
        n_threads: int,
    ) -> None:
        self._storage, self._study, self._paths, self._launcher = storage, study, paths, launcher
        self._inherited, self._n_threads = list(inherited), n_threads
        self._own = load(storage, validation_name(study.user_attrs["block"]))

    def train_whole(self) -> None:
        """Train the best trials whole until one keeps what the next one promises; nothing where none is a sample."""
        ranked = sorted(complete(self._study), key=lambda trial: standing(self._study, trial))
        for trial in ranked[:MOST_WHOLE]:
            best = winner(self._study, self._own)
            if not is_sample(metrics_of(trial)) or (best and best.final_r2 >= self._wanted(trial)):
                return
            done = [run.user_attrs.get("whole_of") for run in finished(self._beside())]
            if trial.number not in done:
                self._run(trial, [{"slot": 0, "seed": trial.user_attrs["seed"], "whole_of": trial.number}], WHOLE)

    def _wanted(self, trial: FrozenTrial) -> float:
        """What a whole run must reach so that this trial need not be trained whole: its promise, or to be solved."""
        solved = (self._study.user_attrs.get("settings") or {}).get("claude.solved_r2")
        return promise(trial) if solved is None else min(promise(trial), solved)

    def train_seeds(self, n_seeds: int) -> None:
        """Train the winner's config with other seeds, as its trial was trained."""
        best = winner(self._study, self._own)
        if best is None or n_seeds == 0:
            return
        trial, own = best.searched, self._beside()
        begun = any("validation_of" in run.user_attrs for run in finished(own))
        if not begun or open_batch(own) is not None:
            first = trial.user_attrs["seed"] + 1
            runs = [{"slot": slot, "seed": first + slot, "validation_of": trial.number} for slot in range(n_seeds)]
            self._run(trial, runs, UNPRUNED)

    def _beside(self) -> Study:
        if self._own is None:
            block = self._study.user_attrs["block"]
            self._own = create(self._storage, validation_name(block), {"validation_of_block": block})
        return self._own

    def _run(self, trial: FrozenTrial, runs: Sequence[dict[str, Any]], overrides: Sequence[str]) -> None:
        """One batch of runs of a trial's config, each with what is its own; an open one is gone on with."""
        own, before = self._beside(), trial.user_attrs
        batch = open_batch(own)
        if batch is None:
            batch = last_batch(own) + 1
            shared = {key: before[key] for key in ("block", "iteration", "n_training_frames", "config", "data_hash")}
            attributes = [{**shared, "batch": batch, "attempt": 0, **run} for run in runs]
            proposals = [Proposal(trial.params, None, _what(before["seed"], run), "validation", None) for run in runs]
            store_plan(own, proposals, attributes)
        enqueue_plan(own, batch, trial.distributions)
        n_threads = n_cores() if any("whole_of" in run for run in runs) else self._n_threads
        job = BatchRun(self._storage, own, self._paths, self._launcher.launch, [*self._inherited, *overrides], [])
        job.run(n_threads)


def promise(trial: FrozenTrial) -> float:
    """The R2 that a trial would have if trained whole, at the lower end of what its sample allows."""
    metrics = metrics_of(trial)
    return float(trial.value or 0) - (DOUBT * float(metrics["sample_r2_se"]) if is_sample(metrics) else 0.0)


def _what(seed: int, run: dict[str, Any]) -> str:
    return "all windows" if "whole_of" in run else f"seed: {seed} -> {run['seed']}"
