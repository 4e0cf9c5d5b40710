"""What the report shows of a block, read from its study and its validation study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.studies import Winner, best_trial, metrics_of, n_trials_of, objective, sample_words, winner


@dataclass(frozen=True)
class ReportedBlock:
    """One block; `name` is its study's.

    `best` is the trial of the block that won, None where none has finished; `winner` the run of its config over all
    frames, which is that trial itself unless it trained some windows only. `validation` holds the trials of its config
    with other seeds; `asked` are the records of what a person asked for in this block.
    """

    number: int
    name: str
    attributes: Mapping[str, Any]
    trials: list[FrozenTrial]
    best: FrozenTrial | None
    validation: list[FrozenTrial]
    asked: Sequence[Mapping[str, Any]] = ()
    winner: Winner | None = None

    @property
    def result(self) -> FrozenTrial | None:
        """The run whose metrics are the block's: the winner, or the best trial while nothing was trained whole."""
        return self.winner.run if self.winner else self.best

    @property
    def r2(self) -> float:
        """The block's R2: `final_r2`, or that of the best trial's windows while nothing was trained whole."""
        return float(objective(outcome_of(self.result)["metrics"])) if self.result else 0.0

    @property
    def sample(self) -> str:
        """Over which windows `r2` is; empty where it is over all frames."""
        return sample_words(metrics_of(self.result)) if self.result else ""

    @property
    def n_planned(self) -> int:
        """How many trials the block is to have."""
        n_iter_block = self.settings.get("claude.n_iter_block", len(self.trials))
        return n_trials_of(self.asked, self.number, int(n_iter_block))

    @property
    def n_frames(self) -> int:
        return int(self.attributes["n_training_frames"])

    @property
    def settings(self) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = self.attributes.get("settings", {})
        return settings

    @property
    def best_path(self) -> set[int]:
        """The best trial and its ancestors."""
        parents = {trial.number: trial.user_attrs.get("parent") for trial in self.trials}
        path: set[int] = set()
        number = self.best.number if self.best else None
        while number in parents and number not in path:
            path.add(number)
            number = parents[number]
        return path

    def count(self, state: TrialState) -> int:
        """How many trials are in a state."""
        return sum(trial.state is state for trial in self.trials)


def view_block(study: Study, validation: Study | None, asked: Sequence[Mapping[str, Any]] = ()) -> ReportedBlock:
    """Everything at once, so that a sweep that goes on meanwhile is seen at one moment."""
    attributes, trials = study.user_attrs, study.get_trials(deepcopy=False)
    won = winner(study, validation)
    best = won.searched if won else best_trial(study)
    seeds = [] if validation is None or best is None else validation.get_trials(deepcopy=False)
    of_best = [trial for trial in seeds if best and trial.user_attrs.get("validation_of") == best.number]
    own = [one for one in asked if one["block"] == attributes["block"]]
    return ReportedBlock(attributes["block"], study.study_name, attributes, trials, best, of_best, own, won)


def value_of(trial: FrozenTrial) -> float | None:
    """R2 of a finished trial or the last of a pruned one; None where there is no finite one."""
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or trial.value is None:
        return None
    return trial.value if math.isfinite(trial.value) else None


def curve_of(trial: FrozenTrial) -> list[tuple[int, float]]:
    """(step, R2) of each report with a finite R2."""
    reports = trial.user_attrs.get("reports", [])
    return [(report["step"], report["r2"]) for report in reports if math.isfinite(report["r2"])]


def outcome_of(trial: FrozenTrial) -> Mapping[str, Any]:
    """The outcome that the worker wrote; empty while there is none."""
    outcome: Mapping[str, Any] = trial.user_attrs.get("outcome") or {}
    return outcome


def state_of(trial: FrozenTrial) -> str:
    """finished, pruned, failed, running or waiting."""
    names = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    return names.get(trial.state, trial.state.name.lower())
