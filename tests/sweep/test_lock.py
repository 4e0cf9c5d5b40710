"""Who runs a sweep: one process, and a second one is told before it does anything."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from siren_sweep.errors import SweepStateError
from siren_sweep.paths import OutputPaths
from siren_sweep.sweep.lock import locked


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


def test_what_holds_a_lock_may_ask_again_and_the_outer_one_lets_go(tmp_path: Path) -> None:
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
