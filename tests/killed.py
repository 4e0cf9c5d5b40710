"""A training run that ends as if its process had been killed."""

from __future__ import annotations

from collections.abc import Callable


class Killed(Exception):
    """Stands for whatever ends a process."""


def kill_at(last_step: int) -> Callable[[int], None]:
    """An `on_step` that ends the run at `last_step`, or the first step after it at which it is asked."""

    def on_step(step: int) -> None:
        if step >= last_step:
            raise Killed

    return on_step
