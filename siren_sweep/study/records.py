"""What the studies of a sweep store, as types: a block, a planned batch, a trial and what became of it.

How they are stored is `stored`'s own.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import TrialState

from siren_sweep.train.report import Report, Status

SOLVED = "claude.solved_r2"  # of a sweep's settings
WITH_METRICS = (Status.finished, Status.truncated)


@dataclass(frozen=True)
class Hypothesis:
    """What a trial is to show. `parameters` are the dotted names that change, `old` and `new` their values;
    `expectation` is the model's forecast in numbers, None where it made none."""

    rationale: str = ""
    falsified_by: str = ""
    parameters: tuple[str, ...] = ()
    old: tuple[Any, ...] = ()
    new: tuple[Any, ...] = ()
    expectation: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class TrialPlan:
    """What makes a trial this trial, from its planning on.

    `parent` is a trial of the same study. `note` says what became of an agent's word, `sampler_state` is what the
    sampler keeps there for itself. A run beside a block has `whole_of` or `validation_of`: the trial of the block whose
    config it trains whole, or with another seed.
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
    """One slot of a batch's plan: the point of the search space, and the rest.

    `goes_on` is the number of a paused trial that is taken up again; `plan` then has its place in this batch.
    """

    params: Mapping[str, Any]
    plan: TrialPlan
    goes_on: int | None = None


@dataclass(frozen=True)
class Stint:
    """A paused trial taken up again: its place there, and what was before: the last attempt, the fraction that it had
    come to, the bound on its final R2. `began`, in seconds since 1970, is when its worker did."""

    batch: int
    slot: int
    attempt: int
    fraction: float
    bound: float | None = None
    began: float = 0.0


@dataclass(frozen=True)
class ClusterJob:
    """The job of a cluster in which an attempt at a trial runs, by the scheduler's number."""

    attempt: int
    id: str


@dataclass(frozen=True)
class Stop:
    """Why the pruner paused a trial: its last R2, and, where the pruner gives reasons, the bound on its final one."""

    fraction: float
    r2: float
    bound: float | None = None
    best: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a trial ended; `metrics` by the names of `config.schema.METRICS` and `SAMPLE_NAMES`.

    `began_s` and `ended_s` are when, in seconds since 1970: all trials of a batch are told later, together.
    `provenance` is what ran it: versions, commit, seed, device, precision; empty where an older version ran it, or
    where it failed.
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
        """Whether it came to an end with metrics."""
        return self.status in WITH_METRICS

    @property
    def sampled(self) -> bool:
        """Whether it trained some of its windows only."""
        return "sample_r2" in self.metrics

    @property
    def r2(self) -> float:
        """What trials are compared by: final_r2, or that of the windows that were trained."""
        return float(self.metrics["sample_r2" if self.sampled else "final_r2"])

    @property
    def part(self) -> str:
        """`over 16 of 512 windows` for an R2 that is over some of them; else empty."""
        if not self.sampled:
            return ""
        return f"over {self.metrics['sample_windows']} of {self.metrics['n_windows']} windows"


@dataclass(frozen=True)
class Trial:
    """One trial as the study has it now.

    One that the pruner stops is paused: it is not told, keeps its checkpoint, and may be taken up again in a later
    batch of its block. At the block's end it is told PRUNED.
    """

    number: int
    state: TrialState
    value: float | None
    params: Mapping[str, Any]
    plan: TrialPlan
    attempt: int = 0
    deaths: tuple[str, ...] = ()  # reasons, of workers that died of it
    reports: tuple[Report, ...] = ()
    stop: Stop | None = None  # None again once it has gone on
    outcome: Outcome | None = None
    stints: tuple[Stint, ...] = ()
    given_up: int | None = None  # the batch after which a paused trial was told that it does not go on
    job: ClusterJob | None = None
    began: datetime.datetime | None = None
    told: datetime.datetime | None = None

    @property
    def current(self) -> Outcome | None:
        """The outcome of the current attempt; None while it trains, the first time or again."""
        if self.outcome is None or self.outcome.attempt != self.attempt:
            return None
        return None if self.stints and self.outcome.attempt <= self.stints[-1].attempt else self.outcome

    @property
    def paused(self) -> bool:
        """Whether it was stopped and not told."""
        return not self.state.is_finished() and self.current is not None and self.current.status == Status.stopped

    @property
    def may_go_on(self) -> bool:
        """Whether it is paused, and no bound of the pruner's rules out that it wins."""
        return self.paused and (self.stop is None or self.stop.bound is None)

    @property
    def batch(self) -> int:
        """The batch in which it trains, or did last."""
        return self.stints[-1].batch if self.stints else self.plan.batch

    @property
    def slot(self) -> int:
        """Its slot there."""
        return self.stints[-1].slot if self.stints else self.plan.slot

    @property
    def reached(self) -> float:
        """The fraction of its steps at its last report."""
        return self.reports[-1].fraction if self.reports else 0.0

    @property
    def spent(self) -> float:
        """What it has used of a block's budget, in full trials: the part of its steps that it has run.

        One that failed counts whole, whatever it ran of it, and so does one that used up its time, or was solved before
        its last step: a block in which every config is solved at once has seen enough of them.
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
        """R2 of a finished trial, or the last of a pruned one; None where there is no finite one."""
        if self.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return None
        return finite(self.value)

    @property
    def last_r2(self) -> float | None:
        """R2 of a trial that came to its end, and else the last that was seen; None where none was finite."""
        seen = [report.r2 for report in self.reports] + ([self.stop.r2] if self.stop else []) + [self.value]
        return next((number for number in map(finite, reversed(seen)) if number is not None), None)


@dataclass(frozen=True)
class Instruction:
    """What a person asked of a running sweep, and the answer.

    `block` is the one that ran then (0 after the last), `after_batch` its last batch. What it changes: `limit`
    (parameter, low, high), `wanted` (a config to be tried), `more` trials, `stop` of the block, `end` of the sweep.
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
    """A block, as its study says it: `settings` are the sweep's, flat by dotted name; `command` began it."""

    number: int
    n_training_frames: int
    data_hash: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    imported: Mapping[str, Any] | None = None  # of an imported log: its file, and what its figures are
    command: str = ""
    ended: bool = False
    shown: bool = False


@dataclass(frozen=True)
class TrackedTo:
    """The MLflow that a sweep's runs go to: its address without user and password, None for the file beside the
    sweeps; `credentials` says that the address had one of the two."""

    uri: str | None
    credentials: bool = False


@dataclass(frozen=True)
class Mirrored:
    """What a sweep knows of the MLflow experiment that its runs are in: which one, the keys of the runs that it has had
    there, and the marks that it left there, one after the other. A copy of the sweep leaves others."""

    experiment: str = ""
    keys: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()


def solved_r2_of(settings: Mapping[str, Any]) -> float | None:
    """The R2 from which on configs of a sweep with these settings are equal; None where none are."""
    return finite(settings.get(SOLVED))


def finite(value: Any) -> float | None:
    """A number that is one, or None."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None
