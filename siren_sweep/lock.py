"""Who runs a sweep: one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
from collections.abc import Iterator

from siren_sweep.errors import SweepStateError
from siren_sweep.paths import SweepPaths


@contextlib.contextmanager
def locked(paths: SweepPaths) -> Iterator[None]:
    """Hold the sweep's lock; the system lets go of it when this process dies, however that happens.

    Raises SweepStateError, with who holds it, where another process does.
    """
    paths.root.mkdir(parents=True, exist_ok=True)
    with paths.lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            raise SweepStateError(f"the sweep {paths.root.name!r} is being run already: {holder}") from None
        file.truncate(0)
        json.dump({"pid": os.getpid(), "host": platform.node()}, file)
        file.flush()
        yield
