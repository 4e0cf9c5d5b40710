"""Every file and folder under `outputs_dir` is named here, and nowhere else."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from siren_sweep.errors import ConfigError, OutputError

RESERVED = {"runs", "stimulus", "cache", "mlflow.db", "mlartifacts"}


@dataclass(frozen=True)
class _Paths:
    """What lies below one folder."""

    root: Path


class _Below:
    """A file or folder of this name below the `root`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, paths: _Paths, _: type) -> Path:
        return paths.root / self._name


@dataclass(frozen=True)
class OutputPaths(_Paths):
    """What all sweeps and single runs of one `outputs_dir` share."""

    cache = _Below("cache")
    mlflow_db = _Below("mlflow.db")
    mlartifacts = _Below("mlartifacts")

    def sweep(self, name: str) -> SweepPaths:
        """Raises ConfigError where the name could leave `outputs_dir` or hide what all sweeps share."""
        if not re.fullmatch(r"\w[\w .+-]{0,99}", name) or name in RESERVED:
            raise ConfigError(
                "sweep.name must be a plain folder name (letters, digits, '_', '-', '+', '.', spaces; at most 100) "
                f"and none of {', '.join(sorted(RESERVED))}, got {name!r}"
            )
        return SweepPaths(self.root / name)


@dataclass(frozen=True)
class SweepPaths(_Paths):
    """What belongs to one sweep."""

    study_db = _Below("study.db")
    study_copy = _Below("study.copy.db")
    lock = _Below("sweep.lock")
    best = _Below("best")
    record = _Below("record")
    user_input = _Below("user_input.md")
    best_json = _Below("best/best.json")
    report = _Below("report.html")
    trials_csv = _Below("trials.csv")
    agent = _Below("agent")
    views_log = _Below("views.log")

    def best_file(self, block: int, ending: str) -> Path:
        """`best/block_01.yaml`, `.safetensors`, `.pt` or `.png`."""
        return self.best / f"block_{block:02d}{ending}"

    def trial(self, study: str, number: int) -> TrialPaths:
        return TrialPaths(self.root / trial_folder(study, number))


@dataclass(frozen=True)
class TrialPaths(_Paths):
    """What one training run leaves behind."""

    config = _Below("config.yaml")
    weights = _Below("weights.safetensors")
    checkpoint = _Below("checkpoint")
    lock = _Below("trial.lock")
    result = _Below("result.json")

    def job_log(self, attempt: int) -> Path:
        """What an attempt says that runs as a job of a cluster."""
        return self.root / f"job_{attempt}.log"

    def job_end(self, attempt: int) -> Path:
        """The exit code of that job's program, once it has ended."""
        return self.root / f"job_{attempt}.end"


def trial_folder(study: str, number: int) -> str:
    """A trial's folder below its sweep's: `block_01/trial_0000`."""
    return f"{study}/trial_{number:04d}"


def command(*words: str | Path) -> str:
    """A subcommand as it can be pasted into the shell, in the folder where it is printed: `siren-sweep sync outputs/a`.

    A path below the working directory is relative, and the program has its path where the shell would not find it.
    """
    script = Path(sys.executable).with_name("siren-sweep")
    found = shutil.which("siren-sweep")
    if found is not None and Path(found).absolute() == script:
        program = "siren-sweep"
    else:
        program = _pasted(script) if script.exists() else f"{_pasted(Path(sys.executable))} -m siren_sweep"
    return " ".join([program, *(_pasted(word) if isinstance(word, Path) else shlex.quote(word) for word in words)])


def from_here(path: Path) -> str:
    """A path as a person types it: relative to the working directory where it lies below that."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _pasted(path: Path) -> str:
    return shlex.quote(from_here(path))


def sqlite_url(file: Path) -> str:
    """An SQLAlchemy URL of an absolute path; four slashes, and what a URL would read as its own kept from it."""
    if any(mark in str(file) for mark in "?#"):
        raise ConfigError(
            f"outputs_dir must not contain '?' or '#' (the databases' addresses cannot), got {str(file)!r}"
        )
    return f"sqlite:///{file.absolute()}"


def make_writable(folder: Path) -> None:
    """Make a folder and try to write in it. Raises OutputError."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"outputs_dir must be a folder that can be written, got {str(folder)!r} ({error})") from None


def create_once(file: Path, make: Callable[[Path], None]) -> None:
    """Make `file` where there is none: whole, or not at all, however this process ends; the first maker wins.

    A database is made in many writes, and one that lost its maker half way cannot be opened by anybody again.
    """
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(file)
    try:
        make(temporary)
        with suppress(FileExistsError):
            os.link(temporary, file)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _temporary(file: Path) -> Path:
    """A name beside `file` that no other process has, on this machine or on one that shares the folder."""
    return file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A temporary name beside `file`, moved onto it when the block ends well: never half a file.

    Raises OutputError where the disk will not have it.
    """
    temporary = _temporary(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, file)
    except OSError as error:
        raise OutputError(f"{file} could not be written ({error}); what was there before is unchanged") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
