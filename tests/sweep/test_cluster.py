"""Trials as jobs of a cluster whose scheduler a test plays: what it is asked, and what becomes of jobs it loses."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from siren_sweep.config.compose import conf_dir, typed
from siren_sweep.config.parameters import defaults
from siren_sweep.errors import SweepError, SweepStateError
from siren_sweep.paths import OutputPaths, SweepPaths, TrialPaths
from siren_sweep.study.records import Outcome, Stint, TrialPlan
from siren_sweep.study.stored_trials import trial_values
from siren_sweep.study.studies import STORAGE_URL_VARIABLE, create, study_name
from siren_sweep.sweep import interrupts
from siren_sweep.sweep.cluster import job_trainer
from siren_sweep.sweep.cluster.faults import cluster_faults
from siren_sweep.sweep.cluster.job_trainer import FAULT, INTERRUPTED, JobTrainer
from siren_sweep.sweep.cluster.jobs import Jobs, Refused
from siren_sweep.sweep.lock import training
from siren_sweep.sweep.open_trials import MAX_DEATHS, OpenTrials

CLUSTER = ["cluster.gpus=1", "cluster.memory_gb=8", "cluster.partition=fast", "cluster.minutes=90"]
SAYS = {  # what the commands of a scheduler answer
    "sbatch": "echo Submitted batch job 17",
    "squeue": "echo slurm_load_jobs error: Invalid job id specified >&2; exit 1",
    "sacct": "echo Slurm accounting storage is disabled >&2; exit 1",
    "bsub": "cat > script; echo 'Job <17> is submitted to queue <fast>.'",
    "bjobs": "echo 'Job <17> is not found' >&2; exit 255",
}


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = compose("config", [*overrides, "dataset.path=unused"], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return cfg


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts commands of a scheduler on the path; each writes down what it was asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()

    def put(**says: str) -> None:
        for name, said in {**SAYS, **says}.items():
            file = tmp_path / "bin" / name
            file.write_text(f'#!/bin/sh\necho "$(basename $0) $*" >> {tmp_path / "asked"}\n{said}\n')
            file.chmod(file.stat().st_mode | stat.S_IXUSR)

    put()
    return put


def jobs_of(scheduler: str, *more: str) -> Jobs:
    config = composed("sweep.name=s", f"cluster={scheduler}", *CLUSTER, *more)
    return Jobs(config, typed(config).cluster, 60.0)


def test_the_commands_and_scripts_for_slurm(commands: Callable[..., None], tmp_path: Path) -> None:
    jobs = jobs_of("slurm", "cluster.setup=['module load cuda']", "cluster.options=['--account=lab']")
    trial = TrialPaths(tmp_path / "out" / "trial_0003")
    assert jobs.submit(trial, 2, ["graph_model.omega_f=30", "trial.number=3"]) == "17"
    (script,) = [file for file in trial.root.iterdir() if file.name.startswith("s_2.")]
    lines = script.read_text().splitlines()
    asked = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert {"partition=fast", "mem=8g", "cpus-per-task=4", "gpus-per-node=1", "time=90", "nodes=1"} <= asked
    assert {"no-requeue", "export=ALL", "account=lab"} <= asked
    at = lines.index("module load cuda")
    assert lines[at + 1] == f"cd {tmp_path}"
    assert "-m siren_sweep.cli.job --config-name config graph_model.omega_f=30 trial.number=3" in lines[at + 2]
    assert lines[at + 2].endswith(f">> {trial.job_log(2)} 2>&1")
    assert str(trial.job_end(2)) in lines[at + 3]


def test_the_commands_and_scripts_for_lsf(commands: Callable[..., None], tmp_path: Path) -> None:
    jobs = jobs_of("lsf", "cluster.setup=['module load cuda']", "cluster.options=['-P lab']")
    trial = TrialPaths(tmp_path / "out" / "trial_0003")
    assert jobs.submit(trial, 1, ["trial.number=3"]) == "17"
    lines = (tmp_path / "script").read_text().splitlines()
    asked = {line.removeprefix("#BSUB ") for line in lines if line.startswith("#BSUB")}
    assert {"-q fast", "-n 4", '-R "span[ptile=4]"', "-M 8GB", '-R "rusage[mem=8GB]"', '-gpu "num=1"'} <= asked
    assert {"-W 90", "-rn", "-env all", "-P lab"} <= asked
    assert "-m siren_sweep.cli.job --config-name config trial.number=3" in lines[lines.index("module load cuda") + 2]


@pytest.mark.parametrize("scheduler", ["slurm", "lsf"])
def test_a_job_that_its_scheduler_has_forgotten_is_over(commands: Callable[..., None], scheduler: str) -> None:
    jobs = jobs_of(scheduler)
    jobs.adopt("17")
    assert jobs.alive() == set()


@pytest.mark.parametrize("scheduler", ["slurm", "lsf"])
def test_where_the_scheduler_does_not_answer_no_job_has_ended(commands: Callable[..., None], scheduler: str) -> None:
    jobs = jobs_of(scheduler)
    jobs.adopt("17")
    commands(squeue="echo cannot be reached >&2; exit 1", bjobs="echo LSF is down >&2; exit 255")
    assert jobs.alive() == {"17"}
    commands(squeue="echo 17 R", bjobs="echo 17 RUN")
    assert jobs.alive() == {"17"}
    commands(squeue="echo 17 NF", bjobs="echo 17 EXIT")
    assert jobs.alive() == set()


@pytest.mark.parametrize(
    ("scheduler", "said", "later", "unsure"),
    [
        ("slurm", "Batch job submission failed: Unable to contact slurm controller (connect failure)", True, False),
        ("slurm", "Batch job submission failed: Invalid account or partition combination specified", False, False),
        ("slurm", "Batch job submission failed: Socket timed out on send/recv operation", True, True),
        ("slurm", "Batch job submission failed: Zero Bytes were transmitted or received", True, True),
        ("slurm", "Batch job submission failed: Unable to contact slurm controller (receive failure)", True, True),
        ("lsf", "Pending job threshold reached. Retrying in 60 seconds", True, False),
        ("lsf", "Queue does not exist. Job not submitted", False, False),
    ],
)
def test_a_refused_job_is_reported_in_the_scheduler_s_words(
    commands: Callable[..., None], tmp_path: Path, scheduler: str, said: str, later: bool, unsure: bool
) -> None:
    jobs = jobs_of(scheduler)
    refuses = f"echo '{said}' >&2; exit 1"
    commands(sbatch=refuses, bsub=refuses)
    with pytest.raises(Refused) as refused:
        jobs.submit(TrialPaths(tmp_path / "trial"), 1, [])
    assert str(refused.value) == f"the scheduler refused a job: {said}"
    assert (refused.value.later, refused.value.unsure) == (later, unsure)


@pytest.mark.parametrize(("ending", "code"), [("exit 3", "3"), ("kill -9 $$", "137"), ("true", "0")])
def test_a_job_says_how_its_program_ended(
    commands: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, code: str
) -> None:
    jobs = jobs_of("lsf")
    monkeypatch.setattr(jobs, "_command", ["sh", "-c", f"echo said; {ending}"])
    trial = TrialPaths(tmp_path / "trial")
    jobs.submit(trial, 1, [])
    subprocess.run(["bash", "script"], cwd=tmp_path, check=True, env={**os.environ, "LSB_JOBID": "17"})
    assert trial.job_end(1).read_text() == f"{code}\n"
    assert trial.job_log(1).read_text() == "said\n"


class Played:
    """Jobs of which each does what the test says: `ends` are acts by the order in which jobs are submitted."""

    def __init__(self, trials: OpenTrials, ends: Sequence[Any]) -> None:
        self.trials, self.ends, self.submitted, self.adopted = trials, list(ends), list[int](), list[str]()
        self.cancelled = False
        self.running: set[str] = set()

    def submit(self, folder: TrialPaths, attempt: int, overrides: Sequence[str]) -> str | None:
        self.submitted.append(attempt)
        act = self.ends.pop(0) if self.ends else "finishes"
        if isinstance(act, Exception):
            raise act
        if act == "no answer":
            return None
        if act == "finishes":
            with training(folder.lock, attempt):
                self.trials.writer(0).outcome(Outcome(attempt, "finished", metrics={"final_r2": 0.5}))
        elif act == "pauses":
            with training(folder.lock, attempt):
                self.trials.writer(0).outcome(Outcome(attempt, "stopped"))
            folder.job_end(attempt).write_text("0\n")
        elif act == "stays":
            self.running.add(f"j{attempt}")
        elif act != "is lost":
            began, code = act
            if began:
                with training(folder.lock, attempt):
                    folder.job_log(attempt).write_text("error: no room\n")
            folder.root.mkdir(parents=True, exist_ok=True)
            folder.job_end(attempt).write_text(f"{code}\n")
        return f"j{attempt}"

    def adopt(self, job: str) -> None:
        self.adopted.append(job)

    def alive(self) -> set[str]:
        return {*self.running}

    def forget(self, job: str) -> None: ...

    def cancel(self) -> list[str]:
        self.cancelled = True
        return [*self.running]


@pytest.fixture
def trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenTrials:
    """One trial that was planned."""
    monkeypatch.setattr(job_trainer, "PAUSE_S", 0.0)
    monkeypatch.setattr(job_trainer, "POLL_S", 0.0)
    storage = InMemoryStorage()
    study = create(storage, study_name(1))
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=trial_values(TrialPlan(1, defaults()))))
    paths: SweepPaths = OutputPaths(tmp_path).sweep("s")
    return OpenTrials(storage, study, paths, [])


def train(trials: OpenTrials, *ends: Any) -> Played:
    """One start of a sweep, until its trial has an outcome."""
    jobs: Any = Played(trials, ends)
    started(jobs).train(trials, [0], [], 1)
    return jobs  # type: ignore[no-any-return]


def started(jobs: Any) -> JobTrainer:
    """What trains in a start of a sweep, once it has heard of what earlier ones left."""
    sweep = JobTrainer(jobs, 2)
    sweep.take_up(jobs.trials)
    return sweep


@pytest.mark.parametrize(
    "ends", [["is lost"] * 5, [(True, INTERRUPTED)] * 5, ["no answer"] * 5, ["is lost", (True, 137)]]
)
def test_a_job_that_is_lost_is_no_death_of_its_trial(trials: OpenTrials, ends: list[Any]) -> None:
    jobs = train(trials, *ends)
    assert jobs.submitted == [*range(1, len(ends) + 2)]
    assert trials.trial(0).current is not None
    assert trials.trial(0).deaths == (("the job's program was killed by SIGKILL",) if (True, 137) in ends else ())


def test_a_config_that_kills_its_jobs_is_failed(trials: OpenTrials) -> None:
    train(trials, *[(True, 137)] * MAX_DEATHS)
    outcome = trials.trial(0).current
    assert outcome is not None
    assert (outcome.status, outcome.reason) == (
        "failed",
        "its worker died 2 times: the job's program was killed by SIGKILL",
    )


def test_jobs_that_end_before_their_trial_begins_end_the_sweep_and_blame_no_trial(trials: OpenTrials) -> None:
    with pytest.raises(SweepStateError, match=r"job j2 ended before its trial began .*code 127.*job_2\.log"):
        train(trials, (False, 127), (False, 127))
    assert trials.trial(0).deaths == ()


def test_a_fault_that_a_person_can_mend_ends_the_sweep_in_its_words(trials: OpenTrials) -> None:
    with pytest.raises(SweepError, match=r"^no room$"):
        train(trials, (True, FAULT))


def test_a_fault_that_was_mended_is_not_met_again(trials: OpenTrials) -> None:
    with pytest.raises(SweepError, match=r"^no room$"):
        train(trials, (True, FAULT))
    jobs = train(trials)
    assert jobs.adopted == []
    assert trials.trial(0).current is not None


def test_a_death_is_counted_once_whatever_ends_the_sweep_then(
    trials: OpenTrials, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(interrupts, "check", interrupted_after(2))
        with pytest.raises(KeyboardInterrupt):
            train(trials, (True, 137))
    assert trials.trial(0).deaths == ("the job's program was killed by SIGKILL",)
    train(trials)
    assert trials.trial(0).deaths == ("the job's program was killed by SIGKILL",)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_job_that_paused_its_trial_is_over_when_that_goes_on(trials: OpenTrials, restarted: bool) -> None:
    jobs: Any = Played(trials, ["pauses", "pauses"])
    sweep = started(jobs)
    for batch in (2, 3):
        sweep.train(trials, [0], [], 1)
        paused = trials.trial(0)
        assert paused.paused
        trials.writer(0).stints([*paused.stints, Stint(batch, 0, paused.attempt, 0.5)])
        if restarted:
            sweep = started(jobs)
    sweep.train(trials, [0], [], 1)
    assert (jobs.submitted, jobs.adopted, trials.trial(0).deaths) == ([1, 2, 3], [], ())


def test_a_batch_that_has_ended_already_leaves_later_ones_their_jobs(trials: OpenTrials) -> None:
    jobs: Any = Played(trials, ["stays"])
    started(jobs).train(trials, [], [0], 1)
    assert jobs.submitted == [1]


def test_a_scheduler_that_is_down_is_waited_for(trials: OpenTrials) -> None:
    jobs = train(trials, Refused("down", later=True), Refused("down", later=True))
    assert jobs.submitted == [1, 1, 1], "an attempt that was not taken is the same attempt"


def test_a_job_that_a_scheduler_may_have_taken_or_not_is_followed_by_another_attempt(trials: OpenTrials) -> None:
    jobs = train(trials, Refused("Socket timed out", later=True, unsure=True))
    assert jobs.submitted == [1, 2], "the same twice would be two jobs that write"


def test_a_scheduler_that_refuses_for_good_is_told_at_once(trials: OpenTrials) -> None:
    with pytest.raises(Refused, match="no such partition"):
        train(trials, Refused("no such partition", later=False))


def test_a_job_that_an_earlier_start_submitted_is_taken_up_before_anything_trains(
    trials: OpenTrials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interrupts, "check", interrupted_after(3))
    with pytest.raises(KeyboardInterrupt):
        train(trials, "stays")
    again: Any = Played(trials, [])
    again.running = {"j1"}
    sweep = started(again)
    assert again.adopted == ["j1"]
    monkeypatch.setattr(interrupts, "check", interrupted_after(3))
    with pytest.raises(KeyboardInterrupt):
        sweep.train(trials, [0], [], 1)
    assert again.submitted == []


@pytest.mark.parametrize(("which", "cancelled"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_ctrl_c_alone_cancels_the_jobs_and_those_that_go_on_are_named(
    trials: OpenTrials, which: int, cancelled: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs: Any = Played(trials, [])
    jobs.running = {"j1"}
    monkeypatch.setattr(interrupts, "last_signal", lambda: which)
    JobTrainer(jobs, 2).stop()
    assert jobs.cancelled == cancelled
    assert ("jobs that could not be cancelled: j1;" in capsys.readouterr().err) == cancelled


@pytest.mark.parametrize("scheduler", ["slurm", "lsf"])
def test_a_scheduler_that_does_not_cancel_jobs_is_heard(
    commands: Callable[..., None], scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of(scheduler)
    assert jobs.cancel() == []
    jobs.adopt("17")
    commands(scancel="", bkill="")
    assert jobs.cancel() == []
    commands(scancel="exit 1", bkill="exit 255")
    assert jobs.cancel() == ["17"]

    def no_answer(_: object) -> None:
        raise subprocess.TimeoutExpired("cancel", 120)

    monkeypatch.setattr(jobs._provider, "cancel", no_answer)
    assert jobs.cancel() == ["17"]


def interrupted_after(n: int) -> Callable[[], None]:
    left = [n]

    def check() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    return check


def test_all_that_a_cluster_needs_is_reported_at_once(
    commands: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STORAGE_URL_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    cfg = typed(composed("cluster=slurm", "sweep.name='a b'", "cluster.n_batches=2"))
    wrong = list(cluster_faults(cfg))
    assert len(wrong) == 3
    assert "needs storage.url of a database server" in wrong[0]
    assert "cluster=slurm needs sbatch, squeue, scancel where the sweep is started, got no sbatch" in wrong[1]
    assert "must hold no spaces" in wrong[2]
    assert list(cluster_faults(typed(composed()))) == []
    (alone,) = cluster_faults(typed(composed("cluster.n_batches=2")))
    assert alone == "cluster.n_batches above 1 needs cluster=slurm or cluster=lsf, got 2"
