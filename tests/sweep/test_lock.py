"""Who runs a sweep: one process, and a second one is told before it does anything."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from siren_sweep.errors import OutputError, SweepStateError
from siren_sweep.paths import OutputPaths
from siren_sweep.sweep.lock import locked, training, wait_for_end


def test_a_second_start_is_told_before_heavy_imports_and_checks(tmp_path: Path) -> None:
    command = ["-m", "siren_sweep", "-m", "sweep.name=s", "outputs_dir=x/../out", "dataset=flyvis", "training.seed=-1"]
    with locked(OutputPaths(tmp_path / "out").sweep("s")):
        second = subprocess.run(
            [sys.executable, "-X", "importtime", *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert second.returncode == 2, second.stderr
    assert "the sweep 's' is being run already" in second.stderr
    assert str(os.getpid()) in second.stderr
    assert not re.findall(r"\| +(torch|optuna|mlflow|zarr)$", second.stderr, re.MULTILINE)
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {"s", "sweep.lock"}


def test_a_lock_may_be_held_several_times_and_the_outer_context_frees_it(tmp_path: Path) -> None:
    paths = OutputPaths(tmp_path).sweep("s")
    ask = "import sys; from siren_sweep.sweep.lock import *\nwith locked(SweepPaths(Path(sys.argv[1]))): pass"
    with locked(paths):
        with locked(paths):
            pass
        assert json.loads(paths.lock.read_text())["pid"] == os.getpid()
        other = subprocess.run([sys.executable, "-c", ask, paths.root], capture_output=True, text=True, check=False)
        assert SweepStateError.__name__ in other.stderr
    subprocess.run([sys.executable, "-c", ask, paths.root], check=True)
    with pytest.raises(RuntimeError), locked(paths):
        raise RuntimeError
    subprocess.run([sys.executable, "-c", ask, paths.root], check=True)


def test_the_end_of_a_trial_is_waited_for_whichever_attempt_trains_it(tmp_path: Path) -> None:
    lock = tmp_path / "trial" / "trial.lock"
    assert wait_for_end(lock) == 0
    assert not lock.exists()
    train = "import sys, time; from siren_sweep.sweep.lock import *\nwith training(Path(sys.argv[1]), 3):"
    with training(lock, 2):
        pass
    assert wait_for_end(lock) == 2
    command = [sys.executable, "-c", f"{train} print(flush=True); sys.stdin.read()", str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdout.readline()
        with training(lock, 4):  # of which the third knows nothing
            other.stdin.close()
        assert wait_for_end(lock) == 4
        assert other.wait() == 0
    lock.write_text("")  # it died as it began
    assert wait_for_end(lock) == 0


def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_lock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_lock)
    refused = pytest.raises(OutputError, match=f"a file system with locks.*got {tmp_path} .No locks available")
    with refused, locked(OutputPaths(tmp_path).sweep("s")):
        raise AssertionError


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = pytest.raises(OutputError, match=r"must be a folder that can be written.*file .Not a directory")
    with refused, locked(OutputPaths(tmp_path / "file").sweep("s")):
        raise AssertionError
