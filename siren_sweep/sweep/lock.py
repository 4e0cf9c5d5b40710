"""Who runs a sweep, and who trains a trial: one process at a time; the system lets go when it dies, however it does."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from siren_sweep.errors import SweepStateError
from siren_sweep.paths import SweepPaths

_held: set[Path] = set()  # by this process


@contextlib.contextmanager
def locked(paths: SweepPaths) -> Iterator[None]:
    """Hold the sweep's lock. Raises SweepStateError, with who holds it, where another process does.

    What holds it already may ask again; the outer one lets go.
    """
    if paths.lock in _held:
        yield
        return
    paths.root.mkdir(parents=True, exist_ok=True)
    with paths.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            raise SweepStateError(f"the sweep {paths.root.name!r} is being run already: {holder}") from None
        _write(file, {"pid": os.getpid(), "host": platform.node()})
        _held.add(paths.lock)
        try:
            yield
        finally:
            _held.discard(paths.lock)


@contextlib.contextmanager
def training(lock: Path, attempt: int) -> Iterator[None]:
    """Hold the lock of a trial, so that others see that it is trained. One that an attempt that was given up still
    holds does not matter: such an attempt writes nothing more."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as file:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _write(file, {"attempt": attempt})
        yield


def wait_for_end(lock: Path) -> int:
    """Wait until no process holds a trial's lock; the last attempt that held it, 0 where none did."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            return int(json.loads(file.read())["attempt"])
    except (FileNotFoundError, ValueError):  # none began, or it died as it did
        return 0


def _write(file: IO[str], content: dict[str, Any]) -> None:
    file.truncate(0)
    json.dump(content, file)
    file.flush()
