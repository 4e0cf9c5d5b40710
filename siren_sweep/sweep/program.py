"""The program's own files, which must stay as they are while a sweep runs.

A process has some of the code in memory and reads the rest, and the config groups, when it needs them. Where files were
changed since the sweep began, its next trials would be of neither program: the sweep ends, and goes on as the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from siren_sweep.config.compose import conf_dir
from siren_sweep.errors import SweepStateError

_ROOT = Path(__file__).resolve().parents[1]
_VARIABLE = "SIREN_SWEEP_PROGRAM"  # workers have the parent's hash from here, by whatever launcher


def remember() -> None:
    """Keep what the files are now, for this process and those that it starts."""
    os.environ[_VARIABLE] = _hash()


def check() -> None:
    """Raises SweepStateError where the files are not what they were when the sweep began."""
    if os.environ.get(_VARIABLE, "") not in ("", _hash()):
        raise SweepStateError(
            f"the program at {_ROOT} was changed while the sweep ran, and the trials of one start must be of one "
            "program; the same command goes on with the program as it is now"
        )


def _hash() -> str:
    found = hashlib.sha256()
    for root, kind in ((_ROOT, "*.py"), (Path(conf_dir()), "*.yaml")):
        for file in sorted(root.rglob(kind)):
            with contextlib.suppress(OSError):  # it is being written
                found.update(b"%s\0%s\0" % (os.fsencode(file.relative_to(root)), file.read_bytes()))
    return found.hexdigest()
