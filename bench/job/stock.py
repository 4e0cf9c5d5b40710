"""What a person would write without siren_sweep: Optuna's default sampler and a pruner, and a plain PyTorch loop.

    PYTHONPATH=bench python bench/job/stock.py FOLDER --task JSON [--pruner median] [--compiled] [--defaults]

joblib runs it on all cores. Search space, first config, data, reports and R2 are those of a sweep (`task.py`). Values
are learned with mean 0 and standard deviation 1. As in a sweep, a trial that reaches `claude.solved_r2` at a report
ends there; then no other trial begins. If no trial reaches it, the search does not end. FOLDER gets the study, the
weights of each finished trial, and a line for each R2 that was seen.

`--defaults` only trains the defaults of flyvis-gnn's trainer, once. The loop is the same, on all cores, and values are
not scaled.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import time
from pathlib import Path

import joblib  # type: ignore[import-untyped]  # scikit-learn has it
import optuna
import torch
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import BaseTrial, FixedTrial, TrialState
from plain_loop import PlainLoop
from task import Task

from siren_sweep.config.config_file import plain
from siren_sweep.config.schema import N_REPORTS, TrialConfig
from siren_sweep.field import StimulusField, cut
from siren_sweep.train.engine.evaluate import report_frames
from siren_sweep.train.machine import n_cores

SOLVED_R2 = TrialConfig().claude.solved_r2 or 1.0
PRUNERS: dict[str, BasePruner] = {
    "hyperband": HyperbandPruner(min_resource=1, max_resource=N_REPORTS),
    "median": MedianPruner(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", type=Task.of, required=True)
    parser.add_argument("--pruner", choices=PRUNERS, default="hyperband")
    parser.add_argument("--compiled", action="store_true", help="use torch.compile")
    parser.add_argument("--defaults", action="store_true", help="do not search: train flyvis-gnn's default config")
    options = parser.parse_args()
    task: Task = options.task
    field = task.field(options.folder)  # makes the cache file, which the workers map
    if options.defaults:
        run(FixedTrial({}), 0, task.default_config(), field, options)
        return
    start = task.start(task.one_network_space())
    study = optuna.create_study(study_name="stock", storage=storage(options.folder), direction="maximize")
    study.enqueue_trial(start.base)
    joblib.Parallel(n_jobs=n_cores())(joblib.delayed(search)(options, worker) for worker in range(n_cores()))


def storage(folder: Path) -> JournalStorage:
    """Optuna's storage for several processes on one machine."""
    return JournalStorage(JournalFileBackend(str(folder / "study.log")))


def search(options: argparse.Namespace, worker: int) -> None:
    """The main function of a worker process, which has one thread: run one trial after the other."""
    torch.set_num_threads(1)
    task: Task = options.task
    sampler = optuna.samplers.TPESampler(seed=1000 * worker + task.seed)
    study = optuna.load_study(
        study_name="stock", storage=storage(options.folder), sampler=sampler, pruner=PRUNERS[options.pruner]
    )
    field = task.field(options.folder)
    scaled = dataclasses.replace(field, targets=field.scaling.scaled(field.targets))
    space = task.start(task.one_network_space()).space
    while not any((trial.value or 0) >= SOLVED_R2 for trial in study.get_trials(deepcopy=False)):
        trial = study.ask(space.dimensions)
        r2 = run(trial, trial.number, task.config(space.config(trial.params)), scaled, options)
        if r2 is None:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, r2 if math.isfinite(r2) else None, state=None if math.isfinite(r2) else TrialState.FAIL)


def run(
    trial: BaseTrial, number: int, cfg: TrialConfig, field: StimulusField, options: argparse.Namespace
) -> float | None:
    """Train a config and save its last weights; returns their R2 over all frames and neurons, None if it was pruned."""
    torch._dynamo.reset()  # else it stops compiling after eight networks
    loop = PlainLoop(field, cfg, "cpu", options.compiled)
    frames, total = report_frames(cut(field.n_frames, 0), cfg).tolist(), cfg.claude.total_steps
    for index in range(1, N_REPORTS + 1):
        loop.run(index * total // N_REPORTS - (index - 1) * total // N_REPORTS)
        r2 = loop.r2(frames)
        tell(options.folder, number, r2, kept=False)
        trial.report(r2, index)
        if r2 >= SOLVED_R2 and loop.r2() >= SOLVED_R2:
            break
        if index < N_REPORTS and trial.should_prune():
            return None
    r2 = loop.r2()
    scaling = {name: getattr(field.scaling, name) for name in ("mean", "spread")} if not options.defaults else {}
    weights = {"config": plain(cfg), "scaling": scaling, "r2": r2, "weights": loop.model.state_dict()}
    torch.save(weights, options.folder / f"trial_{number:04d}.pt")
    tell(options.folder, number, r2, kept=True)
    return r2


def tell(folder: Path, number: int, r2: float, kept: bool) -> None:
    """Add a line for an R2 that was seen, in one write; `kept`: it is over all frames, of weights on disk."""
    line = json.dumps({"at": time.time(), "trial": number, "r2": r2, "kept": kept}) + "\n"
    descriptor = os.open(folder / "seen.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, line.encode())
    os.close(descriptor)


if __name__ == "__main__":
    main()
