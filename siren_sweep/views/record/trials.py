"""The studies as the record reads them: light, immutable views of blocks and trials."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState

from siren_sweep.config.parameters import EXPLORABLE, PARAMETERS
from siren_sweep.config.schema import N_REPORTS
from siren_sweep.search.tree import Node
from siren_sweep.study.records import Outcome, Stint, Trial, TrialPlan, finite, solved_r2_of
from siren_sweep.study.stored import read_block, read_notes
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import best_trial, instructions, open_batches, seed_runs, whole_runs, winner
from siren_sweep.train.report import Status


class State(StrEnum):
    """How far a trial has come."""

    open = "open"
    complete = "complete"
    paused = "paused"  # it may go on, or does
    pruned = "pruned"
    failed = "failed"

    @property
    def stopped(self) -> bool:
        """Whether the pruner stopped it, so far or for good."""
        return self in (State.paused, State.pruned)


_STATES = {TrialState.COMPLETE: State.complete, TrialState.PRUNED: State.pruned, TrialState.FAIL: State.failed}


@dataclass(frozen=True)
class TrialView:
    """One trial of a block, with its plan.

    `value` is the final R2 of a complete trial. `bound` is what a stopped trial's final R2 is at most, where the pruner
    said so, `last_r2` the last R2 that was seen, and `curve` the R2 at each twentieth of its steps. `config` is the
    plan's with every parameter, `params` the point of the search space, where that is known. `told_in` is the batch
    after which it was told, None before; `given_up` says that it was paused until then.
    """

    number: int
    plan: TrialPlan
    config: Mapping[str, Any]
    state: State = State.complete
    value: float | None = None
    bound: float | None = None
    last_r2: float | None = None
    curve: Sequence[float] = ()
    told_in: int | None = None
    given_up: bool = False
    stints: Sequence[Stint] = ()
    reason: str | None = None
    metrics: Mapping[str, Any] | None = None
    params: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> tuple[int, int]:
        """The batch and the slot in which it trained last."""
        last = self.stints[-1] if self.stints else self.plan
        return last.batch, last.slot

    @property
    def sample(self) -> str:
        """Over which part of the windows its R2 is; empty where it is over all frames."""
        metrics = self.metrics or {}
        return Outcome(0, Status.finished, metrics=metrics).part

    @property
    def r2(self) -> float | None:
        """The final R2, or the last one seen of a trial that was stopped."""
        return self.value if self.value is not None else self.last_r2

    @functools.cached_property
    def node(self) -> Node:
        """The trial in its block's tree; a stopped one's value is its last."""
        value = self.r2 if self.state is State.complete or self.state.stopped else None
        return Node(self.number, self.plan.parent, value)

    def after(self, batch: int) -> TrialView:
        """The trial as it stood when a batch was over: paused, where it was told later."""
        if self.state is State.open or (self.told_in is not None and self.told_in <= batch):
            return self
        later = next((stint for stint in self.stints if stint.batch > batch), None)
        curve = self.curve[: round(later.fraction * N_REPORTS)] if later else self.curve
        return replace(
            self,
            state=State.paused,
            value=None,
            bound=later.bound if later else self.bound,
            last_r2=curve[-1] if curve else None,
            curve=curve,
            told_in=None,
            metrics=None,
        )


@dataclass(frozen=True)
class BlockView:
    """One block: its trials in the order of iterations, and the R2 that its winner reached with other seeds.

    `validation` holds one list of R2 for each config that was trained again, its first run's among them. `told` are the
    batches that are over, `ended` says that nothing will be added. `asked` holds what a person asked for meanwhile, and
    the answer; `whole` the final R2, by trial number, of configs that were trained in all their windows. `best` is the
    number of the trial that won, None before one has finished. `notes` is what an agent wrote into the memory, by
    section, None where none was asked.
    """

    number: int
    n_training_frames: int
    trials: Sequence[TrialView]
    validation: Sequence[Sequence[float]] = ()
    told: frozenset[int] = frozenset()
    ended: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    asked: Sequence[tuple[str, str]] = ()
    whole: Mapping[int, float] = field(default_factory=dict)
    best: int | None = None
    notes: Mapping[str, str] | None = None
    data_hash: str = ""
    command: str = ""

    @property
    def solved_r2(self) -> float | None:
        """The R2 from which on a difference is of no practical meaning; None where there is none."""
        return solved_r2_of(self.settings)

    def final_r2(self, trial: TrialView) -> float | None:
        """R2 over all frames: a trial's own, or, where that is over some windows, that of its config trained whole."""
        return self.whole.get(trial.number) if trial.sample else trial.value

    def trial(self, number: int | None) -> TrialView | None:
        """The trial of a number, None where the block has none such."""
        return None if number is None else self._by_number.get(number)

    @functools.cached_property
    def _by_number(self) -> dict[int, TrialView]:
        return {trial.number: trial for trial in self.trials}

    def entries(self) -> list[TrialView]:
        """The trials that were told, in batches that are over."""
        return [trial for trial in self.trials if trial.told_in in self.told]

    def after(self, batch: int, among: Iterable[TrialView] | None = None) -> BlockView:
        """The block, or these of its trials, as it stood when a batch was just over."""
        trials = [
            one if one.told_in is not None and one.told_in <= batch else one.after(batch)  # a call for few of many
            for one in (self.trials if among is None else among)
            if one.plan.batch <= batch
        ]
        told = frozenset(known for known in self.told if known <= batch)
        return BlockView(self.number, self.n_training_frames, trials, told=told, settings=self.settings)


