"""A sweep whose worker or parent is killed, or that is interrupted: nothing lost, nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import psutil
import pytest
from conftest import run_command, told
from mlflow import MlflowClient
from optuna.trial import TrialState

from siren_sweep.paths import OutputPaths
from siren_sweep.studies import all_blocks, open_storage

SCHEDULE = "blocks.schedule=[{n_training_frames:8,total_steps:3000},{n_training_frames:12,total_steps:1000}]"
WAIT_S = 120


@pytest.fixture(scope="module")
def command(own_data: list[str]) -> list[str]:
    return ["-m", "blocks=tiny", *own_data, SCHEDULE, "sweep.name=s", "outputs_dir=out", "claude.n_iter_block=3"]


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


def start(command: list[str], home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "siren_sweep", *command],
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_S} s for {what}"
        time.sleep(0.1)


def reporting(home: Path) -> list[optuna.trial.FrozenTrial]:
    """Trials that run and have reported."""
    if not (home / "out/s/study.db").exists():
        return []
    try:
        trials = [trial for study in studies(home).values() for trial in study.trials]
    except optuna.exceptions.StorageInternalError:  # the tables are being made
        return []
    return [trial for trial in trials if trial.user_attrs.get("reports") and "outcome" not in trial.user_attrs]


def workers(parent: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes that the forkserver of a sweep has made."""
    servers = [child for child in psutil.Process(parent.pid).children() if "forkserver" in " ".join(child.cmdline())]
    return [worker for server in servers for worker in server.children()]


def test_a_killed_worker_costs_no_trial(command: list[str], undisturbed: list[object], tmp_path: Path) -> None:
    sweep = start([*command, "tracking=none"], tmp_path)
    until(lambda: reporting(tmp_path), "a report")
    workers(sweep)[0].kill()
    _, stderr = sweep.communicate(timeout=WAIT_S)
    assert sweep.returncode == 0, stderr
    assert table(tmp_path) == undisturbed
    deaths = [trial.user_attrs.get("deaths") for study in studies(tmp_path).values() for trial in study.trials]
    assert [reason for reason in deaths if reason] == [["the worker was killed by SIGKILL"]]


def test_a_killed_parent_takes_its_workers_along_and_the_same_command_goes_on(
    command: list[str], undisturbed: list[object], tmp_path: Path
) -> None:
    sweep = start(command, tmp_path)
    until(lambda: reporting(tmp_path), "a report")
    second = told(run_command(*command, cwd=tmp_path))
    assert "the sweep 's' is being run already" in second
    assert str(sweep.pid) in second
    family = psutil.Process(sweep.pid).children(recursive=True)
    sweep.kill()
    sweep.communicate()
    until(lambda: not any(process.is_running() for process in family), "the workers' end")
    result = run_command(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert table(tmp_path) == undisturbed
    client = MlflowClient(OutputPaths(tmp_path / "out").mlflow_uri)
    (experiment,) = client.search_experiments(filter_string="name = 's'")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["key"] for run in runs) == sorted({run.data.tags["key"] for run in runs})
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    for run in runs:
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "r2")]
        assert steps == sorted(set(steps))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_says_so_and_goes_on(
    how: signal.Signals, command: list[str], undisturbed: list[object], tmp_path: Path
) -> None:
    sweep = start([*command, "tracking=none"], tmp_path)
    until(lambda: reporting(tmp_path), "a report")
    family = psutil.Process(sweep.pid).children(recursive=True)
    sweep.send_signal(how)
    _, stderr = sweep.communicate(timeout=WAIT_S)
    assert sweep.returncode == 130
    assert "the same command goes on from here" in stderr
    assert "Traceback" not in stderr
    until(lambda: not any(process.is_running() for process in family), "the workers' end")
    assert any(trial.state is TrialState.RUNNING for study in studies(tmp_path).values() for trial in study.trials)
    result = run_command(*command, "tracking=none", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert table(tmp_path) == undisturbed
