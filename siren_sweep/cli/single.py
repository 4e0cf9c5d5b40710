"""`python -m siren_sweep`: a single training run of the composed config."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from siren_sweep.config.schema import Config
from siren_sweep.errors import SweepError
from siren_sweep.field.dataset import ensure_data, field_of
from siren_sweep.paths import OutputPaths, TrialPaths, make_writable, replacing
from siren_sweep.train.engine.checkpoint import discard
from siren_sweep.train.report import Report, Status, shown_r2, where_to_look
from siren_sweep.train.run import run_training


class RunFailed(SweepError):
    """The run ended without a result. The message says why."""


def _free(folder: Path) -> Path:
    """The folder, or `FOLDER_2` and so on where a run has ended there.

    A run's folder is named after its time of start, and two runs may start at the same time.
    """
    names = (folder.with_name(f"{folder.name}_{number}") for number in itertools.count(2))
    places = map(TrialPaths, itertools.chain([folder], names))
    return next(own.root for own in places if own.checkpoint.exists() or not own.result.exists())


def run_single(cfg: Config, folder: Path) -> None:
    """Train once, and print the metrics, one on a line. Progress is a bar, or plain lines where there is no terminal.

    The run's files go to `folder`. Raises DataError, ConfigError, OutputError and RunFailed.
    """
    outputs = OutputPaths(Path(cfg.outputs_dir))
    make_writable(outputs.root)
    ensure_data(cfg)
    field = field_of(cfg, outputs)
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("training", total=cfg.claude.total_steps)

        def on_report(report: Report) -> None:
            progress.update(bar, completed=report.step, description=f"R2 {shown_r2(report.r2)}")
            if not console.is_terminal:
                print(report.line(), file=sys.stderr)

        paths = TrialPaths(_free(folder))
        result, metrics = run_training(
            cfg, field, paths, on_report=on_report, on_step=lambda step: progress.update(bar, completed=step)
        )
    with replacing(paths.result) as file:
        summary = metrics | {"status": result.status, "reason": result.reason, "stop_step": result.stop_step}
        summary |= {"data_hash": field.data_hash, "reports": [dataclasses.asdict(item) for item in result.reports]}
        file.write_text(json.dumps(summary, indent=1))
    discard(paths.checkpoint, result.status)
    if result.status not in (Status.finished, Status.truncated):
        raise RunFailed(f"the run ended as {result.status} at step {result.stop_step}: {result.reason}")
    if result.status is Status.truncated:
        print(f"truncated: {result.reason}", file=sys.stderr)
    if hint := where_to_look(metrics["final_r2"], result.reports):
        print(hint, file=sys.stderr)
    for name, value in metrics.items():
        print(f"{name}: {value:.6f}" if "r2" in name else f"{name}: {value:.6g}")
    print(f"written to {paths.root}", file=sys.stderr)
