"""Servers that go and come back under a sweep, and a clock that jumps."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import run_command
from mlflow import MlflowClient
from postgres import PASSWORD, postgres
from processes import Home, Table, kill, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[None]:
    """A tracking server over `folder`, killed at the end with all that it started."""
    folder.mkdir(exist_ok=True)
    store = f"sqlite:///{folder / 'mlflow.db'}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=env)
    try:
        until(lambda: reachable(port), "the MLflow server")
        yield
    finally:
        for process in [*psutil.Process(server.pid).children(recursive=True), server]:
            kill(process)
        server.wait()


def reachable(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def test_an_mlflow_server_killed_and_brought_back_gets_all_in_order_and_once(home: Home, undisturbed: Table) -> None:
    port, place = free_port(), home.root / "server"
    uri = f"tracking.uri=http://127.0.0.1:{port}"
    client = MlflowClient(f"http://127.0.0.1:{port}")
    with contextlib.ExitStack() as stack:
        with mlflow_server(place, port):
            sweep = stack.enter_context(home.start(uri))
            until(lambda: client.get_experiment_by_name("s") is not None, "an experiment")
            until(home.reporting, "a report")
        assert sweep.poll() is None
        _, err = sweep.communicate(timeout=600)
        assert sweep.returncode == 0, err
    assert "MLflow cannot be reached" in err
    home.assert_as(undisturbed)
    with mlflow_server(place, port):
        sent = run_command("sync", "out/s", cwd=home.root)
        assert sent.stdout == f"MLflow at http://127.0.0.1:{port} has all of s\n", sent.stderr
        home.finish(uri)
        assert not (home.root / "out/mlflow.db").exists()
        experiment = client.get_experiment_by_name("s")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        keys = sorted(run.data.tags["key"] for run in runs)
        trials = [f"{study}/trial_{number:04d}" for study, number, *_ in undisturbed]
        assert keys == sorted([*trials, "block_01", "sweep"])
        assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
        for run in runs:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "r2")]
            assert steps == sorted(set(steps))


def test_postgresql_restarted_in_mid_sweep_is_waited_for(home: Home, undisturbed: Table) -> None:
    with postgres() as server:
        home.env = {"SIREN_SWEEP_STORAGE_URL": server.url}
        with home.start("tracking=none") as sweep:
            until(lambda: len(home.table()) >= 4, "a batch")
            for how in ("fast", "immediate"):
                time.sleep(3)
                assert sweep.poll() is None, sweep.communicate()
                server.ctl("stop", "-m", how)
                time.sleep(4)
                server.start()
            out, err = sweep.communicate(timeout=600)
        assert sweep.returncode == 0, out + err
        home.assert_as(undisturbed)
        assert not home.paths.study_db.exists()
        refused = home.refused("sweep.name=other", "tracking=none")  # it would go on with this one's studies
        assert "sweep.name was 's', now 'other'" in refused
        assert PASSWORD not in out + err
    assert not [file for file in home.root.rglob("*") if file.is_file() and PASSWORD.encode() in file.read_bytes()]


@pytest.mark.parametrize("jump", ["-400d", "+400d"])
def test_a_clock_that_jumps_changes_nothing(jump: str, home: Home, undisturbed: Table) -> None:
    """The clock of the day alone, as a clock that is set does: what measures durations does not see it."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        pytest.skip("libfaketime is not installed (Debian: apt-get install libfaketime)")
    clock = home.root / "clock"
    clock.write_text("+0\n")
    home.env = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    with home.start() as sweep:
        until(home.reporting, "a report")
        clock.write_text(f"{jump}\n")
        time.sleep(4)
        clock.write_text("+0\n")
        _, err = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, err
    assert "MLflow could not be reached" not in err
    home.assert_as(undisturbed)
    for trial in (trial for study in home.studies().values() for trial in study.trials):
        times = [report["elapsed_s"] for report in trial.user_attrs["reports"]]
        assert times == sorted(times)
        assert times[-1] < 3600


def test_the_jump_is_seen_by_the_clock_of_the_day(home: Home) -> None:
    """Else the test before this one shows nothing."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None or shutil.which("date") is None:
        pytest.skip("libfaketime is not installed (Debian: apt-get install libfaketime)")
    (home.root / "clock").write_text("+400d\n")
    env = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(home.root / "clock"),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    shown = [
        subprocess.run(
            [sys.executable, "-c", "import time; print(time.time(), time.monotonic())"],
            env=own,
            text=True,
            capture_output=True,
            check=True,
        ).stdout.split()
        for own in (env, {})
    ]
    assert float(shown[0][0]) - float(shown[1][0]) > 399 * 86400
    assert abs(float(shown[0][1]) - float(shown[1][1])) < 3600
