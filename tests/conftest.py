"""Fixtures of all tests: small fields on disk, and the command, in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from fields import make_field_folder
from processes import Home, Table, ended

from siren_sweep.cli.main import main
from siren_sweep.study.studies import STORAGE_URL_VARIABLE
from siren_sweep.views.mlflow.address import VARIABLE as TRACKING_URI

N_NEURONS = 152  # of `field_folder`: 19 columns, 8 receptors each


def pytest_configure(config: pytest.Config) -> None:
    """Limit each process to one thread, since torch would use all cores, and remove addresses of a person's servers."""
    os.environ.update(OMP_NUM_THREADS="1", MLFLOW_DISABLE_TELEMETRY="true", PYTHONPATH="")
    for address in (TRACKING_URI, STORAGE_URL_VARIABLE):
        os.environ.pop(address, None)


@pytest.fixture(autouse=True, scope="module")
def no_address_is_left() -> Iterator[None]:
    """Fail where a test leaves an address of MLflow set, since the sweeps of the next tests would track there."""
    yield
    left = os.environ.get(TRACKING_URI) or ("mlflow" in sys.modules and sys.modules["mlflow"].is_tracking_uri_set())
    assert not left, "a test has set MLflow's address for all tests that follow"


@pytest.fixture(scope="session")
def field_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 frames of a moving pattern, 19 columns, eight receptors a column."""
    return make_field_folder(tmp_path_factory.mktemp("data") / "field", n_frames=16)


@pytest.fixture(scope="session")
def own_data(field_folder: Path) -> list[str]:
    """The overrides that point a run at `field_folder`."""
    return ["dataset=flyvis", f"dataset.path={field_folder}", f"dataset.n_input_neurons={N_NEURONS}"]


@dataclass(frozen=True)
class Swept:
    """A sweep that has run, for tests that only read it."""

    command: list[str]
    outputs: Path
    result: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def smallest(own_data: list[str], tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """A sweep of two blocks with one trial each."""
    outputs = tmp_path_factory.mktemp("smallest") / "out"
    command = ["-m", "blocks=tiny", *own_data, f"outputs_dir={outputs}", "claude.n_iter_block=1", "tracking=none"]
    result = run_command(*command, cwd=outputs.parent)
    assert result.returncode == 0, result.stderr
    return Swept(command, outputs, result)


@pytest.fixture(scope="session")
def long_command(own_data: list[str]) -> list[str]:
    """The command of a sweep of two batches, which take seconds each, so that a test can interrupt it."""
    schedule = "blocks.schedule=[{n_training_frames:8,total_steps:3000}]"
    return ["-m", "blocks=tiny", *own_data, schedule, "claude.n_iter_block=7", "training.checkpoint_every_s=0.2"]


@pytest.fixture(scope="session")
def undisturbed(long_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Table:
    """The trials of `long_command` when it is not interrupted."""
    home = Home(tmp_path_factory.mktemp("undisturbed"), long_command)
    home.finish("tracking=none")
    return home.table()


@pytest.fixture
def home(long_command: list[str], tmp_path: Path) -> Iterator[Home]:
    """A folder in which a test runs and interrupts `long_command`."""
    with ended(Home(tmp_path, long_command)) as own:
        yield own


Run = Callable[..., subprocess.CompletedProcess[str]]


def run_command(
    *arguments: str,
    cwd: Path,
    module: str = "siren_sweep",
    timeout_s: float = 600,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m MODULE ARGUMENTS` in the folder `cwd`."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """As `run_command` in `tmp_path`, but within this process, which is faster. The command must not train."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["siren_sweep", *arguments])
        capsys.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as ending:
            code = ending.code or 0
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())  # type: ignore[arg-type]

    return run


@pytest.fixture
def told_here(run_here: Run) -> Callable[..., str]:
    """As `told`, but within this process. The command must end before it trains."""
    return lambda *arguments: told(run_here(*arguments))


def told(result: subprocess.CompletedProcess[str]) -> str:
    """The error message of a command. Asserts that it ended with exit code 2, with one message and no traceback."""
    assert result.returncode == 2, result.stderr + result.stdout
    assert "Traceback" not in result.stderr + result.stdout
    assert result.stderr.count("error: ") == 1, result.stderr
    assert "Error executing" not in result.stderr, result.stderr  # Hydra's own line before an error
    return result.stderr
