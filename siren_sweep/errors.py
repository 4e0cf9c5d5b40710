"""The errors that a person can mend. Each message states the rule and the value that it got.

SweepError                 caught once, at the top: printed without a traceback, exit code 2
├── ConfigError            a value, a name or a combination in the composed config
├── DataError              the stimulus field on disk: missing, broken, of a wrong shape
├── OutputError            a folder or file that cannot be written or read
└── SweepStateError        a sweep that exists, runs already, or was started with another config
"""

from __future__ import annotations

import re
from collections.abc import Sequence


class SweepError(Exception):
    """A fault that a person can mend. Only its message is shown, without a traceback."""


class ConfigError(SweepError):
    """One or more faults of a config, reported together."""

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults = [faults] if isinstance(faults, str) else list(faults)
        super().__init__(together(self.faults, "the config"))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return type(self), (self.faults,)


class DataError(SweepError):
    """The stimulus field on disk is missing, broken or of a wrong shape."""


class OutputError(SweepError):
    """A folder or file of the outputs cannot be written or read."""


class SweepStateError(SweepError):
    """The sweep of that name runs already, or was started with another config."""


def together(faults: Sequence[str], where: str) -> str:
    """One message for several faults of `where`."""
    if len(faults) == 1:
        return faults[0]
    return f"{len(faults)} faults in {where}:\n" + "\n".join(f"  - {fault}" for fault in faults)


def redacted(text: str) -> str:
    """A text without the users and passwords in the addresses that it holds."""
    text = re.sub(r"(?<!/)//[^/?#\s]+@", "//", text)
    return re.sub(r"([?&](?:user|username|password|token)=)[^&#\s]+", r"\1", text, flags=re.IGNORECASE)
