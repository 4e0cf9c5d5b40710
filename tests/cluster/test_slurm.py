"""A sweep on a real SLURM and PostgreSQL, both of Debian's packages: whatever is lost, the table is the same."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from optuna.storages import BaseStorage
from postgres import PASSWORD, Server, postgres
from processes import MARK, Home, Table, ended, kill, trial_of, until
from slurm import Slurm, slurm

from siren_sweep.study.records import Trial
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import STORAGE_URL_VARIABLE, all_blocks, open_storage
from siren_sweep.sweep.lock import last_attempt

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

SCHEDULE = "blocks.schedule=[{n_training_frames:4,total_steps:9000},{n_training_frames:8,total_steps:9000}]"
CLUSTER = ["cluster=slurm", "cluster.gpus=0", "cluster.cores=1", "cluster.memory_gb=1", "cluster.n_batches=2"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with slurm() as own:
        yield own


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as own:
        yield own


@pytest.fixture(scope="module")
def command(own_data: list[str]) -> list[str]:
    """Two blocks of two batches of two, both open at once, seconds a trial."""
    own = ["claude.n_parallel=2", "claude.n_iter_block=4", "training.checkpoint_every_s=0.2", "tracking=none"]
    return ["-m", "blocks=tiny", *own_data, SCHEDULE, *own, *CLUSTER]


class OnCluster(Home):
    """A home whose studies are in a database of its own, and whose trials are jobs."""

    def trials(self) -> list[Trial]:
        return [trial for study in all_blocks(self.storage).values() for trial in read_trials(study)]

    @functools.cached_property
    def storage(self) -> BaseStorage:
        return open_storage(self.env[STORAGE_URL_VARIABLE], self.paths)

    def training(self) -> list[psutil.Process]:
        """The processes of trials that have reported, and are not over."""
        open_ = {place_of(trial) for trial in self.trials() if trial.reports and trial.current is None}
        programs = [process for process in self.processes() if "siren_sweep.cli.job" in words_of(process)]
        return [process for process in programs if trial_of(process) in open_]


def words_of(process: psutil.Process) -> list[str]:
    """The words of the command that a process runs; none of one that is gone."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def frozen(home: OnCluster) -> tuple[psutil.Process, str]:
    """A process that trains its trial's current attempt, stopped in the middle of it, and that attempt's job.

    An earlier attempt's program may live on for a while, after its job.
    """
    while True:
        until(home.training, "a trial that trains")
        for process in home.training():
            with contextlib.suppress(psutil.Error):
                process.suspend()
                place = trial_of(process)
                time.sleep(0.5)  # what it has written so far has arrived
                for trial in home.trials():
                    begun = last_attempt(home.paths.root / place_of(trial) / "trial.lock") == trial.attempt
                    current = begun and f"trial.attempt={trial.attempt}" in words_of(process)
                    if place_of(trial) == place and current and trial.job is not None and trial.reached < 0.9:
                        return process, trial.job.id
                process.resume()


def place_of(trial: Trial) -> str:
    return f"block_{trial.plan.block:02d}/trial_{trial.number:04d}"


def current_jobs(home: OnCluster) -> set[str]:
    return {trial.job.id for trial in home.trials() if trial.job is not None}


@contextlib.contextmanager
def on_cluster(folder: Path, command: list[str], server: Server, cluster: Slurm) -> Iterator[OnCluster]:
    home, name = OnCluster(folder, command), f"d{os.urandom(4).hex()}"
    server.sql(f"CREATE DATABASE {name}")
    home.env = {**cluster.env, STORAGE_URL_VARIABLE: server.url.replace("/postgres", f"/{name}")}
    with ended(home):
        try:
            home.trials()  # makes the tables
            yield home
        finally:
            home.storage._backend.engine.dispose()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def undisturbed(
    command: list[str], server: Server, cluster: Slurm, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[OnCluster, Table, str]]:
    with on_cluster(tmp_path_factory.mktemp("undisturbed"), command, server, cluster) as home:
        said = home.finish()
        yield home, home.table(), said


@pytest.fixture
def home(command: list[str], server: Server, cluster: Slurm, tmp_path: Path) -> Iterator[OnCluster]:
    with on_cluster(tmp_path, command, server, cluster) as own:
        yield own


def test_a_sweep_says_no_more_than_one_in_slots_and_its_report_leads_to_the_logs(
    undisturbed: tuple[OnCluster, Table, str],
) -> None:
    home, _, said = undisturbed
    assert not [line for line in said.splitlines() if "sacct" in line or "WARNING" in line or "submitit" in line]
    assert all(trial.job is not None and not trial.deaths for trial in home.trials())
    report = home.paths.report.read_text()
    for trial in home.trials():
        assert trial.job is not None
        log = f"block_{trial.plan.block:02d}/trial_{trial.number:04d}/job_{trial.job.attempt}.log"
        assert f'href="{log}"' in report
        assert (home.paths.root / log).exists()
    assert not [file for file in home.root.rglob("*") if file.is_file() and PASSWORD.encode() in file.read_bytes()]


