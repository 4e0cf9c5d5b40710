"""Who runs a sweep, and who trains a trial: one process at a time; the system lets go when it dies, however it does."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from siren_sweep.errors import OutputError, SweepStateError
from siren_sweep.paths import SweepPaths

REQUEUED_S = 180.0


@contextlib.contextmanager
def locked(paths: SweepPaths) -> Iterator[None]:
    """Hold the sweep's lock. Raises SweepStateError, with who holds it, where another process does, and OutputError
    where the folder cannot be written, or its file system has no locks.

    A process that holds it may ask again: the outermost of its blocks releases it.
    """
    with contextlib.ExitStack() as held:
        try:
            paths.root.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(paths.lock, timeout=_patience_s(), is_singleton=True))
        except Timeout:
            holder = paths.lock.read_text().strip()
            raise SweepStateError(f"the sweep {paths.root.name!r} is being run already: {holder}") from None
        except OSError as error:
            raise OutputError(
                "outputs_dir must be a folder that can be written, on a file system with locks, which keep two starts "
                f"of a sweep apart, and the writers of its study, got {paths.root.parent} ({error.strerror})"
            ) from None
        paths.lock.write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}))
        yield


def _patience_s() -> float:
    """How long to wait for a sweep's lock: a job that a scheduler started again, since its machine died, waits until
    the file server lets go of what that held."""
    return REQUEUED_S if os.environ.get("SLURM_RESTART_COUNT", "0") != "0" or "LSB_RESTART" in os.environ else 0.0


@contextlib.contextmanager
def training(file: Path, attempt: int) -> Iterator[None]:
    """Hold the lock of a trial, so that others see that it is trained. One that an attempt that was given up still
    holds does not matter: such an attempt writes nothing more."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        with contextlib.suppress(Timeout):
            held.enter_context(FileLock(file, blocking=False))
        file.write_text(json.dumps({"attempt": attempt}))
        yield


def wait_for_end(file: Path) -> int:
    """Wait until no process holds a trial's lock; the last attempt that held it, 0 where none did."""
    if not file.exists():
        return 0
    with FileLock(file):
        return last_attempt(file)


def last_attempt(file: Path) -> int:
    """The last attempt at a trial that began; 0 where none did."""
    try:
        return int(json.loads(file.read_text())["attempt"])
    except (FileNotFoundError, ValueError):  # none began, or it died as it did
        return 0
