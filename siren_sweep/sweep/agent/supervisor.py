"""Runs one program within limits, from a process of its own that ends everything that the program has started.

The first line of its standard input is the job, as JSON. The sweep keeps that pipe open; when it closes, the sweep has
ended. Its standard output is one line of JSON: the program's exit code, and why it was stopped if it was. It imports
only the standard library and psutil, so that it starts fast.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psutil

LOOK_S = 0.2  # between two looks at the clock and the folder
MOST_FILES = 10_000  # in the program's folder
MIB = 1 << 20
_SUBREAPER = 36  # of Linux's prctl: orphans among the descendants become this process's own children


@dataclass(frozen=True)
class Job:
    """A command that runs in `folder`, and its limits.

    The folder may hold `most_bytes`. The first `most_output` bytes of the command's output are kept in `log`.
    """

    command: list[str]
    prompt: str
    folder: str
    log: str
    environment: dict[str, str]
    timeout_s: float
    most_bytes: int
    most_output: int


class Stopped(Exception):
    """Why the program was stopped."""


def main() -> None:
    """Run the job on standard input, and print how it ended."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as sweep:  # unbuffered: the pipe is watched later
        job = Job(**json.loads(sweep.readline()))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with Path(job.log).open("ab", buffering=0) as log:
        print(json.dumps(keep(job, log)), flush=True)


def keep(job: Job, log: BinaryIO) -> dict[str, Any]:
    """Run the program until it ends or reaches a limit.

    Returns `code`, its exit code, or None where it was stopped or could not start, and `why` it was.
    """
    with tempfile.TemporaryFile() as prompt:
        prompt.write(job.prompt.encode())
        prompt.seek(0)
        try:
            program = subprocess.Popen(
                job.command,
                cwd=job.folder,
                env=job.environment,
                stdin=prompt,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return {"code": None, "why": f"it cannot be started ({error})"}
    try:
        _watch(program, job, _Log(log, job.most_output))
        return {"code": program.returncode, "why": ""}
    except Stopped as stopped:
        return {"code": None, "why": str(stopped)}
    finally:
        end_all(program)


def _watch(program: subprocess.Popen[bytes], job: Job, log: _Log) -> None:
    """Wait until the program has ended. Raises Stopped where it reaches a limit, or the sweep has ended."""
    assert program.stdout is not None
    output, sweep = program.stdout.fileno(), sys.stdin.fileno()
    os.set_blocking(output, False)
    deadline = time.monotonic() + job.timeout_s
    looked, open_ = 0.0, [output, sweep]
    while program.poll() is None:
        ready, _, _ = select.select(open_, [], [], LOOK_S)
        if sweep in ready and not os.read(sweep, 1):
            raise Stopped("the sweep was gone")
        if output in ready and not log.take(output):
            open_.remove(output)  # it has closed its output, but still runs
        if time.monotonic() > deadline:
            raise Stopped(f"it ran longer than {job.timeout_s / 60:g} minutes")
        if time.monotonic() > looked + LOOK_S:
            _measure(Path(job.folder), job.most_bytes)
            looked = time.monotonic()
    while output in open_ and select.select([output], [], [], 0)[0] and log.take(output):
        pass
    _measure(Path(job.folder), job.most_bytes)


class _Log:
    """Reads a program's output, and keeps only its first bytes, so that endless output cannot fill the disk."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._left = file, most

    def take(self, output: int) -> bool:
        """Read the output that is there; returns False at its end."""
        try:
            content = os.read(output, MIB)
        except BlockingIOError:
            return True
        kept = content[: self._left]
        if kept:
            self._file.write(kept)
            self._left -= len(kept)
            if not self._left:
                self._file.write(b"\n[what follows is left out]\n")
        return bool(content)


def _measure(folder: Path, most_bytes: int) -> None:
    """Raises Stopped where the folder holds too many bytes or files. Links are not followed."""
    size = count = 0
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with contextlib.suppress(OSError):  # it was removed meanwhile
                size += os.lstat(os.path.join(parent, name)).st_size
        count += len(folders) + len(files)
        if size > most_bytes:
            raise Stopped(f"it wrote more than {most_bytes // MIB} MiB")
        if count > MOST_FILES:
            raise Stopped(f"it wrote more than {MOST_FILES} files")


def end_all(program: subprocess.Popen[bytes]) -> None:
    """Kill the program and all processes that it started, also those that have left its process group."""
    for _ in range(100):
        alive = psutil.Process().children(recursive=True)
        if not alive:
            break
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=5)
    program.wait()


if __name__ == "__main__":
    main()
