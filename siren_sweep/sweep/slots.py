"""Slots: each trial runs in a process of its own, on its GPU or its share of the cores, with a hard time limit.

The process is forked from a server that has already imported what it needs. A worker that dies (killed, out of memory,
a segmentation fault) harms no other: its reports are in the study, and its slot takes the next trial. Workers die with
their parent.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from siren_sweep.errors import OutputError, SweepError
from siren_sweep.sweep.interrupts import check, insisted
from siren_sweep.sweep.memory import limit_process
from siren_sweep.train.machine import n_cores, n_gpus

PRELOADED = "siren_sweep.sweep.preload"  # the module that the server imports
GRACE_S = 20.0  # between SIGTERM, on which a worker writes its checkpoint, and SIGKILL


@dataclass(frozen=True)
class Slots:
    """How many trials run at once, and how many CPU threads each has."""

    concurrency: int
    n_threads: int


def slots(n_parallel: int, device: str) -> Slots:
    """The slots of a machine: `n_parallel` where it has GPUs, else at most one for each core, with an equal share."""
    concurrency = n_parallel if n_gpus(device) else min(n_parallel, n_cores())
    return Slots(concurrency, max(1, n_cores() // concurrency))


@dataclass
class Job:
    """One trial in its process."""

    args: tuple[Any, ...]
    time_limit_s: float
    memory_bytes: int | None = None  # that it may allocate; None: no limit
    process: multiprocessing.process.BaseProcess | None = None
    place: int = 0  # of the places 0 to concurrency - 1, that which it takes while it runs
    started: float = 0.0
    oom_kills: int = 0  # `_oom_kills` when it started
    said: Connection | None = None
    end: str | None = field(default=None)  # None: it has not ended; "": it has succeeded; else how it failed
    result: Any = None  # the value that its function returned
    fault: str | None = None  # a fault that no trial caused, and a person can mend

    @property
    def running(self) -> bool:
        return self.process is not None and self.end is None


def warm_up() -> ForkServerContext:
    """Start the server from which workers are forked. It imports what they need while the caller goes on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C is for the caller
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def run_jobs(target: Callable[..., Any], jobs: Sequence[Job], concurrency: int) -> None:
    """Run every job in a process of its own, `concurrency` at a time; `job.end` then says how it ended.

    Where an exception, such as KeyboardInterrupt, ends this call, the workers are stopped first.
    """
    context = warm_up()
    try:
        while any(job.end is None for job in jobs):
            check()
            for job in jobs:
                if job.process is None and (free := _free(jobs, concurrency)):
                    job.place = free[0]
                    _start(context, target, job)
            _wait([job for job in jobs if job.running])
    finally:
        stop([job for job in jobs if job.running])


def _free(jobs: Sequence[Job], concurrency: int) -> list[int]:
    return sorted({*range(concurrency)} - {job.place for job in jobs if job.running})


def stop(jobs: Sequence[Job]) -> None:
    """Send SIGTERM to the workers, after `GRACE_S` SIGKILL to those that still run, and wait until all have ended.

    A second interrupt ends the grace at once.
    """
    processes = [job.process for job in jobs if job.process is not None and job.process.pid is not None]
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + GRACE_S
    try:
        while (alive := [process.sentinel for process in processes if process.is_alive()]) and not insisted():
            if time.monotonic() > deadline:
                break
            multiprocessing.connection.wait(alive, timeout=0.5)
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        for job in jobs:
            job.end = "stopped"


def _start(context: ForkServerContext, target: Callable[..., Any], job: Job) -> None:
    job.oom_kills, job.started = _oom_kills(), time.monotonic()
    job.said, says = context.Pipe(duplex=False)
    # A daemon: the parent does not wait for it at exit, if an interrupt comes just as it starts.
    args = target, job.args, job.memory_bytes, job.place, says
    job.process = context.Process(target=_worker, args=args, daemon=True)
    job.process.start()
    says.close()


def _wait(running: Sequence[Job]) -> None:
    """Wait up to a second for messages and ends of processes, and stop those that exceed their time limit."""
    sources: dict[Any, Job] = {job.process.sentinel: job for job in running if job.process is not None}
    sources |= {job.said: job for job in running if job.said is not None}
    for ready in multiprocessing.connection.wait(list(sources), timeout=1.0):
        job = sources[ready]
        _listen(job)
        if ready is not job.said and isinstance(ready, int):
            assert job.process is not None
            job.process.join()
            _listen(job)
            job.end = _how_it_ended(job.process.exitcode, _oom_kills() > job.oom_kills)
    for job in running:
        if job.running and time.monotonic() - job.started > job.time_limit_s:
            stop([job])
            job.end = f"the worker was stopped at its hard limit of {job.time_limit_s / 60:.1f} minutes"


def _listen(job: Job) -> None:
    """Read a process's message: its function's result, or a fault. A process that sends a long one waits for this."""
    while job.said is not None and job.said.poll():
        try:
            job.result, job.fault = job.said.recv()
        except EOFError:
            job.said.close()
            job.said = None


def _how_it_ended(code: int | None, memory_ran_out: bool) -> str:
    if code == 0:
        return ""
    if code == -signal.SIGKILL and memory_ran_out:
        return "out of memory: the kernel killed the worker"
    if code is not None and code < 0:
        return f"the worker was killed by {signal.Signals(-code).name}"
    return f"the worker exited with code {code}"


def _oom_kills() -> int:
    """How many processes the kernel has killed since the machine started because memory ran out."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _worker(
    target: Callable[..., Any], args: tuple[Any, ...], memory_bytes: int | None, place: int, says: Connection
) -> None:
    """The main function of a worker: runs `target` and sends its result.

    It dies with its parent, ignores SIGINT, which is for the parent, and on SIGTERM stops at the end of a step.
    """
    from siren_sweep.sweep.worker import Interrupted, Superseded, interrupt, take_place

    take_place(place)
    threading.Thread(target=die_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, interrupt)
    if memory_bytes is not None:
        limit_process(memory_bytes)
    try:
        says.send((target(*args), None))
    except (Interrupted, Superseded):
        os._exit(3)
    except SweepError as error:
        says.send((None, str(error)))
        os._exit(2)
    except OSError as error:  # the machine's fault, not the config's: a disk is full, a folder is gone
        says.send((None, str(OutputError(f"a worker could not go on: {type(error).__name__}: {error}"))))
        os._exit(2)


def die_with_parent() -> None:
    """Wait until the parent process ends, then end this process."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(4)
