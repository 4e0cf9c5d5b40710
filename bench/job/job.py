"""Compares siren_sweep with what one would use otherwise, from the first command to a network that fits.

    make bench-job DATA=PATH [FRAMES=100,1000] [SEEDS=1,2,3] [SIDES=ours,stock] [MINUTES=10] [OUT=outputs/bench_job]

The compared programs are called sides. They run one after the other, each alone on the machine, with the same task
(`task.py`), until they end or reach the time limit. A cell is a number of frames, a side and a seed. Its result is the
file OUT/cells/NAME.json: a benchmark that was stopped goes on with the cells that have none. The table and the picture
are made from these files.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from outcomes import SWEEP, Seen, files_left, ours_best, ours_seen, stock_best, stock_seen
from report import write
from task import Task, usual_steps

from siren_sweep.errors import SweepError
from siren_sweep.paths import replacing
from siren_sweep.train.machine import n_cores
from siren_sweep.train.provenance import commit, cpu_name

BENCH = Path(__file__).parents[1]
LIMITS_MIN = {0: 5, 100: 15, 1000: 30, 10_000: 60}  # time limit by the least number of frames to which it applies
GRACE_S = 60  # between Ctrl-C and the end of a side's processes
WARM_UP_S = 45
MOST_LOAD = 1.0  # load average before a cell, above which other work must be running


@dataclass(frozen=True)
class Side:
    """How a side is started in a folder of its own, and how its results are read from there."""

    command: Callable[[Path, Task], list[str]]
    seen: Callable[[Path], list[Seen]]
    best: Callable[[Path, Task], float | None]
    windows_only: bool = False  # whether it is only run where the default search space has windows


def ours(*more: str, windows_only: bool = False) -> Side:
    """The side that runs a sweep of one block, by the command that a person types; `more` are overrides."""

    def command(work: Path, task: Task) -> list[str]:
        own = [f"outputs_dir={work}", f"sweep.name={SWEEP}", *more]
        return [sys.executable, "-m", "siren_sweep", "-m", *task.overrides, *own]

    return Side(command, ours_seen, ours_best, windows_only)


def stock(*more: str) -> Side:
    """The side that runs `stock.py` with the options `more`."""

    def command(work: Path, task: Task) -> list[str]:
        script = str(BENCH / "job" / "stock.py")
        return ["env", f"PYTHONPATH={BENCH}", sys.executable, script, str(work), "--task", task.text, *more]

    return Side(command, stock_seen, stock_best)


SIDES = {
    "ours": ours(),
    "ours_one_network": ours("search_space=one_network", windows_only=True),
    "stock": stock(),
    "stock_median": stock("--pruner", "median"),
    "stock_compiled": stock("--compiled"),
    "flyvis_defaults": stock("--defaults"),
}
USUAL = "ours,ours_one_network,stock,stock_compiled,flyvis_defaults"


@dataclass(frozen=True)
class Cell:
    """One side with one task."""

    side: str
    task: Task

    @property
    def name(self) -> str:
        return f"{self.task.n_frames:05d}_{self.side}_{self.task.seed}"


def main() -> None:
    options = parsed()
    try:
        cells = all_cells(options)
        missing = [cell for cell in cells if not options.result(cell).exists()]
        if missing:
            warm_up(sorted({cell.side for cell in missing}), missing[0].task)
        for number, cell in enumerate(missing, 1):
            load, limit_s = os.getloadavg()[0], options.limit_s(cell)
            busy = f"; the machine is busy, its load is {load:.1f}" if load > MOST_LOAD else ""
            print(f"{number} of {len(missing)}: {cell.name}, at most {limit_s / 60:g} min{busy}", flush=True)
            result = run(cell, options.out / "work" / cell.name, limit_s)
            with replacing(options.result(cell)) as file:
                file.write_text(json.dumps(result, indent=1) + "\n")
            write(options.out)
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(write(options.out))


class Options(argparse.Namespace):
    """The command line."""

    data: Path
    frames: list[int]
    seeds: list[int]
    sides: list[str]
    minutes: float | None
    steps: int | None
    neurons: int
    out: Path

    def result(self, cell: Cell) -> Path:
        """The file of a cell's result."""
        return self.out / "cells" / f"{cell.name}.json"

    def limit_s(self, cell: Cell) -> float:
        """The time limit of a cell, in seconds."""
        usual = max((frames, minutes) for frames, minutes in LIMITS_MIN.items() if frames <= cell.task.n_frames)[1]
        return 60 * (self.minutes or usual)


