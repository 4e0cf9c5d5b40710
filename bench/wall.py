"""Measures where a sweep's wall time goes, and its memory and disk, on a machine that does nothing else.

    python bench/wall.py                                      measures the demo
    python bench/wall.py dataset=flyvis dataset.path=PATH     a sweep with these overrides; tracking=none: no MLflow
    python bench/wall.py --of outputs/NAME                    a sweep that is over, by its studies and files

A tiny sweep runs first and is not measured: it makes the stimulus, and compiles kernels. "Training steps" is the time
in which at least one trial trains, without the share that trials spend on evaluation, reports and checkpoints. For the
time in which no trial trains, the table names the functions that the sweep's own process was in.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resource_use import ALL, ResourceUse, ResourceWatch
from training_times import Run, read_runs, step_share, trained_s, training_intervals

from siren_sweep.errors import SweepError
from siren_sweep.paths import OutputPaths
from siren_sweep.sweep.slots import slots
from siren_sweep.train.machine import n_cores

NAME = "wall"
MB = 1e6
KINDS = FIRST, BATCHES, AGAIN, BLOCKS, LAST = (
    "before the first trial",
    "between two batches",
    "before a block's best is trained again",
    "between two blocks",
    "after the last trial",
)
MOST_PLACES = 5  # functions that are named for a kind of gap
PLACES = {"sweep.slots._wait": "workers that begin, or end", "sweep.view_process.listen": "views that are being made"}
ROLES = ("parent", "server", "workers", "views")
OF_TRIALS = {"weights.safetensors": "weights of trials", "checkpoint": "checkpoints"}
SHARED = {"cache": "the data's cache", "mlartifacts": "MLflow's artifacts", "mlflow.db": "MLflow's store"}


@dataclass(frozen=True)
class Gap:
    """A period in which nothing trained, in seconds since 1970."""

    kind: str
    begin: float
    end: float

    @property
    def length(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True)
class Training:
    """A period in which a run trained, in seconds since 1970."""

    run: Run
    begin: float
    end: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="overrides of the sweep (blocks=demo)")
    parser.add_argument("--of", type=Path, help="the folder of a sweep that is over")
    options = parser.parse_args()
    try:
        if options.of is not None:
            lock = options.of / "sweep.lock"
            profile(options.of, lock.stat().st_mtime if lock.exists() else None, None)
            disk(options.of.absolute().parent, options.of.name)
        else:
            measure(options.overrides or ["blocks=demo"])
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def measure(overrides: Sequence[str]) -> None:
    """Run a sweep, and print its profile, memory and disk."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = OutputPaths(Path(folder))
        root, samples = outputs.sweep(NAME).root, Path(folder) / "samples.json"
        sweep(outputs.root, ["blocks=tiny", "tracking=none"], samples)
        shutil.rmtree(root)
        start, words, uses = sweep(outputs.root, overrides, samples)
        end = time.time()
        print(f"first words after {words - start:.1f} s")
        profile(root, start, end, json.loads(samples.read_text()))
        memory(uses)
        disk(outputs.root, NAME)


def sweep(outputs: Path, overrides: Sequence[str], samples: Path) -> tuple[float, float, dict[str, ResourceUse]]:
    """Run a sweep; returns the time of its start, that of its first output, and what its processes used."""
    script = str(Path(__file__).with_name("stack_samples.py"))
    own = ["-m", f"sweep.name={NAME}", f"outputs_dir={outputs}"]
    command, start = [sys.executable, script, str(samples), *own, *overrides], time.time()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        watch = ResourceWatch(process.pid)
        watch.start()
        assert process.stderr is not None
        said = [(time.time(), line) for line in process.stderr]
    if process.returncode:
        raise SweepError("".join(line for _, line in said))
    watch.join()
    return start, said[0][0], watch.uses


