"""File locks: one process at a time runs a sweep or trains a trial.

The system frees the lock of a process that dies.
"""

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

REQUEUED_S = 180.0  # longest wait of a requeued job for the lock of its predecessor


@contextlib.contextmanager
def locked(paths: SweepPaths) -> Iterator[None]:
    """Hold the sweep's lock inside the context. A process may hold it several times; the outermost context frees it.

    Raises SweepStateError, with the holder, where another process holds it, and OutputError where the folder cannot be
    written, or its file system has no locks.
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
                "outputs_dir must be a folder that can be written, on a file system with locks (they keep apart two "
                f"starts of a sweep, and two writers of its study), got {paths.root.parent} ({error.strerror})"
            ) from None
        paths.lock.write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}))
        yield


def _patience_s() -> float:
    """How many seconds to wait for a sweep's lock.

    A job that the scheduler has started again after its machine died waits until the file server frees the old lock.
    """
    return REQUEUED_S if os.environ.get("SLURM_RESTART_COUNT", "0") != "0" or "LSB_RESTART" in os.environ else 0.0


@contextlib.contextmanager
def training(file: Path, attempt: int) -> Iterator[None]:
    """Hold the lock of a trial inside the context, which shows that it is trained, and write the attempt to the file.

    Where an earlier attempt still holds the lock, this one goes on without it: the earlier one may not write any more.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        with contextlib.suppress(Timeout):
            held.enter_context(FileLock(file, blocking=False))
        file.write_text(json.dumps({"attempt": attempt}))
        yield


def wait_for_end(file: Path) -> int:
    """Wait until no process holds a trial's lock; returns the last attempt that held it, 0 where none did."""
    if not file.exists():
        return 0
    with FileLock(file):
        return last_attempt(file)


def last_attempt(file: Path) -> int:
    """The last attempt at a trial that began; 0 where none did."""
    try:
        return int(json.loads(file.read_text())["attempt"])
    except (FileNotFoundError, ValueError):  # none has begun, or it died while it wrote
        return 0