def test_batches_beyond_the_first_are_open_meanwhile(undisturbed: tuple[OnCluster, Table, str]) -> None:
    spells = [(trial.batch, trial.outcome) for trial in undisturbed[0].trials() if trial.plan.block == 1]
    times = [(batch, outcome.began_s or 0, outcome.ended_s or 0) for batch, outcome in spells if outcome]
    first_over = max(end for batch, _, end in times if batch == 1)
    assert any(begin < first_over for batch, begin, _ in times if batch == 2)


def test_a_node_a_job_its_program_and_the_servers_may_die(
    home: OnCluster, undisturbed: tuple[OnCluster, Table, str], server: Server, cluster: Slurm
) -> None:
    with home.start() as sweep:
        process, job = frozen(home)
        node = dict(cluster.jobs("RUNNING"))[job]
        cluster.kill(f"slurmd.{node}")
        until(lambda: job not in dict(cluster.jobs("RUNNING")), "the end of a job whose node is gone")
        until(lambda: job not in current_jobs(home), "another job of its trial")
        process.resume()  # it lives on, and is told apart by its attempt
        cluster.start("slurmd", "-N", node)
        process, job = frozen(home)
        cluster.ask("scancel", job)
        until(lambda: job not in current_jobs(home), "another job of the trial whose job was cancelled")
        process, job = frozen(home)
        kill(process)
        server.ctl("stop", "-m", "immediate")
        time.sleep(4)
        server.start()
        cluster.kill("slurmctld")
        time.sleep(8)
        cluster.start("slurmctld")
        out, err = sweep.communicate(timeout=900)
    assert sweep.returncode == 0, out + err
    assert "Traceback" not in err
    assert err.count("was ended, and the trial goes on in another one") >= 2
    home.assert_as(undisturbed[1])
    killed = "the job's program was killed by SIGKILL"
    assert [trial.deaths for trial in home.trials() if trial.deaths] == [(killed,)]


def test_a_job_that_is_held_waits_and_one_out_of_time_goes_on_from_its_checkpoint(
    home: OnCluster, undisturbed: tuple[OnCluster, Table, str], cluster: Slurm
) -> None:
    cluster.ask("scontrol", "update", "nodename=n2", "state=drain", "reason=test")
    with home.start() as sweep:
        _, job = frozen(home)
        until(lambda: cluster.jobs("PENDING"), "a job that waits")
        held = cluster.jobs("PENDING")[0][0]
        cluster.ask("scontrol", "hold", held)
        cluster.ask("scontrol", "update", f"jobid={job}", "timelimit=1")
        until(lambda: job in dict(cluster.jobs("TIMEOUT")), "a job out of time")
        cluster.ask("scontrol", "release", held)
        cluster.ask("scontrol", "update", "nodename=n2", "state=resume")
        out, err = sweep.communicate(timeout=900)
    assert sweep.returncode == 0, out + err
    assert "DUE TO TIME LIMIT" in err
    home.assert_as(undisturbed[1])
    assert not any(trial.deaths for trial in home.trials())


def test_a_parent_that_is_a_job_and_is_put_back_into_the_queue_goes_on(
    home: OnCluster, undisturbed: tuple[OnCluster, Table, str], cluster: Slurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = home.root / "parent.sh"
    words = [sys.executable, "-m", "siren_sweep", *home.command, "sweep.name=s", "outputs_dir=out"]
    script.write_text(f"#!/bin/bash\ncd {home.root}\nexec {shlex.join(words)} > parent.log 2>&1\n")
    for name, value in {**home.env, MARK: home.mark}.items():
        monkeypatch.setenv(name, value)
    options = ["--requeue", "--export=ALL", "-o", "/dev/null", "--mem=500M"]
    parent = cluster.ask("sbatch", *options, str(script)).split()[-1]
    process, job = frozen(home)
    cluster.ask("scontrol", "requeue", parent)  # it may start again after two minutes
    until(lambda: parent not in dict(cluster.jobs("RUNNING")), "the parent's end")
    process.resume()
    until(lambda: parent in dict(cluster.jobs("COMPLETED")), "the parent's good end")
    assert "Traceback" not in (home.root / "parent.log").read_text()
    home.assert_as(undisturbed[1])
    assert job in current_jobs(home), "it was taken up, and not begun anew"


def test_ctrl_c_cancels_the_jobs_and_the_same_command_goes_on(
    home: OnCluster, undisturbed: tuple[OnCluster, Table, str], cluster: Slurm
) -> None:
    with home.start() as sweep:
        frozen(home)[0].resume()
        sweep.send_signal(signal.SIGINT)
        _, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 130
    assert "the same command goes on from here" in err
    until(lambda: not cluster.jobs("RUNNING,PENDING,COMPLETING"), "the end of all jobs")
    home.finish()
    home.assert_as(undisturbed[1])
