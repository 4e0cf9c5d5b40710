"""The types of what a sweep's studies store: a block, a planned batch, a trial and how it ended.

`stored` and `stored_trials` read and write them.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import TrialState

from siren_sweep.train.report import Report, Status

SOLVED = "claude.solved_r2"  # a key of a sweep's settings
WITH_METRICS = (Status.finished, Status.truncated)


@dataclass(frozen=True)
class Hypothesis:
    """What a trial tests. `parameters` are the dotted names that change from `old` to `new` values.

    `expectation` is the forecast of the sampler's model, None where there is none.
    """

    rationale: str = ""
    falsified_by: str = ""
    parameters: tuple[str, ...] = ()
    old: tuple[Any, ...] = ()
    new: tuple[Any, ...] = ()
    expectation: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class TrialPlan:
    """A trial as it was planned: its config, its place in the sweep, and its hypothesis.

    `parent` is the number of a trial of the same study. `note` is a remark for the record, as where the sampler
    replaced an agent's config. `sampler_state` is for the sampler's own use. A run beside a block has `whole_of` or
    `validation_of`: the number of the block's trial whose config it trains in all windows, or with another seed.
    """

    iteration: int
    config: Mapping[str, Any]  # the explorable parameters, absolute, by dotted name
    block: int = 1
    batch: int = 1
    slot: int = 0
    n_training_frames: int = 0
    seed: int | None = None
    data_hash: str = ""
    parent: int | None = None
    mutation: str = ""
    strategy: str = ""
    hypothesis: Hypothesis | None = None
    note: str = ""
    sampler_state: Mapping[str, Any] = field(default_factory=dict)
    validation_of: int | None = None
    whole_of: int | None = None


@dataclass(frozen=True)
class PlannedTrial:
    """One slot of a planned batch: `params`, the point of the search space, and the trial's plan.

    `goes_on` is the number of a paused trial that is resumed; `plan` then has its place in this batch.
    """

    params: Mapping[str, Any]
    plan: TrialPlan
    goes_on: int | None = None


@dataclass(frozen=True)
class Stint:
    """A time for which a paused trial was resumed: its batch and slot, and the trial's state before.

    That state is the number of the last attempt, the fraction of the steps that were done, and the pruner's bound on
    the final R2. `began` is when the worker started, in seconds since 1970.
    """

    batch: int
    slot: int
    attempt: int
    fraction: float
    bound: float | None = None
    began: float = 0.0


@dataclass(frozen=True)
class ClusterJob:
    """The job of a cluster that runs an attempt at a trial. `id` is the scheduler's number."""

    attempt: int
    id: str


