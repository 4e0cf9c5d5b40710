"""Runs a person's program without a shell, with limits of time and output, and with only the named variables."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from siren_sweep.config.schema import Agent
from siren_sweep.sweep.agent import supervisor
from siren_sweep.sweep.interrupts import check

MOST_BYTES = 100 << 20  # in its folder
MOST_OUTPUT = 10 << 20  # bytes of its output that are kept
MOST_INSTRUCTIONS = 1 << 20  # characters
FILLED_IN = ("prompt", "folder")
_NAME = re.compile(r"\{(\w+)\}")
_GRACE_S = 30.0  # for the supervisor to end the program


def faults(agent: Agent) -> list[str]:
    """A line for each fault of the command and the instructions: the rule and the value."""
    wrong = [
        f"agent.command may hold only {' and '.join(f'{{{name}}}' for name in FILLED_IN)}, and no shell reads it, "
        f"got {part!r}"
        for part in agent.command
        if {*_NAME.findall(part)} - {*FILLED_IN}
    ]
    if agent.instructions is not None and not own_instructions(agent):
        wrong.append(f"agent.instructions must be a text file that can be read, got {agent.instructions!r}")
    if agent.command and _program(agent.command[0], _environment(agent.environment)) is None:
        wrong.append(f"agent.command must begin with a program that can be run, got {agent.command[0]!r}")
    return wrong


def own_instructions(agent: Agent) -> str:
    """A person's own text for the agent; empty where there is none, or it cannot be read."""
    if agent.instructions is None:
        return ""
    try:
        with open(agent.instructions, encoding="utf-8", errors="replace") as file:
            return file.read(MOST_INSTRUCTIONS)
    except OSError:
        return ""


def filled(command: Sequence[str], values: Mapping[str, str]) -> list[str]:
    """The command with `{prompt}` and `{folder}` replaced by their values. Braces within a value are not replaced."""
    return [_NAME.sub(lambda found: values.get(found[1], found[0]), part) for part in command]


def run_program(agent: Agent, prompt: str, folder: Path, log: Path) -> str:
    """Run `agent.command` in a folder until it ends or is stopped; returns why it failed, or an empty text.

    It gets the prompt as an argument and on standard input. Its output is appended to `log`. When this returns or
    raises, no process that it started is left.
    """
    environment = _environment(agent.environment)
    command = filled(agent.command, {"prompt": prompt, "folder": str(folder)})
    command[0] = _program(command[0], environment) or command[0]
    timeout_s = agent.timeout_min * 60
    job = supervisor.Job(command, prompt, str(folder), str(log), environment, timeout_s, MOST_BYTES, MOST_OUTPUT)
    return _how_it_ended(_kept(job))


def _kept(job: supervisor.Job) -> bytes:
    """The line that the supervisor of a job prints at the end.

    The supervisor is in a session of its own, so that Ctrl-C reaches only the sweep, which then closes the pipe.
    """
    with subprocess.Popen(
        [sys.executable, "-I", supervisor.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=job.environment,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = b""
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(dataclasses.asdict(job)).encode() + b"\n")
                process.stdin.flush()
            while not select.select([process.stdout], [], [], 0.5)[0]:
                check()
            said = process.stdout.readline()
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
    return said


def _how_it_ended(said: bytes) -> str:
    if not said:
        return "the process that ran it was killed"
    end = json.loads(said)
    if end["why"]:
        return str(end["why"])
    code = end["code"]
    return "" if code == 0 else f"it ended with exit code {code}" if code > 0 else f"signal {-code} killed it"


def _environment(names: Sequence[str]) -> dict[str, str]:
    """The environment variables of these names, as far as they are set."""
    return {name: os.environ[name] for name in names if name in os.environ}


def _program(name: str, environment: Mapping[str, str]) -> str | None:
    """The program's file, found as a shell finds it; None where there is none."""
    found = shutil.which(name, path=environment.get("PATH", os.defpath))
    return os.path.abspath(found) if found else None