def parsed() -> Options:
    """Parse the command line; ends with a message where it is wrong."""

    def words(text: str) -> list[str]:
        return text.split(",")

    def numbers(text: str) -> list[int]:
        return [int(word) for word in words(text)]

    limits = ", ".join(f"from {frames} frames on {minutes}" for frames, minutes in LIMITS_MIN.items())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data: a folder with stimulus.zarr and pos.zarr")
    parser.add_argument("--frames", type=numbers, default=[100, 1000], help="numbers of frames (100,1000)")
    parser.add_argument("--seeds", type=numbers, default=[1, 2, 3], help="seeds (1,2,3)")
    parser.add_argument("--sides", type=words, default=words(USUAL), help=f"some of {', '.join(SIDES)} ({USUAL})")
    parser.add_argument("--minutes", type=float, help=f"time limit of a cell ({limits})")
    parser.add_argument("--steps", type=int, help="steps of a full trial (those of conf/blocks/full.yaml)")
    parser.add_argument("--neurons", type=int, default=1736, help="input neurons of the data (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench_job"), help="folder of results (%(default)s)")
    options = parser.parse_args(namespace=Options())
    if unknown := [side for side in options.sides if side not in SIDES]:
        parser.error(f"a side must be one of {', '.join(SIDES)}, got {', '.join(unknown)}")
    return options


def all_cells(options: Options) -> list[Cell]:
    """All cells in the order in which they run: all sides of a task, then the next task, then the next seed.

    Raises DataError where the data cannot be read.
    """
    cells = []
    for seed, n_frames in itertools.product(options.seeds, sorted(options.frames)):
        steps = options.steps or usual_steps(n_frames)
        task = Task(str(options.data.absolute()), options.neurons, n_frames, steps, seed)
        if seed == options.seeds[0]:
            task.field(None)
        windows = task.one_network_space() != "default"
        cells += [Cell(side, task) for side in options.sides if windows or not SIDES[side].windows_only]
    return cells


def warm_up(sides: Sequence[str], task: Task) -> None:
    """Run each side briefly, so that no cell's time has the first reading of a file or the compilation of a kernel."""
    print(f"warming up: {', '.join(sides)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for side in sides:
            small = Task(task.data, task.n_neurons, 10, 20, 0)
            execute(SIDES[side].command(Path(folder) / side, small), Path(folder) / side, WARM_UP_S)


def run(cell: Cell, work: Path, limit_s: float) -> dict[str, Any]:
    """Run a cell in a new folder; returns its result. Raises SweepError where the side ended with an error."""
    shutil.rmtree(work, ignore_errors=True)
    side, load, began = SIDES[cell.side], os.getloadavg()[0], time.time()
    code = execute(side.command(work, cell.task), work, limit_s)
    took_s = time.time() - began
    if code:
        log = (work / "log.txt").read_text(errors="replace").splitlines()[-20:]
        raise SweepError("\n".join([f"{cell.name} must end well, and ended with code {code}:", *log]))
    seen = [one for one in side.seen(work) if one.at - began <= limit_s]
    return {
        "side": cell.side,
        "task": vars(cell.task),
        "limit_s": limit_s,
        "at_limit": code is None,
        "took_s": took_s,
        "seen": climb(began, seen),
        "kept": climb(began, [one for one in seen if one.kept]),
        "best_on_disk": side.best(work, cell.task),
        "left": files_left(work),
        "machine": {"cpu": cpu_name(), "n_cores": n_cores(), "load_before": load, "commit": commit()},
    }


def climb(began: float, seen: Sequence[Seen]) -> list[tuple[float, float]]:
    """(seconds after the start, R2) of each R2 that is better than all before."""
    steps: list[tuple[float, float]] = []
    for one in sorted(seen, key=lambda one: one.at):
        if one.r2 > (steps[-1][1] if steps else -float("inf")):
            steps.append((round(one.at - began, 3), one.r2))
    return steps


def execute(command: Sequence[str], work: Path, limit_s: float) -> int | None:
    """Run a command, with its output in `work`/log.txt; returns its exit code, or None where it reached its limit."""
    work.mkdir(parents=True, exist_ok=True)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # it is this benchmark's own
    with open(work / "log.txt", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=env)
        try:
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Send SIGINT to all that the command started, as Ctrl-C in a terminal does, and kill what still runs later."""
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    process.kill()
    process.wait()
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()


if __name__ == "__main__":
    main()
