"""The same sweep under Hydra's own launchers; a job that dies hard costs no other job its outcome."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from processes import Home, Table, ended, kill, trial_of, until

pytestmark = pytest.mark.slow

SCHEDULE = "blocks.schedule=[{n_training_frames:8,total_steps:4000}]"


@pytest.fixture(scope="module")
def command(own_data: list[str]) -> list[str]:
    return ["-m", "blocks=tiny", *own_data, SCHEDULE, "claude.n_parallel=3", "claude.n_iter_block=3", "tracking=none"]


@pytest.fixture(scope="module")
def undisturbed(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Table:
    home = Home(tmp_path_factory.mktemp("undisturbed"), command)
    home.finish()
    return home.table()


@pytest.fixture
def home(command: list[str], tmp_path: Path) -> Iterator[Home]:
    with ended(Home(tmp_path, command)) as own:
        yield own


def test_the_basic_launcher_runs_the_same_sweep(home: Home, undisturbed: Table) -> None:
    home.finish("hydra/launcher=basic")
    assert home.table() == undisturbed


@pytest.mark.skipif(not importlib.util.find_spec("submitit"), reason="the extra `submitit` is not installed")
def test_a_job_that_dies_hard_under_submitit_costs_no_other_its_outcome(home: Home, undisturbed: Table) -> None:
    with home.start("hydra/launcher=submitit_local") as sweep:
        until(lambda: running(home, "block_01/trial_0000") or sweep.poll() is not None, "the first trial's job")
        kill(running(home, "block_01/trial_0000")[0])
        out, err = sweep.communicate(timeout=240)
    assert sweep.returncode == 0, out + err
    home.assert_as(undisturbed)
    (study,) = home.studies().values()
    assert [len(trial.user_attrs.get("deaths", [])) for trial in study.trials] == [1, 0, 0]
    assert [trial.user_attrs["outcome"]["status"] for trial in study.trials] != ["failed"] * 3


def running(home: Home, trial: str) -> list[psutil.Process]:
    """The processes that train a trial."""
    return [process for process in home.processes() if trial_of(process) == trial]
