"""The names of every file and folder below `outputs_dir`, and functions that write files whole."""

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
    """The files and folders below `root`."""

    root: Path


class _Below:
    """A file or folder of this name below the `root`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, paths: _Paths, _: type) -> Path:
        return paths.root / self._name


@dataclass(frozen=True)
class OutputPaths(_Paths):
    """The files that all sweeps and single runs of one `outputs_dir` share."""

    cache = _Below("cache")
    mlflow_db = _Below("mlflow.db")
    mlartifacts = _Below("mlartifacts")

    def sweep(self, name: str) -> SweepPaths:
        """The paths of a sweep. Raises ConfigError where its name is no plain folder name, or that of a shared file."""
        if not re.fullmatch(r"\w[\w .+-]{0,99}", name) or name in RESERVED:
            raise ConfigError(
                "sweep.name must be a plain folder name (letters, digits, '_', '-', '+', '.', spaces; at most 100) "
                f"and none of {', '.join(sorted(RESERVED))}, got {name!r}"
            )
        return SweepPaths(self.root / name)


@dataclass(frozen=True)
class SweepPaths(_Paths):
    """The files of one sweep."""

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
    """The files of one training run."""

    config = _Below("config.yaml")
    weights = _Below("weights.safetensors")
    checkpoint = _Below("checkpoint")
    lock = _Below("trial.lock")
    result = _Below("result.json")

    def job_log(self, attempt: int) -> Path:
        """The output of an attempt that runs as a job of a cluster."""
        return self.root / f"job_{attempt}.log"

    def job_end(self, attempt: int) -> Path:
        """The exit code of that job's program, once it has ended."""
        return self.root / f"job_{attempt}.end"


def trial_folder(study: str, number: int) -> str:
    """A trial's folder below its sweep's: `block_01/trial_0000`."""
    return f"{study}/trial_{number:04d}"


def command(*words: str | Path) -> str:
    """A command of `siren-sweep` that can be pasted into the shell, such as `siren-sweep sync outputs/a`.

    Paths below the working directory are relative. The program is given with its path where the shell does not find it.
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
    """The SQLAlchemy URL of an sqlite file. Raises ConfigError where its path has a mark that a URL cannot hold."""
    if any(mark in str(file) for mark in "?#"):
        raise ConfigError(
            f"outputs_dir must not contain '?' or '#' (the databases' addresses cannot), got {str(file)!r}"
        )
    return f"sqlite:///{file.absolute()}"


def make_writable(folder: Path) -> None:
    """Make a folder and try to write in it. Raises OutputError where that fails."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"outputs_dir must be a folder that can be written, got {str(folder)!r} ({error})") from None


def create_once(file: Path, make: Callable[[Path], None]) -> None:
    """Make `file` by `make(temporary)` where there is none. It appears whole or not at all, even if this process dies.

    Of several processes the first one's file stays. This serves databases: they are made in many writes, and one that
    is made half way cannot be opened again.
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
    """Yields a temporary path beside `file`, which replaces `file` when the context ends without an error.

    Raises OutputError where the file cannot be written.
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
