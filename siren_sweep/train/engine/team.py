"""Networks trained side by side on several cores: each of a few forked processes has every so many'th of them.

Threads would not do: a step is some fifty short calls, and threads that take turns at Python's lock lose half of what a
second core could bring. The processes share the networks' parameters and moments by memory that both may write; what
else a network keeps, its random state, is asked for where it is wanted. They go when the process that forked them does.
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
    """What is needed of a network: that it trains and predicts, and its random state as plain values."""

    def advance(self, n_steps: int) -> int | None: ...

    def predict(self, frames: np.ndarray) -> Tensor: ...

    def random_state(self) -> dict[str, Any]: ...


def shared(*shape: int) -> Tensor:
    """Zeros (*shape) float32 in memory that forked processes share; it goes with the last of them."""
    size = int(np.prod(shape))
    return torch.frombuffer(mmap.mmap(-1, max(size * 4, 1)), dtype=torch.float32, count=size).view(*shape)


class Team:
    """Forked processes, each with its share of the networks as they are at the start: of neighbours, that are asked
    for predictions together, each has its part."""

    def __init__(self, networks: Sequence[Network], n: int, context: Callable[[], AbstractContextManager[None]]):
        """`context` is what holds while a process takes steps."""
        self._n, self._n_networks = n, len(networks)
        self._members: list[tuple[int, Connection]] = []
        for member in range(n):
            self._members.append(_forked(networks[member::n], context, [own for _, own in self._members]))
        self.close = weakref.finalize(self, _end, self._members)

    def advance(self, n_steps: int) -> list[int | None]:
        """All networks take `n_steps`; for each process the first step at which a loss was no number or exploded."""
        return self._ask([("advance", n_steps)] * self._n)

    def random_states(self) -> list[dict[str, Any]]:
        """The random state of every network, in order."""
        states = self._ask([("states", None)] * self._n)
        return [states[place % self._n][place // self._n] for place in range(self._n_networks)]

    def predict(self, frames: Mapping[int, np.ndarray]) -> dict[int, Tensor]:
        """What each network, by its place, says at its frames (n,): (n, n_unique)."""
        asked: list[dict[int, np.ndarray]] = [{} for _ in range(self._n)]
        for place, some in frames.items():
            asked[place % self._n][place // self._n] = some
        answers = self._ask([("predict", some) for some in asked])
        return {place: torch.from_numpy(answers[place % self._n][place // self._n]) for place in frames}

    def _ask(self, requests: Sequence[tuple[str, Any]]) -> list[Any]:
        """The answers of all, each to its own request."""
        for (_, own), request in zip(self._members, requests, strict=True):
            _send(own, request)
        return [_answer(_receive(own)) for _, own in self._members]


def _answer(received: dict[str, Any] | None) -> Any:
    """Raises RuntimeError where there is none, or an error in its place."""
    if received is None:
        raise RuntimeError("a process that trained windows has died")
    if "error" in received:
        raise RuntimeError(received["error"])
    return received["answer"]


def _forked(
    networks: Sequence[Network], context: Callable[[], AbstractContextManager[None]], others: Sequence[Connection]
) -> tuple[int, Connection]:
    """A process, and this side of its connection; it closes the connections of `others`, which are not its own."""
    ours, theirs = multiprocessing.Pipe()
    with warnings.catch_warnings():  # other threads of ours wait, and take no part in what the process does
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
    """Do what is asked until the other side has gone."""
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
    with contextlib.suppress(BrokenPipeError):  # the answer that does not come says it
        connection.send(content)


def _receive(connection: Connection) -> Any:
    """What the other side sent; None where it has gone."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _end(members: Sequence[tuple[int, Connection]]) -> None:
    """Let the processes go, and wait for them; one that is in the middle of a step is not waited for."""
    for pid, own in members:
        own.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
