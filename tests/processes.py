"""Runs a sweep in processes of its own, which a test starts, interrupts and starts again, and reads its study."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import optuna
import psutil

from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.study.studies import all_blocks, all_studies, open_storage

WAIT_S = 600
MARK = "SIREN_SWEEP_TEST_MARK"  # an environment variable that all processes of a sweep inherit
Table = list[tuple[object, ...]]
T = TypeVar("T")


@dataclass
class Home:
    """A folder with the sweep `s` in `out`, and the command that runs it."""

    root: Path
    command: Sequence[str]
    env: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    program: Sequence[str] = ("-m", "siren_sweep")
    before: Sequence[str] = ()  # the beginning of the command line, such as a program that runs others

    @property
    def paths(self) -> SweepPaths:
        return OutputPaths(self.root / "out").sweep("s")

    def start(self, *more: str) -> subprocess.Popen[str]:
        """Start the command."""
        return subprocess.Popen(
            [*self.before, sys.executable, *self.program, *self.command, "sweep.name=s", "outputs_dir=out", *more],
            cwd=self.root,
            env={**os.environ, **self.env, MARK: self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, *more: str) -> str:
        """Run the command, which must succeed; returns its output."""
        with self.start(*more) as sweep:
            out, err = sweep.communicate(timeout=WAIT_S)
        assert sweep.returncode == 0, out + err
        assert "Traceback" not in err, err
        return out + err

    def refused(self, *more: str) -> str:
        """Run the command, which must end with one error message; returns its output to stderr."""
        with self.start(*more) as sweep:
            return told_by(sweep)

    def studies(self) -> dict[int, optuna.Study]:
        return all_blocks(open_storage(self.env.get("SIREN_SWEEP_STORAGE_URL"), self.paths))

    def table(self) -> Table:
        """One row for each trial of the sweep, and for each run of the validation."""
        storage = open_storage(self.env.get("SIREN_SWEEP_STORAGE_URL"), self.paths)
        try:
            studies = [study for found in all_studies(storage) for study in found.values()]
            return [
                (study.study_name, trial.number, trial.state, tuple(sorted(trial.params.items())), trial.value)
                for study in studies
                for trial in study.trials
            ]
        finally:  # else connections to a server stay open, which Python warns of
            storage._backend.engine.dispose()  # type: ignore[attr-defined]

    def processes(self) -> list[psutil.Process]:
        """All living processes that this home has started, also indirectly."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def reporting(self) -> bool:
        """Whether some trial has reported, read from the file itself: the sweep may still be making its tables."""
        try:
            address = f"{self.paths.study_db.as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
                query = "SELECT count(*) FROM trial_user_attributes WHERE key = 'reports'"
                return bool(database.execute(query).fetchone()[0])
        except sqlite3.Error:
            return False

    def assert_as(self, undisturbed: Table) -> None:
        """Assert that the sweep has the same trials as the undisturbed one, and that all its processes have ended."""
        assert self.table() == undisturbed
        until(lambda: not self.processes(), "the end of all processes")


def told_by(sweep: subprocess.Popen[str]) -> str:
    """Wait for a sweep that must end with exit code 2, one error message and no traceback; returns the message."""
    out, err = sweep.communicate(timeout=WAIT_S)
    assert sweep.returncode == 2, out + err
    assert "Traceback" not in out + err, out + err
    assert sum(line.startswith("error: ") for line in err.splitlines()) == 1, err
    return err


@contextlib.contextmanager
def ended(home: Home) -> Iterator[Home]:
    """Yield the home; then kill all processes that a failed test has left."""
    try:
        yield home
    finally:
        for process in home.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()


def until(condition: Callable[[], T], what: str) -> T:
    """Wait until `condition` returns something true; returns that."""
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {WAIT_S} s for {what}"
        time.sleep(0.1)
    return found


def workers(parent: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of a sweep that train trials."""
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(parent.pid).children()
        servers = [child for child in children if "forkserver" in " ".join(child.cmdline())]
        return [worker for server in servers for worker in server.children() if trial_of(worker)]
    return []


def trial_of(worker: psutil.Process) -> str | None:
    """The trial that a worker trains, such as `block_01/trial_0003`, by the files that it has open; or None."""
    with contextlib.suppress(psutil.Error):
        for file in worker.open_files():
            folder = Path(file.path).parent
            if folder.name.startswith("trial_"):
                return f"{folder.parent.name}/{folder.name}"
    return None


def kill(process: psutil.Process | subprocess.Popen[str], how: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that may have ended already."""
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        process.send_signal(how)
