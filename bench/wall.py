"""Where the wall time of a sweep goes: `python bench/wall.py`, on a machine that does nothing else.

Runs the demo sweep as a person starts it, twice: the first run makes the stimulus, and compiles what is compiled once.
What is measured is the second. A trial trains from when its config.yaml is written for as long as its reports say; what
trains beside another counts once, and "training" is the time in which any trial trains.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.study.records import Trial
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import read_folder

Span = tuple[float, float]  # of the clock, in seconds


def run(outputs: Path, overrides: Sequence[str]) -> tuple[float, float, float]:
    """A sweep; when it was started, when it said its first words, and when it ended."""
    own = ["-m", "siren_sweep", "-m", "blocks=demo", "sweep.name=wall", f"outputs_dir={outputs}"]
    command, start = [sys.executable, *own, *overrides], time.time()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as sweep:
        assert sweep.stderr is not None
        said = [(time.time(), line) for line in sweep.stderr]
    if sweep.returncode:
        raise SystemExit("".join(line for _, line in said))
    return start, said[0][0], time.time()


def spans(paths: SweepPaths) -> list[tuple[str, Span, float]]:
    """Of every trial, in order of their beginning: its study, when it trained, and when its first report came."""
    found = []
    with read_folder(paths.root) as (_, blocks, validations):
        for study in [*blocks.values(), *validations.values()]:
            for trial in read_trials(study):
                began = paths.trial(study.study_name, trial.number).config.stat().st_mtime
                found.append((study.study_name, (began, began + took_s(trial)), began + trial.reports[0].elapsed_s))
    return sorted(found, key=lambda one: one[1])


def took_s(trial: Trial) -> float:
    """Seconds of training."""
    minutes = trial.metrics.get("training_time_min")
    return float(minutes) * 60 if minutes is not None else trial.reports[-1].elapsed_s


def gaps(trained: Sequence[tuple[str, Span, float]]) -> dict[str, float]:
    """Seconds in which nothing trains, between the first trial and the last: by what comes after them."""
    idle = {"between two batches": 0.0, "before a block's best is trained again": 0.0, "between two blocks": 0.0}
    until = trained[0][1][1]
    for (before, _, _), (name, (start, stop), _) in pairwise(trained):
        if start > until:
            kind = "between two batches" if name == before else "before a block's best is trained again"
            idle[kind if name == before or name.endswith("validation") else "between two blocks"] += start - until
        until = max(until, stop)
    return idle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of the sweep, as tracking=none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outputs = OutputPaths(Path(folder))
        paths = outputs.sweep("wall")
        run(outputs.root, [*options.overrides, "claude.n_iter_block=1", "claude.n_validation_seeds=0"])
        shutil.rmtree(paths.root)
        outputs.mlflow_db.unlink(missing_ok=True)
        start, words, end = run(outputs.root, options.overrides)
        trained = spans(paths)
    first, last = trained[0][1][0], max(stop for _, (_, stop), _ in trained)
    idle = {"before the first trial": first - start, **gaps(trained), "after the last trial": end - last}
    training = end - start - sum(idle.values())
    print(f"first words after {words - start:.1f} s, first report after {min(one[2] for one in trained) - start:.1f} s")
    print(f"{end - start:.1f} s on {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}:")
    for what, seconds in {"training": training, **idle}.items():
        print(f"  {what:40} {seconds:6.1f} s  {seconds / (end - start):4.0%}")


if __name__ == "__main__":
    main()