def profile(root: Path, start: float | None, end: float | None, samples: Sequence[tuple[float, str]] = ()) -> None:
    """Print where the wall time of a sweep went. Without `start` and `end` they are read from the sweep's files."""
    every = read_runs(root)
    trained = [Training(run, one.begin, one.end) for run in every for one in training_intervals(run.trial)]
    trained = [one for one in trained if one.end > one.begin]
    if not trained:
        raise SweepError(f"a sweep must have trained to be profiled; {root} has not")
    trained.sort(key=lambda one: one.begin)
    start = start or trained[0].begin
    end = end or max(file.stat().st_mtime for file in root.rglob("*") if file.is_file())
    idle = gaps(trained, start, max(end, *(one.end for one in trained)))
    busy, whole = end - start - sum(gap.length for gap in idle), sum(trained_s(run.trial) for run in every)
    steps = busy * sum(step_share(run.trial) * trained_s(run.trial) for run in every) / whole
    print(f"{end - start:.1f} s, {len(every)} trials, {n_cores()} cores, load {os.getloadavg()[0]:.1f}:")

    def row(what: str, seconds: float) -> None:
        print(f"  {what:40} {seconds:8.1f} s {seconds / (end - start):6.1%}")

    row("training steps", steps)
    row("evaluation, reports and checkpoints", busy - steps)
    for what in KINDS:
        own = [gap for gap in idle if gap.kind == what]
        row(what, sum(gap.length for gap in own))
        for place, seconds in itertools.islice(places(own, samples).items(), MOST_PLACES):
            print(f"      {seconds:6.1f} s  {PLACES.get(place, place)}")
    print(f"while any trial trains, {filled(trained, busy):.0%} of the slots' time is used for training")


def gaps(trained: Sequence[Training], start: float, end: float) -> list[Gap]:
    """The periods from `start` to `end` in which nothing trains; their kind says what comes after them."""
    found, until, before = [], start, None
    for one in trained:
        if one.begin > until:
            kind = FIRST if before is None else BATCHES if one.run.study == before.run.study else BLOCKS
            found.append(Gap(AGAIN if kind == BLOCKS and one.run.again else kind, until, one.begin))
        until, before = max(until, one.end), one
    return [*found, Gap(LAST, until, end)]


def places(idle: Sequence[Gap], samples: Sequence[tuple[float, str]]) -> dict[str, float]:
    """The seconds that the sweep's own process was in each function while nothing trained, the longest first.

    A sample of its stack counts for the time since the sample before.
    """
    times, seconds = [at for at, _ in samples], defaultdict[str, float](float)
    for gap in idle:
        for index in range(max(1, bisect_right(times, gap.begin)), len(times)):
            if times[index - 1] >= gap.end:
                break
            seconds[samples[index][1]] += min(times[index], gap.end) - max(times[index - 1], gap.begin)
    return dict(sorted(seconds.items(), key=lambda pair: -pair[1]))


def filled(trained: Sequence[Training], busy: float) -> float:
    """The share of the slots' time in which they train. A run that trains a config in all windows has all slots."""
    n_slots = slots(max(one.run.trial.slot for one in trained) + 1, "cpu").concurrency
    weights = (n_slots if one.run.trial.plan.whole_of is not None else 1 for one in trained)
    return sum(weight * (one.end - one.begin) for weight, one in zip(weights, trained, strict=True)) / (n_slots * busy)


def memory(uses: dict[str, ResourceUse]) -> None:
    """Print the peak memory and the CPU time of each role. Processes that end between two measurements are missed."""
    print(f"{'memory, MB, shared pages by their share':42} {'one':>7} {'together':>9} {'CPU s':>8}")
    for role in (role for role in ROLES if role in uses):
        use = uses[role]
        print(f"  {role:40} {use.one / MB:7.0f} {use.together / MB:9.0f} {use.seconds:8.1f}")
    print(f"  {'all':48} {uses[ALL].together / MB:9.0f}")


def disk(outputs: Path, name: str) -> None:
    """Print what a sweep uses on disk, by kind of file, and what it shares with other sweeps."""
    sizes: dict[str, list[int]] = {}
    for file in outputs.rglob("*"):
        inside = file.relative_to(outputs).parts
        if file.is_file() and (inside[0] == name or inside[0] in SHARED):
            sizes.setdefault(kind(inside[1:] if inside[0] == name else inside), []).append(file.stat().st_size)
    n_trials = len(read_runs(outputs / name))
    print(f"{'disk':42} {'files':>7} {'MB':>9} {'kB a trial':>11}")
    for what, of in sorted(sizes.items(), key=lambda pair: -sum(pair[1])):
        print(f"  {what:40} {len(of):7} {sum(of) / MB:9.1f} {sum(of) / n_trials / 1e3:11.1f}")


def kind(parts: Sequence[str]) -> str:
    """The kind of a file, by its path in the sweep's folder, or in the outputs folder."""
    if parts[0].startswith("block_"):
        return OF_TRIALS.get(parts[-1], "other of trials")
    return SHARED.get(parts[0], parts[0])


if __name__ == "__main__":
    main()
