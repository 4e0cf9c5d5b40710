"""Reads what a side has reached: R2 over time, the R2 of its best weights, evaluated anew, and the files it left."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_loop import PlainLoop
from task import Task
from training_times import read_runs, training_intervals

import siren_sweep
from siren_sweep.config.checks import trial_config
from siren_sweep.errors import OutputError
from siren_sweep.field import Scaling, StimulusField
from siren_sweep.field.scaling import UNSCALED
from siren_sweep.paths import OutputPaths

SWEEP = "job"  # the name of our sweep
FRAMES_AT_ONCE = 500
KINDS = {  # kinds of results that a side may leave, and the files by which each is known
    "weights": ("weights.safetensors", "block_01.safetensors", "trial_*.pt"),
    "config that runs": ("best/block_01.yaml",),
    "pictures": ("best/block_01.png",),
    "report": ("report.html",),
    "record": ("record/*.md",),
    "table": ("trials.csv",),
    "study": ("study.db", "study.log"),
    "MLflow": ("mlflow.db",),
}


@dataclass(frozen=True)
class Seen:
    """An R2 that a person could have seen at a time, in seconds since 1970.

    `kept`: it is over all frames, and of weights on disk.
    """

    at: float
    r2: float
    kept: bool


def ours_seen(work: Path) -> list[Seen]:
    """The reports and the final R2 of each run that trained the whole field; empty where no trial has begun."""
    seen = []
    try:
        found = [run for run in read_runs(OutputPaths(work).sweep(SWEEP).root) if run.whole]
    except OutputError:
        return []
    for trial in (run.trial for run in found):
        for period in training_intervals(trial):
            length = period.end - period.begin
            own = [report for report in trial.reports if 0 < report.elapsed_s - period.before_s <= length]
            seen += [Seen(period.at(report), report.r2, False) for report in own]
        if trial.current is not None and trial.current.ended_s and trial.metrics.get("final_r2") is not None:
            seen.append(Seen(trial.current.ended_s, trial.metrics["final_r2"], True))
    return seen


def stock_seen(work: Path) -> list[Seen]:
    """The R2 that `stock.py` wrote into its file."""
    file = work / "seen.jsonl"
    lines = map(json.loads, file.read_text().splitlines()) if file.exists() else ()
    return [Seen(line["at"], line["r2"], line["kept"]) for line in lines]


def ours_best(work: Path, task: Task) -> float | None:
    """The R2 of our best weights on disk; None where there are none."""
    sweep = OutputPaths(work).sweep(SWEEP)
    if sweep.best_file(1, ".safetensors").exists():
        model = siren_sweep.load(sweep.root, block=1)
    else:
        ended = [run for run in read_runs(sweep.root) if run.trial.metrics.get("final_r2") is not None]
        if not ended:
            return None
        best = max(ended, key=lambda run: float(run.trial.metrics["final_r2"]))
        model = siren_sweep.load(sweep.trial(best.study, best.trial.number).root)
    return r2_of(model.frames, task.field(None))


def stock_best(work: Path, task: Task) -> float | None:
    """The R2 of the best weights that `stock.py` saved; None where there are none."""
    saved = [torch.load(file, weights_only=True) for file in work.glob("trial_*.pt")]
    best = max((one for one in saved if one["r2"] == one["r2"]), key=lambda one: one["r2"], default=None)
    if best is None:
        return None
    field, scaling = task.field(None), Scaling(**best["scaling"]) if best["scaling"] else UNSCALED
    loop = PlainLoop(field, trial_config(best["config"]), "cpu")
    loop.model.load_state_dict(best["weights"])
    return r2_of(lambda a, b: scaling.unscaled(loop.predict(range(a, b))).numpy(), field)


def r2_of(predict: Callable[[int, int], np.ndarray], field: StimulusField) -> float:
    """1 - SSE / SST over all frames and neurons.

    `predict(a, b)` returns predictions (b - a, n_neurons) for the frames a to b - 1, in the data's units.
    """
    sse = sst = 0.0
    mean = field.total / (field.n_frames * field.n_neurons)
    for start in range(0, field.n_frames, FRAMES_AT_ONCE):
        stop = min(start + FRAMES_AT_ONCE, field.n_frames)
        truth = field.targets[start:stop, field.inverse].astype(np.float64)
        sse += float(np.square(predict(start, stop) - truth).sum())
        sst += float(np.square(truth - mean).sum())
    return 1 - sse / sst


def files_left(work: Path) -> dict[str, Any]:
    """The kinds of results in a folder, its number of files, and their size in MB."""
    files = [file for file in work.rglob("*") if file.is_file()]
    kinds = [kind for kind, patterns in KINDS.items() if any(any(work.rglob(pattern)) for pattern in patterns)]
    return {"kinds": kinds, "n_files": len(files), "mb": sum(file.stat().st_size for file in files) / 1e6}
