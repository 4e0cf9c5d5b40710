"""Hydra jobs in slots: what the `slots` launcher does with a batch of overrides."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

from hydra import version
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.errors import HydraException
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from siren_sweep.errors import OutputError, SweepError
from siren_sweep.sweep.memory import SHARE, machine_bytes
from siren_sweep.sweep.slots import Job, run_jobs, slots
from siren_sweep.train.machine import n_gpus

HARD_LIMIT_FACTOR, HARD_LIMIT_EXTRA_S = (1.25, 300.0)  # over time_budget_min, at which a run truncates itself


def launch_in_slots(
    config: DictConfig,
    hydra_context: HydraContext,
    task_function: TaskFunction,
    job_overrides: Sequence[Sequence[str]],
    initial_job_idx: int,
) -> list[JobReturn]:
    """Run the jobs of a batch; a job whose process died is FAILED, and no other is touched by it."""
    device, concurrency = config.training.device, slots(config.claude.n_parallel, config.training.device).concurrency
    # A process with a GPU reserves more address space than it uses, so its limit is on the GPU's memory instead.
    memory_bytes = None if n_gpus(device) else int(SHARE * machine_bytes() / concurrency)
    limit_s = config.claude.time_budget_min * 60 * HARD_LIMIT_FACTOR + HARD_LIMIT_EXTRA_S
    jobs = [
        Job((hydra_context, task_function, config, list(overrides), index), limit_s, memory_bytes)
        for index, overrides in enumerate(job_overrides, start=initial_job_idx)
    ]
    run_jobs(run_hydra_job, jobs, concurrency)
    return [_job_return(job, overrides) for job, overrides in zip(jobs, job_overrides, strict=True)]


def run_hydra_job(
    hydra_context: HydraContext, task_function: TaskFunction, sweep: DictConfig, overrides: list[str], index: int
) -> None:
    """In the worker's process: Hydra's globals, the job's config, then the task. Raises SweepError where the config
    cannot be composed, as where a config file was changed since the sweep began."""
    version.setbase("1.3")
    setup_globals()
    try:
        config = hydra_context.config_loader.load_sweep_config(sweep, overrides)
    except HydraException as refused:
        raise SweepError(f"the config of a job cannot be composed: {refused}") from refused
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = index
    folder = Path(config.hydra.sweep.dir)
    if not folder.is_dir():  # and Hydra would make it again, with the study nowhere
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


def job_error(result: JobReturn) -> Exception | None:
    """What a job raised, or None. Hydra would show the job's overrides, which may hold a password, beside it."""
    if result.status is not JobStatus.FAILED:
        return None
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            value = result.return_value  # a failed job's property raises its error
    except Exception as error:
        return error
    return RuntimeError(f"the job failed and returned {value!r}")


def _job_return(job: Job, overrides: Sequence[str]) -> JobReturn:
    failed = SweepError(job.fault) if job.fault else RuntimeError(job.end) if job.end else None
    return JobReturn(
        overrides=list(overrides), _return_value=failed, status=JobStatus.FAILED if failed else JobStatus.COMPLETED
    )