@dataclass(frozen=True)
class Stop:
    """Why the pruner paused a trial: its R2 at a fraction of its steps.

    Where the pruner gives reasons, `bound` is the highest final R2 that it expects, and `best` the block's best R2.
    """

    fraction: float
    r2: float
    bound: float | None = None
    best: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a trial ended. `metrics` has the names of `config.schema.METRICS` and `SAMPLE_NAMES`.

    `began_s` and `ended_s` are the times of the training, in seconds since 1970; Optuna's own times would be those at
    which the whole batch was told. `provenance` has versions, commit, seed, device and precision. It is empty where an
    older version ran the trial, or where it failed.
    """

    attempt: int
    status: str
    reason: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    stop_step: int = 0
    began_s: float | None = None
    ended_s: float | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def succeeded(self) -> bool:
        """Whether it ended with metrics: finished or truncated."""
        return self.status in WITH_METRICS

    @property
    def sampled(self) -> bool:
        """Whether it trained only a sample of its windows."""
        return "sample_r2" in self.metrics

    @property
    def r2(self) -> float:
        """The R2 by which trials are compared: final_r2, or sample_r2 where a sample of the windows was trained."""
        return float(self.metrics["sample_r2" if self.sampled else "final_r2"])

    @property
    def part(self) -> str:
        """`over 16 of 512 windows` where the R2 is that of a sample; else empty."""
        if not self.sampled:
            return ""
        return f"over {self.metrics['sample_windows']} of {self.metrics['n_windows']} windows"


@dataclass(frozen=True)
class Trial:
    """One trial as the study has it now.

    A trial that the pruner stops is paused: it keeps its checkpoint, and may be resumed in a later batch of its block.
    Optuna is not told of it before the block's end, when it is told as PRUNED.
    """

    number: int
    state: TrialState
    value: float | None
    params: Mapping[str, Any]
    plan: TrialPlan
    attempt: int = 0
    deaths: tuple[str, ...] = ()  # the reason of each death of its worker
    reports: tuple[Report, ...] = ()
    stop: Stop | None = None  # None again once it was resumed
    outcome: Outcome | None = None
    stints: tuple[Stint, ...] = ()
    given_up: int | None = None  # the batch after which a paused trial was told PRUNED
    job: ClusterJob | None = None
    began: datetime.datetime | None = None
    told: datetime.datetime | None = None

    @property
    def current(self) -> Outcome | None:
        """The outcome of the current attempt; None while that is queued or trains."""
        if self.outcome is None or self.outcome.attempt != self.attempt:
            return None
        return None if self.stints and self.outcome.attempt <= self.stints[-1].attempt else self.outcome

    @property
    def paused(self) -> bool:
        """Whether the pruner stopped it, and it was neither resumed nor told PRUNED."""
        return not self.state.is_finished() and self.current is not None and self.current.status == Status.stopped

    @property
    def may_go_on(self) -> bool:
        """Whether it is paused without a bound. A bound of the pruner says that the trial cannot win."""
        return self.paused and (self.stop is None or self.stop.bound is None)

    @property
    def batch(self) -> int:
        """The batch in which it trains, or last did."""
        return self.stints[-1].batch if self.stints else self.plan.batch

    @property
    def slot(self) -> int:
        """Its slot in that batch."""
        return self.stints[-1].slot if self.stints else self.plan.slot

    @property
    def reached(self) -> float:
        """The fraction of its steps at its last report."""
        return self.reports[-1].fraction if self.reports else 0.0

    @property
    def spent(self) -> float:
        """What it has used of its block's budget, in full trials.

        A trial that runs, or was paused or pruned, counts by the fraction of its steps that it has run. One that has
        ended otherwise counts as 1, also where it failed, ran out of time, or was solved before its last step: where
        every config is solved early, a block needs no more of them.
        """
        if self.outcome is not None and self.outcome.status == Status.stopped and self.reports:
            return self.reached
        if self.state in (TrialState.COMPLETE, TrialState.FAIL) or self.current is not None:
            return 1.0
        return self.reached

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The metrics that it ended with; empty where it has none."""
        return self.outcome.metrics if self.outcome else {}

    @property
    def sampled(self) -> bool:
        return self.outcome is not None and self.outcome.sampled

    @property
    def part(self) -> str:
        """Over which windows its R2 is; empty where it is over all frames."""
        return self.outcome.part if self.outcome else ""

    @property
    def finite_value(self) -> float | None:
        """The R2 of a finished trial, or the last R2 of a pruned one; None where that is not finite."""
        if self.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return None
        return finite(self.value)

    @property
    def last_r2(self) -> float | None:
        """The R2 of a trial that ran to its end, or else its last finite R2; None where it has none."""
        seen = [report.r2 for report in self.reports] + ([self.stop.r2] if self.stop else []) + [self.value]
        return next((number for number in map(finite, reversed(seen)) if number is not None), None)


@dataclass(frozen=True)
class Instruction:
    """An instruction of a person to a running sweep, and the answer.

    `block` is the block that ran then (0 after the last one), `after_batch` its last batch. An instruction may set a
    `limit` (parameter, low, high), ask for a config (`wanted`) or for `more` full trials, `stop` the block, or `end`
    the sweep.
    """

    number: int
    line: str
    block: int
    after_batch: int
    answer: str
    limit: tuple[str, float, float] | None = None
    wanted: Mapping[str, Any] | None = None
    more: int = 0
    stop: bool = False
    end: bool = False


@dataclass(frozen=True)
class Block:
    """A block as its study has it. `settings` are the sweep's, by dotted name; `command` is the one that started it."""

    number: int
    n_training_frames: int
    data_hash: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    imported: Mapping[str, Any] | None = None  # of an imported log: its file, and a note on its R2
    command: str = ""
    ended: bool = False
    shown: bool = False


@dataclass(frozen=True)
class TrackedTo:
    """The MLflow that a sweep's runs go to.

    `uri` is its address without user and password; None: the file beside the sweeps. `credentials` says whether the
    address had a user or a password.
    """

    uri: str | None
    credentials: bool = False


@dataclass(frozen=True)
class Mirrored:
    """What a sweep knows of its MLflow experiment: which one it is, and the keys of the runs that it has made there.

    `marks` are the marks that it has left there, in order; by them a copy of the sweep, which leaves others, is
    noticed.
    """

    experiment: str = ""
    keys: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()


def solved_r2_of(settings: Mapping[str, Any]) -> float | None:
    """`claude.solved_r2` of a sweep's settings: from this R2 on configs count as equal. None where it is not set."""
    return finite(settings.get(SOLVED))


def finite(value: Any) -> float | None:
    """The value as a float where it is a finite number; else None."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None
