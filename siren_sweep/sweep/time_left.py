"""Estimates how long a batch, a block and the sweep may still take, from the time that trials took so far."""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Mapping, Sequence

from siren_sweep.config.parameters import TOTAL_STEPS
from siren_sweep.config.schema import Block
from siren_sweep.study.records import Trial
from siren_sweep.train.report import Status


class Clock:
    """The seconds that running trials have left. Between two reports they are counted down."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int, int], tuple[int, float]] = {}  # by attempt: the last report and its time

    def left_s(self, study: str, trial: Trial) -> float | None:
        """Seconds until a trial has done its steps; None before its first report."""
        if not trial.reports:
            return None
        last, now, key = trial.reports[-1], time.monotonic(), (study, trial.number, trial.attempt)
        if self._seen.get(key, (0, 0.0))[0] != last.index:
            self._seen[key] = last.index, now
        return max(0.0, last.left_s - (now - self._seen[key][1]))


def took_s(trial: Trial) -> float | None:
    """Seconds that a trial took, or would take to its end; None where it has not reported."""
    ended = trial.current if trial.current is not None and trial.current.status != Status.stopped else None
    if ended is not None and (minutes := ended.metrics.get("training_time_min")) is not None:
        return float(minutes) * 60
    if not trial.reports:
        return None
    last = trial.reports[-1]
    return last.elapsed_s if ended is not None else last.elapsed_s + last.left_s


def typical_s(trials: Sequence[Trial], total_steps: int) -> float | None:
    """Seconds of a trial of `total_steps` steps, at the mean time of a step in `trials`; None where none is known."""
    known = [(took_s(trial), trial.plan.config.get(TOTAL_STEPS)) for trial in trials]
    rates = [seconds / steps for seconds, steps in known if seconds and steps]
    return statistics.mean(rates) * total_steps if rates else None


def queue_s(running: Sequence[float], queued: Sequence[float], n_slots: int) -> float:
    """Seconds until all trials are done, where each slot that becomes free takes the next of `queued`.

    `running` are the seconds left of running trials, `queued` those of waiting ones.
    """
    free = sorted(running)[-n_slots:]
    free += [0.0] * (n_slots - len(free))
    heapq.heapify(free)
    for seconds in queued:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free)


def later_s(typical: float, total_steps: int, later: Sequence[Block], n_trials: int, n_slots: int) -> float:
    """Seconds of the `later` blocks, if a step takes as long as in a trial of `total_steps` and `typical` seconds."""
    return sum(typical * block.total_steps / total_steps * -(-n_trials // n_slots) for block in later)


def words(left: Mapping[str, float]) -> str:
    """The seconds left as text: `left: 12 s in the batch, 3 min in the block`."""
    return "left: " + ", ".join(f"{duration(seconds)} in the {what}" for what, seconds in left.items())


def duration(seconds: float) -> str:
    """Seconds as text, in s, min or h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