def read_blocks(studies: Mapping[int, Study], validations: Mapping[int, Study]) -> list[BlockView]:
    """The blocks that have begun, in order; a block ends when the next one begins, or when it was marked as ended."""
    last = max(studies, default=0)
    asked: dict[int, list[tuple[str, str]]] = {number: [] for number in studies}
    for one in instructions(studies):
        asked.get(one.block, []).append((one.line, one.answer))
    return [
        _block(number, studies[number], validations.get(number), number < last, asked[number])
        for number in sorted(studies)
    ]


def _block(
    number: int, study: Study, validation: Study | None, followed: bool, asked: Sequence[tuple[str, str]]
) -> BlockView:
    block, won = read_block(study), winner(study, validation)
    best = won.searched if won else best_trial(study)
    trials = sorted(map(_trial, read_trials(study)), key=lambda trial: (trial.plan.iteration, trial.number))
    return BlockView(
        number,
        block.n_training_frames,
        trials,
        _validation(validation, trials) if validation else (),
        _told(trials, study),
        followed or block.ended,
        block.settings,
        block.dataset,
        asked,
        {run.plan.whole_of: run.metrics["final_r2"] for run in whole_runs(validation) if run.plan.whole_of is not None},
        best.number if best else None,
        read_notes(study),
        block.data_hash,
        block.command,
    )


def _told(trials: Sequence[TrialView], study: Study) -> frozenset[int]:
    """The batches that are over."""
    known = {trial.plan.batch for trial in trials} | {trial.told_in for trial in trials if trial.told_in is not None}
    trains = {trial.plan.batch for trial in trials if trial.state is State.open} | {*open_batches(study)}
    return frozenset(known - trains)


def _validation(study: Study, trials: Sequence[TrialView]) -> list[list[float]]:
    """R2 of every seed, by config."""
    first = {trial.number: trial.value for trial in trials if trial.value is not None}
    groups: dict[int, list[float]] = {}
    for trial in seed_runs(study):
        value, origin = finite(trial.value), trial.plan.validation_of
        if value is not None and origin is not None and origin in first:
            groups.setdefault(origin, [first[origin]]).append(value)
    return list(groups.values())


def _trial(trial: Trial) -> TrialView:
    plan, stop = trial.plan, trial.stop
    state = _STATES.get(trial.state, State.paused if trial.paused or trial.stints else State.open)
    value = finite(trial.value) if state is State.complete else None
    return TrialView(
        number=trial.number,
        plan=plan,
        config={name: plan.config.get(name, PARAMETERS[name].default) for name in EXPLORABLE},
        params=trial.params,
        state=State.failed if state is State.complete and value is None else state,
        value=value,
        bound=finite(stop.bound) if stop and state.stopped else None,
        last_r2=trial.last_r2,
        curve=[report.r2 for report in trial.reports],
        told_in=_told_in(trial),
        given_up=trial.given_up is not None,
        stints=trial.stints,
        reason=trial.outcome.reason if trial.outcome else None,
        metrics=trial.metrics,
        provenance=trial.outcome.provenance if trial.outcome else {},
    )


def _told_in(trial: Trial) -> int | None:
    """The batch after which a trial was told."""
    if not trial.state.is_finished():
        return None
    return trial.given_up if trial.given_up is not None else trial.batch
