"""Runs the sweep's loop without training: every trial gets a result at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus

from siren_sweep.cli.main import conf_dir, typed
from siren_sweep.config.schema import METRICS
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.study.studies import all_blocks, load, open_storage, trial_id
from siren_sweep.sweep import checks, user_input
from siren_sweep.sweep import loop as running
from siren_sweep.sweep.launcher_trainer import LauncherTrainer


class Launcher:
    """A launcher that gives every trial a result at once.

    `said` are lines that it writes into `user_input.md` during a batch, by the batch's number.
    """

    def __init__(self, paths: SweepPaths, said: dict[int, list[str]]) -> None:
        self.paths, self.said, self.n_batches = paths, said, 0

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        self.n_batches += 1
        pend(self.paths.user_input, *self.said.get(self.n_batches, []))
        storage = open_storage(None, self.paths)
        for overrides in job_overrides:
            given = dict(text.split("=", 1) for text in overrides)
            study, number = load(storage, given["trial.study"]), int(given["trial.number"])
            metrics = dict.fromkeys(METRICS, 1.0) | {"final_r2": 0.5 + 0.01 * number}
            outcome = {"attempt": 1, "status": "finished", "reason": None, "metrics": metrics, "stop_step": 40}
            storage.set_trial_user_attr(trial_id(storage, study, number), "outcome", outcome)
        return [JobReturn(status=JobStatus.COMPLETED)] * len(job_overrides)


class Unseen:
    """Takes the place of the process that makes the views, which would need weights."""

    failed, unsent, busy_with = (), False, ""

    def __init__(self, *_: object) -> None: ...

    def ask(self, *_: object, **__: object) -> None: ...

    listen = close = kill = ask


def pend(file: Path, *lines: str) -> None:
    user_input.create(file)
    text = file.read_text()
    file.write_text(text.replace("## Pending Instructions\n", "\n".join(["## Pending Instructions", *lines, ""])))


def run(folder: Path, said: dict[int, list[str]], monkeypatch: pytest.MonkeyPatch, *more: str) -> dict[int, Any]:
    """Run the tiny sweep with the overrides `more`; returns the configs of each block."""
    monkeypatch.setattr("siren_sweep.sweep.monitor.ViewProcess", Unseen)
    overrides = checks.sort_overrides(more)
    plain = [text for text in more if text.split("=")[0] not in overrides.swept]
    given = [f"outputs_dir={folder}", "sweep.name=s", "blocks=tiny", "tracking=none", "storage=sqlite", *plain]
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = typed(compose("config", given))
    outputs = OutputPaths(folder)
    paths = outputs.sweep("s")
    trainer = LauncherTrainer(Launcher(paths, said))  # type: ignore[arg-type]
    sweeping = running.Sweep(cfg, overrides, trainer, outputs, paths, {1: "a", 2: "b", 3: "c"})
    sweeping.run()
    blocks = all_blocks(open_storage(None, paths))
    return {number: [trial.user_attrs["config"] for trial in study.trials] for number, study in blocks.items()}
