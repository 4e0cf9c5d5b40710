"""A sweep whose worker or parent is killed, or that is interrupted: nothing lost, nothing left behind."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import psutil
import pytest
from conftest import run_command
from mlflow import MlflowClient
from optuna.trial import TrialState
from processes import WAIT_S, until, workers

from siren_sweep.paths import OutputPaths, sqlite_url
from siren_sweep.study.studies import all_blocks, open_storage

SCHEDULE = "blocks.schedule=[{n_training_frames:8,total_steps:4000}]"


@pytest.fixture(scope="module")
def command(own_data: list[str]) -> list[str]:
    whole = ["pauses_at=[]", "claude.solved_r2=null"]  # trials long enough to be killed
    own = ["sweep.name=s", "outputs_dir=out", "claude.n_iter_block=3"]
    return ["-m", "blocks=tiny", *own_data, SCHEDULE, *own, *whole]


@pytest.fixture(scope="module")
def undisturbed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    home = tmp_path_factory.mktemp("undisturbed")
    result = run_command(*command, "tracking=none", cwd=home)
    assert result.returncode == 0, result.stderr
    return table(home)


def table(home: Path) -> list[tuple[object, ...]]:
    """What a sweep has found: a row a trial."""
    return [
        (number, trial.number, trial.state, trial.params, trial.value)
        for number, study in studies(home).items()
        for trial in study.trials
    ]


def studies(home: Path) -> dict[int, optuna.Study]:
    return all_blocks(open_storage(None, OutputPaths(home / "out").sweep("s")))


@contextlib.contextmanager
def started(home: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A sweep in `home`, which is ended where a test fails."""
    with subprocess.Popen(
        [sys.executable, "-m", "siren_sweep", *command],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as sweep:
        try:
            yield sweep
        finally:
            sweep.kill()


def reporting(home: Path) -> bool:
    """Whether some trial has reported; a plain read, since the sweep may be making its tables."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{home / 'out/s/study.db'}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT count(*) FROM trial_user_attributes WHERE key = 'reports'").fetchone()
    except sqlite3.OperationalError:
        return False
    return bool(found[0])


def interrupted(sweep: subprocess.Popen[str], how: signal.Signals, home: Path) -> None:
    """Ask a sweep to stop: it says that it goes on, leaves no process, and its trials open."""
    until(lambda: reporting(home), "a report")
    family = psutil.Process(sweep.pid).children(recursive=True)
    sweep.send_signal(how)
    _, stderr = sweep.communicate(timeout=WAIT_S)
    assert sweep.returncode == 130
    assert "the same command goes on from here" in stderr
    assert "Traceback" not in stderr
    until(lambda: not any(process.is_running() for process in family), "the workers' end")
    assert any(trial.state is TrialState.RUNNING for study in studies(home).values() for trial in study.trials)


def test_a_sweep_that_is_interrupted_and_killed_and_loses_a_worker_finds_the_same(
    command: list[str], undisturbed: list[object], told_here: Callable[..., str], tmp_path: Path
) -> None:
    with started(tmp_path, *command, "tracking=none") as sweep:
        interrupted(sweep, signal.SIGINT, tmp_path)
    with started(tmp_path, *command) as sweep:
        until(lambda: workers(sweep), "a worker")
        family = psutil.Process(sweep.pid).children(recursive=True)
        sweep.kill()
        sweep.communicate()
        until(lambda: not any(process.is_running() for process in family), "the workers' end")
    with started(tmp_path, *command) as sweep:
        until(lambda: workers(sweep), "a worker")[0].kill()
        second = told_here(*command)
        assert "the sweep 's' is being run already" in second
        assert str(sweep.pid) in second
        _, stderr = sweep.communicate(timeout=WAIT_S)
        assert sweep.returncode == 0, stderr
    assert table(tmp_path) == undisturbed
    deaths = [trial.user_attrs.get("deaths") for study in studies(tmp_path).values() for trial in study.trials]
    assert [reason for reason in deaths if reason] == [["the worker was killed by SIGKILL"]]
    client = MlflowClient(sqlite_url(OutputPaths(tmp_path / "out").mlflow_db))
    (experiment,) = client.search_experiments(filter_string="name = 's'")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["key"] for run in runs) == sorted({run.data.tags["key"] for run in runs})
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    for run in runs:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "r2")]
        assert steps == sorted(set(steps))


@pytest.mark.slow
def test_a_sweep_that_is_preempted_goes_on(command: list[str], undisturbed: list[object], tmp_path: Path) -> None:
    with started(tmp_path, *command, "tracking=none") as sweep:
        interrupted(sweep, signal.SIGTERM, tmp_path)
    result = run_command(*command, "tracking=none", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert table(tmp_path) == undisturbed
