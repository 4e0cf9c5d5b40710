"""Blocks and trials as immutable objects for the views, read from the studies."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.config.parameters import EXPLORABLE, PARAMETERS
from siren_sweep.config.schema import N_REPORTS
from siren_sweep.search.tree import Node
from siren_sweep.study.log_format import OLD_R2
from siren_sweep.study.records import Block, Instruction, Outcome, Stop, Trial, finite, solved_r2_of
from siren_sweep.study.stored import opened_again, read_block, read_notes
from siren_sweep.study.stored_trials import read_trial, read_trials
from siren_sweep.study.studies import (
    Winner,
    best_trial,
    instructions,
    n_trials_of,
    open_batches,
    seed_runs,
    whole_runs,
    winner,
)
from siren_sweep.train.report import Status

UNTRAINED_WHOLE = "no config has been trained in all its windows yet"


class Stage(StrEnum):
    """How far a trial has come."""

    open = "open"
    complete = "complete"
    paused = "paused"  # it may be resumed, or has been
    pruned = "pruned"
    failed = "failed"

    @property
    def stopped(self) -> bool:
        """Whether the pruner stopped the trial, for now or for good."""
        return self in (Stage.paused, Stage.pruned)


_STAGES = {TrialState.COMPLETE: Stage.complete, TrialState.PRUNED: Stage.pruned, TrialState.FAIL: Stage.failed}


@dataclass(frozen=True)
class TrialView(Trial):
    """A trial, with the values that the views derive from it."""

    @functools.cached_property
    def config(self) -> Mapping[str, Any]:
        """The config with every explorable parameter. One that an older study does not have is at its default."""
        return {name: self.plan.config.get(name, PARAMETERS[name].default) for name in EXPLORABLE}

    @functools.cached_property
    def stage(self) -> Stage:
        """How far the trial has come. A complete trial counts as failed where its R2 is NaN or infinite."""
        if self.state is TrialState.COMPLETE and self.final is None:
            return Stage.failed
        return _STAGES.get(self.state, Stage.paused if self.paused or self.stints else Stage.open)

    @property
    def final(self) -> float | None:
        """The final R2 of a complete trial; None for others."""
        return finite(self.value) if self.state is TrialState.COMPLETE else None

    @property
    def r2(self) -> float | None:
        """The final R2; where there is none, the last R2 that was reported."""
        return self.last_r2 if self.final is None else self.final

    @property
    def graded(self) -> float | None:
        """The R2 by which the trial is classed: `r2`, or None where the trial failed, whatever it had reached."""
        return None if self.stage is Stage.failed else self.r2

    @property
    def bound(self) -> float | None:
        """The highest final R2 that a stopped trial can reach, where the pruner gave such a bound."""
        return finite(self.stop.bound) if self.stop and self.stage.stopped else None

    @property
    def reason(self) -> str | None:
        """Why the trial ended, or why it paused last."""
        return self.outcome.reason if self.outcome else None

    @functools.cached_property
    def told_in(self) -> int | None:
        """The batch after which Optuna was told of the trial; None before that."""
        if not self.state.is_finished():
            return None
        return self.batch if self.given_up is None else self.given_up

    @functools.cached_property
    def node(self) -> Node:
        """The trial as a node of its block's tree. The value of a stopped trial is its last R2."""
        value = self.r2 if self.stage is Stage.complete or self.stage.stopped else None
        return Node(self.number, self.plan.parent, value)

    def after(self, batch: int) -> TrialView:
        """The trial as it was at the end of a batch. One that was told later was paused then."""
        if self.stage is Stage.open or (self.told_in is not None and self.told_in <= batch):
            return self
        later = next((stint for stint in self.stints if stint.batch > batch), None)
        reports = self.reports[: round(later.fraction * N_REPORTS)] if later else self.reports
        bound = later.bound if later else self.bound
        return replace(
            self,
            state=TrialState.RUNNING,
            value=None,
            reports=reports,
            stop=Stop(reports[-1].fraction, reports[-1].r2, bound) if reports else None,
            outcome=Outcome(self.attempt, Status.stopped),
            stints=(),
        )


