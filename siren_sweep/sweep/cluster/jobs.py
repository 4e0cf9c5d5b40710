"""Submits, queries and cancels jobs of a cluster by parsl's providers. Each attempt at a trial is one job.

parsl has one interface for SLURM and LSF. It is not asked how a job ended: the job writes the exit code of its program
to a file. A job without that file was ended from outside (by its node, a person, or its time limit), and not by its
config. This works with any scheduler.
"""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig

from siren_sweep.config.base import retyped
from siren_sweep.config.choices import Scheduler
from siren_sweep.config.schema import Cluster
from siren_sweep.errors import SweepStateError
from siren_sweep.paths import TrialPaths
from siren_sweep.sweep.hydra_jobs import HARD_LIMIT_EXTRA_S, HARD_LIMIT_FACTOR

COMMAND_S = 120  # longest time of a scheduler's command
YOUNG_S = 60.0  # for so long a scheduler may not list a job that it has accepted
_UNKNOWN = ("Invalid job id specified", "is not found")  # messages about jobs that the scheduler no longer knows
_LATER = (  # messages of a scheduler that is down, or at a user's limit of jobs
    *("contact slurm controller", "Connection refused", "connect failure", "temporarily"),
    *("submit limit", "MaxSubmit", "lease wait", "job threshold"),
)
_UNSURE = ("Socket timed out", "Zero Bytes", "receive failure")  # it may have taken the job


class Refused(SweepStateError):
    """The scheduler refused a job. `later`: it may accept it later. `unsure`: it may have accepted it already."""

    def __init__(self, text: str, later: bool, unsure: bool = False) -> None:
        super().__init__(text)
        self.later, self.unsure = later, unsure


class Jobs:
    """The jobs of one sweep."""

    def __init__(self, config: DictConfig, cluster: Cluster, time_budget_min: float) -> None:
        self._command = [sys.executable, "-m", "siren_sweep.cli.job", *_options(config)]
        self._provider, self._setup = _provider(cluster, time_budget_min), cluster.setup
        self._name = str(config.sweep.name)
        self._began: dict[str, float] = {}  # by the scheduler's number

    def submit(self, folder: TrialPaths, attempt: int, overrides: Sequence[str]) -> str | None:
        """Submit an attempt at a trial; returns the job's number, or None where no answer came. Raises Refused."""
        from parsl.providers.errors import SubmitException

        folder.root.mkdir(parents=True, exist_ok=True)
        self._provider.script_dir = str(folder.root)
        try:
            job = self._provider.submit(self._script(folder, attempt, overrides), 1, f"{self._name}_{attempt}")
        except subprocess.TimeoutExpired:
            return None
        except SubmitException as error:
            raise _refused(str(error.stderr or error.message)) from None
        if job is None:  # the LSF provider does not raise
            raise _refused(self._provider.last_said)
        self._began[job] = time.monotonic()
        return str(job)

    def adopt(self, job: str) -> None:
        """Watch a job that an earlier start of the sweep submitted."""
        from parsl.jobs.states import JobState, JobStatus

        self._provider.resources.setdefault(job, {"job_id": job, "status": JobStatus(JobState.PENDING)})
        self._provider.resources[job].setdefault("job_stdout_path", None)
        self._provider.resources[job].setdefault("job_stderr_path", None)
        self._began.setdefault(job, -math.inf)

    def alive(self) -> set[str]:
        """The numbers of the jobs that wait or run. Where the scheduler does not answer, these are all known jobs."""
        from parsl.jobs.states import JobState, JobStatus

        known = self._provider.resources
        try:
            states = dict(zip(list(known), self._provider.status(list(known)), strict=True))
        except (subprocess.SubprocessError, OSError):
            return set(known)
        for job, status in states.items():
            if status.terminal and time.monotonic() - self._began[job] < YOUNG_S:
                known[job]["status"] = JobStatus(JobState.PENDING)  # not listed yet, or ended; its file shows which
            elif status.terminal:
                self.forget(job)
        return set(known)

    def cancel(self) -> list[str]:
        """Cancel all jobs; returns those whose cancellation the scheduler did not confirm."""
        known = list(self._provider.resources)
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            if not known or all(self._provider.cancel(known)):
                return []
        return known

    def forget(self, job: str) -> None:
        """Stop watching a job."""
        self._provider.resources.pop(job, None)

    def _script(self, folder: TrialPaths, attempt: int, overrides: Sequence[str]) -> str:
        """The lines of a job's script: they run the trial, and write its exit code to a file."""
        log, end = (shlex.quote(str(file)) for file in (folder.job_log(attempt), folder.job_end(attempt)))
        where = ["hydra.run.dir=${hydra.sweep.dir}/${hydra.sweep.subdir}", "hydra/job_logging=stdout"]
        command = shlex.join([*self._command, *retyped(overrides), *where])
        lines = [*self._setup, f"cd {shlex.quote(os.getcwd())}", f"{command} >> {log} 2>&1"]
        return "\n".join([*lines, f"echo $? > {end}.tmp && mv {end}.tmp {end}"])


