"""What the report shows of a block, read from its study and its validation study."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.study.log_format import OLD_R2
from siren_sweep.study.records import Block, Instruction, Trial
from siren_sweep.study.stored import read_block
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import Winner, best_trial, n_trials_of, winner


@dataclass(frozen=True)
class ReportedBlock:
    """One block; `name` is its study's.

    `best` is the trial of the block that won, None where none has finished; `winner` the run of its config over all
    frames, which is that trial itself unless it trained some windows only. `validation` holds the trials of its config
    with other seeds; `asked` are the records of what a person asked for in this block.
    """

    number: int
    name: str
    block: Block
    trials: list[Trial]
    best: Trial | None
    validation: list[Trial]
    asked: Sequence[Instruction] = ()
    winner: Winner | None = None
    frozen: Sequence[FrozenTrial] = ()  # as Optuna has them

    @property
    def result(self) -> Trial | None:
        """The run whose metrics are the block's: the winner, or the best trial while nothing was trained whole."""
        return self.winner.run if self.winner else self.best

    @property
    def r2(self) -> float:
        """The block's R2: `final_r2`, or that of the best trial's windows while nothing was trained whole."""
        return self.result.outcome.r2 if self.result and self.result.outcome else 0.0

    @property
    def sample(self) -> str:
        """Over which windows `r2` is; empty where it is over all frames."""
        return self.result.part if self.result else ""

    @property
    def r2_name(self) -> str:
        """What its R2 is called: that of an imported log is another measure."""
        return "R²" if self.block.imported is None else OLD_R2

    @property
    def n_planned(self) -> int:
        """How many trials the block is to have."""
        n_iter_block = self.settings.get("claude.n_iter_block", len(self.trials))
        return n_trials_of(self.asked, self.number, int(n_iter_block))

    @property
    def title(self) -> str:
        """How the report calls it."""
        return f"Block {self.number}, {self.n_frames} frames"

    @property
    def n_frames(self) -> int:
        return self.block.n_training_frames

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.block.settings

    @property
    def best_path(self) -> set[int]:
        """The best trial and its ancestors."""
        parents = {trial.number: trial.plan.parent for trial in self.trials}
        path: set[int] = set()
        number = self.best.number if self.best else None
        while number in parents and number not in path:
            path.add(number)
            number = parents[number]
        return path

    def count(self, state: TrialState) -> int:
        """How many trials are in a state."""
        return sum(trial.state is state for trial in self.trials)


def view_block(study: Study, validation: Study | None, asked: Sequence[Instruction] = ()) -> ReportedBlock:
    """A block as its study and its validation study stand: all is read at once, since the sweep may go on meanwhile."""
    block, trials = read_block(study), read_trials(study)
    won = winner(study, validation)
    found = won.searched if won else best_trial(study)
    best = next((trial for trial in trials if found and trial.number == found.number), None)
    seeds = [] if validation is None or best is None else read_trials(validation)
    of_best = [trial for trial in seeds if best and trial.plan.validation_of == best.number]
    own = [one for one in asked if one.block == block.number]
    frozen = study.get_trials(deepcopy=False)
    return ReportedBlock(block.number, study.study_name, block, trials, best, of_best, own, won, frozen)


def curve_of(trial: Trial) -> list[tuple[int, float]]:
    """(step, R2) of each report with a finite R2."""
    return [(report.step, report.r2) for report in trial.reports if math.isfinite(report.r2)]


def spells(trial: Trial) -> list[tuple[int, datetime.datetime, datetime.datetime]]:
    """Slot, begin and end of each time that a trial has trained; a pause begins at a report."""
    if trial.began is None:
        return []
    begins = [(trial.plan.slot, trial.began, 0.0)]
    begins += [(one.slot, datetime.datetime.fromtimestamp(one.began), one.fraction) for one in trial.stints]
    found = []
    for (slot, begin, since), until in zip(begins, [one.fraction for one in trial.stints] + [1.0], strict=True):
        end: datetime.datetime | None = begin + _elapsed(trial, until) - _elapsed(trial, since)
        if until == 1.0 and not trial.paused and trial.state is not TrialState.PRUNED:
            end = trial.told
        if end is not None:
            found.append((slot, begin, end))
    return found


def _elapsed(trial: Trial, fraction: float) -> datetime.timedelta:
    """How long it had trained at a fraction of its steps."""
    seconds = [report.elapsed_s for report in trial.reports if report.fraction <= fraction]
    return datetime.timedelta(seconds=max(seconds, default=0.0))


def reason_of(trial: Trial) -> str:
    """Why it ended as it did; empty where nobody said, and of one that has gone on since."""
    outcome = trial.outcome if trial.state.is_finished() else trial.current
    return (outcome.reason if outcome else None) or ""


def state_of(trial: Trial) -> str:
    """finished, pruned, failed, paused, running or waiting."""
    names = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    return names.get(trial.state, "paused" if trial.paused else trial.state.name.lower())