@dataclass(frozen=True)
class BlockView:
    """One block, with its trials in the order of iterations.

    `best` is the trial that won, None before one has finished. `winner` is the run of its config over all frames: that
    trial itself, unless it trained only some of the windows. `seeds` are the runs of that config with other seeds.
    `validation` has, for each config that was trained with other seeds, the R2 of all its runs, the trial's own
    included. `whole` has the final R2, by trial number, of configs that were trained again in all windows.

    `told` are the batches that are over. `ended` means that nothing will be added. `asked` are a person's instructions
    in this block. `notes` is what an agent wrote into the memory, by section; None where no agent was asked. `study` is
    the study's name, `frozen` its trials as Optuna has them.
    """

    block: Block
    trials: Sequence[TrialView]
    best: TrialView | None = None
    winner: Winner | None = None
    seeds: Sequence[Trial] = ()
    validation: Mapping[int, Sequence[float]] = field(default_factory=dict)
    whole: Mapping[int, float] = field(default_factory=dict)
    told: frozenset[int] = frozenset()
    ended: bool = False
    asked: Sequence[Instruction] = ()
    notes: Mapping[str, str] | None = None
    study: str = ""
    frozen: Sequence[FrozenTrial] = ()

    @property
    def number(self) -> int:
        return self.block.number

    @property
    def n_frames(self) -> int:
        return self.block.n_training_frames

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.block.settings

    @property
    def title(self) -> str:
        """The block's heading."""
        return f"Block {self.number}, {self.n_frames} frames"

    @property
    def solved_r2(self) -> float | None:
        """`claude.solved_r2`, the R2 above which differences do not count; None where it is not set."""
        return solved_r2_of(self.settings)

    @property
    def finished_seeds(self) -> list[Trial]:
        """The runs with other seeds that are complete."""
        return [run for run in self.seeds if run.state is TrialState.COMPLETE]

    @property
    def result(self) -> Trial | None:
        """The run whose metrics are the block's: the winner, or the best trial where no config was trained whole."""
        return self.winner.run if self.winner else self.best

    @property
    def r2(self) -> float:
        """The block's `final_r2`; where no config was trained whole, the R2 over the best trial's windows; else 0."""
        return self.result.outcome.r2 if self.result and self.result.outcome else 0.0

    @property
    def part(self) -> str:
        """The windows that `r2` is over, as text; empty where it is over all frames."""
        return self.result.part if self.result else ""

    @property
    def r2_name(self) -> str:
        """The name of the block's R2. An imported log has another measure."""
        return "R²" if self.block.imported is None else OLD_R2

    @property
    def n_planned(self) -> int:
        """The block's budget, in full trials."""
        n_iter_block = self.settings.get("claude.n_iter_block", len(self.trials))
        return n_trials_of(self.asked, self.number, int(n_iter_block))

    @property
    def best_path(self) -> set[int]:
        """The numbers of the best trial and its ancestors."""
        return self.with_ancestors([self.best.number] if self.best else [])

    def with_ancestors(self, numbers: Iterable[int]) -> set[int]:
        """The numbers of trials, and those of all their ancestors."""
        parents = {trial.number: trial.plan.parent for trial in self.trials}
        found: set[int] = set()
        for own in numbers:
            number: int | None = own
            while number in parents and number not in found:
                found.add(number)
                number = parents[number]
        return found

    def final_r2(self, trial: TrialView) -> float | None:
        """A trial's R2 over all frames: its own, or that of its config trained whole where its own is over a sample."""
        return self.whole.get(trial.number) if trial.part else trial.final

    def trial(self, number: int | None) -> TrialView | None:
        """The trial with a number; None where the block has no such trial."""
        return None if number is None else self._by_number.get(number)

    @functools.cached_property
    def _by_number(self) -> dict[int, TrialView]:
        return {trial.number: trial for trial in self.trials}

    def count(self, state: TrialState) -> int:
        """How many trials are in a state."""
        return sum(trial.state is state for trial in self.trials)

    def entries(self) -> list[TrialView]:
        """The told trials of the batches that are over."""
        return [trial for trial in self.trials if trial.told_in in self.told]

    def after(self, batch: int, among: Iterable[TrialView]) -> BlockView:
        """A view of the block with only these trials, as they were at the end of a batch."""
        trials = [
            one if one.told_in is not None and one.told_in <= batch else one.after(batch)  # saves most calls
            for one in among
            if one.plan.batch <= batch
        ]
        return BlockView(self.block, trials)


def read_blocks(studies: Mapping[int, Study], validations: Mapping[int, Study]) -> list[BlockView]:
    """The blocks that have begun, in order.

    A block has ended where it is so marked, or the next one has begun, unless it was opened again.
    """
    last, asked = max(studies, default=0), instructions(studies)
    return [
        _block(study, validations.get(number), number < last, [one for one in asked if one.block == number])
        for number, study in sorted(studies.items())
    ]


def current_block(blocks: Sequence[BlockView]) -> BlockView | None:
    """The block that runs: the first that has not ended, else the last one; None where there is none."""
    return next((block for block in blocks if not block.ended), blocks[-1] if blocks else None)


def _block(study: Study, validation: Study | None, followed: bool, asked: Sequence[Instruction]) -> BlockView:
    block, frozen = read_block(study), study.get_trials(deepcopy=False)
    known = (TrialView(**vars(trial)) for trial in map(read_trial, frozen) if trial is not None)
    trials = sorted(known, key=lambda trial: (trial.plan.iteration, trial.number))
    won = winner(study, validation)
    found = won.searched if won else best_trial(study)
    best = next((trial for trial in trials if found and trial.number == found.number), None)
    runs = read_trials(validation) if validation else []
    return BlockView(
        block,
        trials,
        best,
        won,
        [run for run in runs if best and run.plan.validation_of == best.number],
        _validation(validation, trials),
        {run.plan.whole_of: run.metrics["final_r2"] for run in whole_runs(validation) if run.plan.whole_of is not None},
        _told(trials, study),
        block.ended or (followed and not opened_again(study)),
        asked,
        read_notes(study),
        study.study_name,
        frozen,
    )


def _told(trials: Sequence[TrialView], study: Study) -> frozenset[int]:
    """The batches that are over: none of their trials is open."""
    known = {trial.plan.batch for trial in trials} | {trial.told_in for trial in trials if trial.told_in is not None}
    trains = {trial.plan.batch for trial in trials if trial.stage is Stage.open} | {*open_batches(study)}
    return frozenset(known - trains)


def _validation(study: Study | None, trials: Sequence[TrialView]) -> dict[int, list[float]]:
    """The R2 of all runs of each trial that was trained with other seeds, by its number; its own comes first."""
    first = {trial.number: trial.final for trial in trials if trial.final is not None}
    groups: dict[int, list[float]] = {}
    for run in seed_runs(study):
        value, origin = finite(run.value), run.plan.validation_of
        if value is not None and origin is not None and origin in first:
            groups.setdefault(origin, [first[origin]]).append(value)
    return groups