def _options(config: DictConfig) -> list[str]:
    """The options of the sweep's command, and its overrides of Hydra's settings except those of the sweep itself."""
    options = ["--config-name", str(config.hydra.job.config_name)]
    for source in config.hydra.runtime.config_sources:
        if source.provider == "command-line":
            options += ["--config-dir", str(source.path)]
    own = ("hydra.mode=", "hydra/launcher=", "hydra/sweeper=", "hydra.launcher.", "hydra.sweeper.")
    return options + [text for text in config.hydra.overrides.hydra if not text.lstrip("+~").startswith(own)]


def _provider(cluster: Cluster, time_budget_min: float) -> Any:
    """parsl's provider for the scheduler."""
    from parsl.launchers import SimpleLauncher
    from parsl.providers import LSFProvider, SlurmProvider

    minutes = cluster.minutes or math.ceil(time_budget_min * HARD_LIMIT_FACTOR + HARD_LIMIT_EXTRA_S / 60)
    common: dict[str, Any] = {
        "walltime": f"{minutes // 60:02d}:{minutes % 60:02d}:00",
        "cmd_timeout": COMMAND_S,
        "launcher": SimpleLauncher(),
    }
    if cluster.scheduler is Scheduler.slurm:
        # No requeue: a job whose node dies is submitted again as a new attempt, after which the old one may not write.
        lines = ["--no-requeue", "--export=ALL", *cluster.options]
        provider: Any = _heard(SlurmProvider)(
            partition=cluster.partition,
            cores_per_node=cluster.cores,
            mem_per_node=cluster.memory_gb,
            gpus_per_node=cluster.gpus or None,
            exclusive=False,
            scheduler_options="\n".join(f"#SBATCH {line}" for line in lines),
            **common,
        )
    else:
        lines = ["-rn", "-env all", f"-M {cluster.memory_gb}GB", f'-R "rusage[mem={cluster.memory_gb}GB]"']
        lines += ['-gpu "num=1"'] * cluster.gpus
        provider = _heard(LSFProvider)(
            queue=cluster.partition,
            cores_per_block=cluster.cores,
            cores_per_node=cluster.cores,
            request_by_nodes=False,
            bsub_redirection=True,
            scheduler_options="\n".join(f"#BSUB {line}" for line in [*lines, *cluster.options]),
            **common,
        )
    return provider


def _heard(kind: type[Any]) -> type[Any]:
    """A provider class of parsl's that also keeps the scheduler's last message in `last_said`.

    It takes jobs that the scheduler no longer knows as ended; parsl alone would ask for them for ever.
    """
    from parsl.providers.cluster_provider import ClusterProvider

    class Heard(ClusterProvider):
        last_said = ""

        def execute_wait(self, command: str, timeout: float | None = None) -> tuple[int, str, str]:
            code, out, self.last_said = super().execute_wait(command, timeout)  # type: ignore[no-untyped-call]
            forgotten = code != 0 and any(words in self.last_said for words in _UNKNOWN)
            return (0 if forgotten else code), out, self.last_said

    return type(kind.__name__, (kind, Heard), {})  # `kind` first: LSF's `submit` calls super


def _refused(said: str) -> Refused:
    """The error for a scheduler's message."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = lines[-1] if lines else "no reason was given"
    unsure = any(words in text for words in _UNSURE)
    return Refused(f"the scheduler refused a job: {text}", unsure or any(words in text for words in _LATER), unsure)
