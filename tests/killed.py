"""Ends a training run in the middle, as if its process had been killed."""

from __future__ import annotations

from collections.abc import Callable


class Killed(Exception):
    """Raised in place of the end of the process."""


def kill_at(last_step: int) -> Callable[[int], None]:
    """An `on_step` for a run that raises Killed at `last_step`, or at the first later step at which it is called."""

    def on_step(step: int) -> None:
        if step >= last_step:
            raise Killed

    return on_step
