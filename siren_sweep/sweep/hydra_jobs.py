"""Runs Hydra jobs in slots, for the `slots` launcher."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import cloudpickle
from hydra import version
from hydra.core.utils import JobReturn, JobRuntime, JobStatus, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from siren_sweep.errors import OutputError, SweepError
from siren_sweep.sweep import program_files
from siren_sweep.sweep.memory import SHARE, machine_bytes
from siren_sweep.sweep.slots import Job, run_jobs, slots
from siren_sweep.train.machine import n_gpus

# A worker is killed at this factor times time_budget_min, at which a run truncates itself, plus these seconds.
HARD_LIMIT_FACTOR, HARD_LIMIT_EXTRA_S = (1.25, 300.0)


def launch_in_slots(
    config: DictConfig,
    hydra_context: HydraContext,
    task_function: TaskFunction,
    job_overrides: Sequence[Sequence[str]],
    initial_job_idx: int,
    n_parallel: int,
    device: str,
    time_budget_min: float,
) -> list[JobReturn]:
    """Run the jobs of a batch. A job whose process died is FAILED; the others are not affected."""
    concurrency = slots(n_parallel, device).concurrency
    limit_s = time_budget_min * 60 * HARD_LIMIT_FACTOR + HARD_LIMIT_EXTRA_S
    # A process with a GPU reserves more address space than it uses, so its limit is on the GPU's memory instead.
    memory_bytes = None if n_gpus(device) else int(SHARE * machine_bytes() / concurrency)
    version.base_at_least("1.1")  # sets Hydra's default version base where the caller set none
    shared = hydra_context, task_function, config, version.getbase()
    jobs = [  # cloudpickle, since a task may be defined in `__main__`
        Job((cloudpickle.dumps((*shared, list(overrides), index)),), limit_s, memory_bytes)
        for index, overrides in enumerate(job_overrides, start=initial_job_idx)
    ]
    run_jobs(run_hydra_job, jobs, concurrency)
    return [_job_return(job, overrides) for job, overrides in zip(jobs, job_overrides, strict=True)]


def run_hydra_job(job: bytes) -> JobReturn:
    """Run a pickled job in the worker: set Hydra's globals as in the parent, compose the config, run the task.

    Raises SweepError where the config cannot be composed, the sweep's folder is gone, or the program was changed since
    the sweep began.
    """
    program_files.check()
    hydra_context, task_function, sweep, base, overrides, index = cloudpickle.loads(job)
    version.VersionBase.instance().setbase(base)
    setup_globals()
    JobRuntime.instance().set("name", sweep.hydra.job.name)
    try:
        config = hydra_context.config_loader.load_sweep_config(sweep, overrides)
    except HydraException as refused:
        raise SweepError(f"the config of a job cannot be composed: {refused}") from refused
    with open_dict(config):
        config.hydra.job.id, config.hydra.job.num = str(index), index
    folder = Path(config.hydra.sweep.dir)
    if not folder.is_dir():  # Hydra would make it again, without the study
        raise OutputError(f"the sweep's folder {str(folder)!r} is gone")
    result = run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
    if (error := job_error(result)) is not None:
        raise error
    return result


def job_error(result: JobReturn) -> Exception | None:
    """The exception of a job, or None. What Hydra prints with it, the job's overrides, may hold a password: hide it."""
    if result.status is not JobStatus.FAILED:
        return None
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            value = result.return_value  # a failed job's property raises its error
    except Exception as error:
        return error
    return RuntimeError(f"the job failed and returned {value!r}")


def _job_return(job: Job, overrides: Sequence[str]) -> JobReturn:
    if job.result is not None and not job.end:
        returned: JobReturn = job.result
        return returned
    failed = SweepError(job.fault) if job.fault else RuntimeError(job.end or "the worker left no result")
    return JobReturn(overrides=list(overrides), _return_value=failed, status=JobStatus.FAILED)
