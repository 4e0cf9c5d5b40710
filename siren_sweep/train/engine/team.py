"""Trains networks on several cores: each of n forked processes has every n-th network.

They are processes, not threads: a step is some fifty short calls, and threads that wait for Python's lock lose half of
what a second core could gain. The parameters and moments lie in shared memory. A network's random state lies in its
process, and is sent on request. The processes end with the process that forked them.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import signal
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


class Network(Protocol):
    """The interface of a network in a team: that of `Engine`, and its random state as plain values."""

    def advance(self, n_steps: int) -> int | None: ...

    def predict(self, frames: np.ndarray) -> Tensor: ...

    def random_state(self) -> dict[str, Any]: ...


def shared(*shape: int) -> Tensor:
    """Zeros of a shape, float32, in memory that forked processes share; it is freed with the last of them."""
    size = int(np.prod(shape))
    return torch.frombuffer(mmap.mmap(-1, max(size * 4, 1)), dtype=torch.float32, count=size).view(*shape)


class Team:
    """Forked processes, each with a share of the networks as these are at the start.

    Neighbouring networks are in different processes, since they are asked for predictions together.
    """

    def __init__(self, networks: Sequence[Network], n: int, context: Callable[[], AbstractContextManager[None]]):
        """`n` is the number of processes; each takes its steps inside of `context()`."""
        self._n, self._n_networks = n, len(networks)
        self._members: list[tuple[int, Connection]] = []
        for member in range(n):
            self._members.append(_forked(networks[member::n], context, [own for _, own in self._members]))
        self.close = weakref.finalize(self, _end, self._members)

    def advance(self, n_steps: int) -> list[int | None]:
        """Run `n_steps` of all networks. Returns for each process the first step whose loss was not finite or exploded.

        Raises RuntimeError where a process fails or has died, as the other methods do.
        """
        return self._ask([("advance", n_steps)] * self._n)

    def random_states(self) -> list[dict[str, Any]]:
        """The random state of every network, in order."""
        states = self._ask([("states", None)] * self._n)
        return [states[place % self._n][place // self._n] for place in range(self._n_networks)]

    def predict(self, frames: Mapping[int, np.ndarray]) -> dict[int, Tensor]:
        """The output (n, n_unique) of each network at its frames (n,), by the networks' indices."""
        asked: list[dict[int, np.ndarray]] = [{} for _ in range(self._n)]
        for place, some in frames.items():
            asked[place % self._n][place // self._n] = some
        answers = self._ask([("predict", some) for some in asked])
        return {place: torch.from_numpy(answers[place % self._n][place // self._n]) for place in frames}

    def _ask(self, requests: Sequence[tuple[str, Any]]) -> list[Any]:
        """The answer of each process to its request."""
        for (_, own), request in zip(self._members, requests, strict=True):
            _send(own, request)
        return [_answer(_receive(own)) for _, own in self._members]


def _answer(received: dict[str, Any] | None) -> Any:
    """The answer in a message. Raises RuntimeError where there is no message, or it holds an error."""
    if received is None:
        raise RuntimeError("a process that trained windows has died")
    if "error" in received:
        raise RuntimeError(received["error"])
    return received["answer"]


def _forked(
    networks: Sequence[Network], context: Callable[[], AbstractContextManager[None]], others: Sequence[Connection]
) -> tuple[int, Connection]:
    """A new process, and this side of its connection. The process closes the connections of `others`."""
    ours, theirs = multiprocessing.Pipe()
    with warnings.catch_warnings():  # Python warns of a fork beside threads; the new process does not need them
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    try:
        for connection in (ours, *others):
            connection.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _serve(networks, context, theirs)
    finally:
        os._exit(0)


def _serve(
    networks: Sequence[Network], context: Callable[[], AbstractContextManager[None]], theirs: Connection
) -> None:
    """Answer requests until the other side has closed the connection."""
    while (request := _receive(theirs)) is not None:
        try:
            what, of = request
            if what == "advance":
                with context():
                    steps = [network.advance(of) for network in networks]
                answer: Any = min((step for step in steps if step is not None), default=None)
            elif what == "predict":
                answer = {place: networks[place].predict(frames).numpy() for place, frames in of.items()}
            else:
                answer = [network.random_state() for network in networks]
            _send(theirs, {"answer": answer})
        except Exception as error:
            _send(theirs, {"error": f"{type(error).__name__}: {error}"})


def _send(connection: Connection, content: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # it is noticed when no answer comes
        connection.send(content)


def _receive(connection: Connection) -> Any:
    """The other side's message; None where it has closed the connection."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _end(members: Sequence[tuple[int, Connection]]) -> None:
    """Kill the processes, also in the middle of a step, and wait until they are gone."""
    for pid, own in members:
        own.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
