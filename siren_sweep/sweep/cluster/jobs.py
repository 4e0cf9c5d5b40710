"""Jobs of a cluster: one for each attempt at a trial, submitted, asked for and cancelled by parsl's providers.

parsl speaks SLURM and LSF in one form. It is not asked how a job ended: a job writes into a file how its program ended,
so that one that was ended from outside (its node, a person, its time) can be told from one that died of its config,
whatever the scheduler.
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

COMMAND_S = 120  # that a command of the scheduler may take
YOUNG_S = 60.0  # in which a scheduler may not list a job yet that it has taken
_UNKNOWN = ("Invalid job id specified", "is not found")  # of jobs that it has forgotten
_LATER = (  # of a scheduler that is down, or has enough of one person's jobs for now
    *("contact slurm controller", "Connection refused", "connect failure", "temporarily"),
    *("submit limit", "MaxSubmit", "lease wait", "job threshold"),
)
_UNSURE = ("Socket timed out", "Zero Bytes", "receive failure")  # of one whose answer was lost: it may have the job


class Refused(SweepStateError):
    """The scheduler did not take a job; `later` says that it may take it then, `unsure` that it may have taken it."""

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
        """Submit an attempt at a trial; the job's number, or None where no answer came. Raises Refused."""
        from parsl.providers.errors import SubmitException

        folder.root.mkdir(parents=True, exist_ok=True)
        self._provider.script_dir = str(folder.root)
        try:
            job = self._provider.submit(self._script(folder, attempt, overrides), 1, f"{self._name}_{attempt}")
        except subprocess.TimeoutExpired:
            return None
        except SubmitException as error:
            raise _refused(str(error.stderr or error.message)) from None
        if job is None:  # of LSF's, which raises nothing
            raise _refused(self._provider.last_said)
        self._began[job] = time.monotonic()
        return str(job)

    def adopt(self, job: str) -> None:
        """Ask for a job that an earlier start of the sweep submitted."""
        from parsl.jobs.states import JobState, JobStatus

        self._provider.resources.setdefault(job, {"job_id": job, "status": JobStatus(JobState.PENDING)})
        self._provider.resources[job].setdefault("job_stdout_path", None)
        self._provider.resources[job].setdefault("job_stderr_path", None)
        self._began.setdefault(job, -math.inf)

    def alive(self) -> set[str]:
        """The jobs that wait or run, by all that is known: where the scheduler does not answer none has ended."""
        from parsl.jobs.states import JobState, JobStatus

        known = self._provider.resources
        try:
            states = dict(zip(list(known), self._provider.status(list(known)), strict=True))
        except (subprocess.SubprocessError, OSError):
            return set(known)
        for job, status in states.items():
            if status.terminal and time.monotonic() - self._began[job] < YOUNG_S:
                known[job]["status"] = JobStatus(JobState.PENDING)  # it is not listed yet, or ended: its file says
            elif status.terminal:
                self.forget(job)
        return set(known)

    def cancel(self) -> list[str]:
        """Cancel all that wait or run; those of which the scheduler did not say that they are cancelled."""
        known = list(self._provider.resources)
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            if not known or all(self._provider.cancel(known)):
                return []
        return known

    def forget(self, job: str) -> None:
        """Ask for a job no more."""
        self._provider.resources.pop(job, None)

    def _script(self, folder: TrialPaths, attempt: int, overrides: Sequence[str]) -> str:
        """What a job's shell runs: the trial, and how it ended."""
        log, end = (shlex.quote(str(file)) for file in (folder.job_log(attempt), folder.job_end(attempt)))
        where = ["hydra.run.dir=${hydra.sweep.dir}/${hydra.sweep.subdir}", "hydra/job_logging=stdout"]
        command = shlex.join([*self._command, *retyped(overrides), *where])
        lines = [*self._setup, f"cd {shlex.quote(os.getcwd())}", f"{command} >> {log} 2>&1"]
        return "\n".join([*lines, f"echo $? > {end}.tmp && mv {end}.tmp {end}"])


def _options(config: DictConfig) -> list[str]:
    """What of the command comes before its overrides, and Hydra's own overrides, but for those of the sweep."""
    options = ["--config-name", str(config.hydra.job.config_name)]
    for source in config.hydra.runtime.config_sources:
        if source.provider == "command-line":
            options += ["--config-dir", str(source.path)]
    own = ("hydra.mode=", "hydra/launcher=", "hydra/sweeper=", "hydra.launcher.", "hydra.sweeper.")
    return options + [text for text in config.hydra.overrides.hydra if not text.lstrip("+~").startswith(own)]


def _provider(cluster: Cluster, time_budget_min: float) -> Any:
    """parsl's provider of the scheduler, which is asked in one way."""
    from parsl.launchers import SimpleLauncher
    from parsl.providers import LSFProvider, SlurmProvider

    minutes = cluster.minutes or math.ceil(time_budget_min * HARD_LIMIT_FACTOR + HARD_LIMIT_EXTRA_S / 60)
    common: dict[str, Any] = {
        "walltime": f"{minutes // 60:02d}:{minutes % 60:02d}:00",
        "cmd_timeout": COMMAND_S,
        "launcher": SimpleLauncher(),
    }
    if cluster.scheduler is Scheduler.slurm:
        # A job whose node dies is submitted again with another attempt: one that is not dead after all writes nothing.
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
    """parsl's kind of a provider, which keeps what the scheduler says, and takes jobs that the scheduler has forgotten
    as ended; parsl alone would ask for them for ever."""
    from parsl.providers.cluster_provider import ClusterProvider

    class Heard(ClusterProvider):
        last_said = ""

        def execute_wait(self, command: str, timeout: float | None = None) -> tuple[int, str, str]:
            code, out, self.last_said = super().execute_wait(command, timeout)  # type: ignore[no-untyped-call]
            forgotten = code != 0 and any(words in self.last_said for words in _UNKNOWN)
            return (0 if forgotten else code), out, self.last_said

    return type(kind.__name__, (kind, Heard), {})  # `kind` first: LSF's submits by its super's function


def _refused(said: str) -> Refused:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    text = lines[-1] if lines else "no reason was given"
    unsure = any(words in text for words in _UNSURE)
    return Refused(f"the scheduler refused a job: {text}", unsure or any(words in text for words in _LATER), unsure)
