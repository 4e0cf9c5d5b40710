"""Signals that end a sweep: the first asks, the second insists."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

_n_seen, _last = 0, 0


class AtOnce(KeyboardInterrupt):
    """A second interrupt: nothing is waited for any more."""


@contextlib.contextmanager
def interrupts() -> Iterator[None]:
    """SIGTERM (preemption) is as Ctrl-C: the first of either raises KeyboardInterrupt, each further one AtOnce."""
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
    """Raise what was asked for: Python loses an exception that comes up while it collects garbage."""
    if _n_seen:
        raise KeyboardInterrupt if _n_seen == 1 else AtOnce


def last_signal() -> int:
    """The signal that came last, 0 where none did."""
    return _last


def insisted() -> bool:
    """Whether a second interrupt has come."""
    return _n_seen > 1
