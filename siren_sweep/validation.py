"""A block's winner trained again with other seeds, in a study of its own: the noise of a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.plugins.launcher import Launcher
from optuna.storages import BaseStorage
from optuna.study import Study

from siren_sweep.batch import BatchRun, enqueue_plan, store_plan
from siren_sweep.paths import SweepPaths
from siren_sweep.search.proposal import Proposal
from siren_sweep.studies import best_trial, create, finished, last_batch, validation_name

UNPRUNED = ["pruner=none"]  # a stopped run says nothing of the noise


def validate(
    storage: BaseStorage,
    study: Study,
    paths: SweepPaths,
    n_seeds: int,
    launcher: Launcher,
    inherited: Sequence[str],
    n_threads: int,
) -> None:
    """Train the winner of a block's study with `n_seeds` other seeds; what was done before is not done again."""
    winner = best_trial(study)
    if winner is None or n_seeds == 0:
        return
    own = create(storage, validation_name(study.user_attrs["block"]), {"validation_of": winner.number})
    if len(finished(own)) >= n_seeds:
        return
    if last_batch(own) == 0:
        before = winner.user_attrs
        attributes: list[dict[str, Any]] = [
            {
                **{key: before[key] for key in ("block", "iteration", "n_training_frames", "config", "data_hash")},
                "batch": 1,
                "slot": slot,
                "seed": before["seed"] + slot + 1,
                "attempt": 0,
                "validation_of": winner.number,
            }
            for slot in range(n_seeds)
        ]
        changes = [f"seed: {before['seed']} -> {own_attributes['seed']}" for own_attributes in attributes]
        proposals = [Proposal(winner.params, None, change, "validation", None) for change in changes]
        store_plan(own, proposals, attributes)
    enqueue_plan(own, 1, winner.distributions)
    BatchRun(storage, own, paths, launcher.launch, [*inherited, *UNPRUNED], []).run(n_threads)
