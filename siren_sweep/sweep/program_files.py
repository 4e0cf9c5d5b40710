"""Checks that the program's own files do not change while a sweep runs.

A process has loaded some of the code, and reads the rest and the config groups when it needs them. If files were
changed meanwhile, the next trials would mix two versions. So the sweep ends, and can be resumed with the new version.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from siren_sweep.config.compose import conf_dir
from siren_sweep.errors import SweepStateError

_ROOT = Path(__file__).resolve().parents[1]
_VARIABLE = "SIREN_SWEEP_PROGRAM"  # passes the parent's hash to workers, with any launcher


def remember() -> None:
    """Store the hash of the files as they are now, for this process and those that it starts."""
    os.environ[_VARIABLE] = _hash()


def check() -> None:
    """Raises SweepStateError where the files have changed since `remember`."""
    if os.environ.get(_VARIABLE, "") not in ("", _hash()):
        raise SweepStateError(
            f"the program at {_ROOT} was changed while the sweep ran, and the trials of one start must be of one "
            "program; the same command goes on with the program as it is now"
        )


def _hash() -> str:
    found = hashlib.sha256()
    for root, kind in ((_ROOT, "*.py"), (Path(conf_dir()), "*.yaml")):
        for file in sorted(root.rglob(kind)):
            with contextlib.suppress(OSError):  # it was removed meanwhile
                found.update(b"%s\0%s\0" % (os.fsencode(file.relative_to(root)), file.read_bytes()))
    return found.hexdigest()
