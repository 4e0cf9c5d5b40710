"""Signals that end a sweep: after the first it ends in order, after the second at once."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_n_seen, _last = 0, 0


class AtOnce(KeyboardInterrupt):
    """A second interrupt: end without waiting for anything."""


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
    """Inside the context the first SIGINT (Ctrl-C) or SIGTERM (preemption) raises KeyboardInterrupt, others AtOnce."""
    global _n_seen
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(which: int, _: object) -> None:
        global _n_seen, _last
        _n_seen, _last = _n_seen + 1, which
        check()

    _n_seen = 0
    before = {which: signal.signal(which, interrupt) for which in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def check() -> None:
    """Raise KeyboardInterrupt, or AtOnce, after a signal.

    The handler's own exception may be lost: Python drops one that is raised during garbage collection.
    """
    if _n_seen:
        raise KeyboardInterrupt if _n_seen == 1 else AtOnce


def last_signal() -> int:
    """The number of the last signal, 0 where there was none."""
    return _last


def insisted() -> bool:
    """Whether a second interrupt has come."""
    return _n_seen > 1
