"""What a study's trials tell the search: their scores as they went, the tree's nodes, and what was infeasible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.search.curves import Scale
from siren_sweep.search.encoding import Axis, Params, key_of
from siren_sweep.study.seen import paused
from siren_sweep.study.stored import solved_r2
from siren_sweep.study.stored_trials import failure, stated_parent
from siren_sweep.train.report import Status

_LOOKS = (1, 4)  # reports that a model sees of each trial, beside its last
_BEST, _RECENT, _SPREAD = 30, 20, 20  # trials that a model is fitted to, of a long study


class Lacked(StrEnum):
    """What a failed trial had too little of."""

    time = "time"
    memory = "memory"


@dataclass(frozen=True)
class Observation:
    """One trial: `scores` by report, the last one its final score where it finished; none where it failed or still
    runs."""

    number: int
    params: Params
    parent: int | None
    state: TrialState
    may_go_on: bool
    scores: dict[int, float]
    lacked: Lacked | None

    @property
    def last(self) -> float:
        """The score that it stands at."""
        return self.scores[max(self.scores)] if self.scores else -math.inf


class History:
    """The trials of a study that have a value for every parameter of a space, in order."""

    def __init__(self, study: optuna.Study, space: Sequence[Axis], n_reports: int) -> None:
        names = {axis.name for axis in space}
        trials = [trial for trial in study.get_trials(deepcopy=False) if names <= trial.params.keys()]
        self.n_reports = n_reports
        self.scale = Scale(study, trials)
        known = solved_r2(study)
        self.solved_score = math.inf if known is None else float(self.scale.score(known))
        parents = _parents(trials, space)
        self.observations = [self._observed(trial, parents[trial.number]) for trial in trials]

    @property
    def fitted(self) -> list[Observation]:
        """The trials that a model sees, also failed ones: all, or of a long study the best, the latest, those that are
        paused, and some of the rest."""
        seen = [one for one in self.observations if (one.scores or one.state is TrialState.FAIL) and not one.lacked]
        if len(seen) <= _BEST + _RECENT + _SPREAD:
            return seen
        ranked = sorted(seen, key=lambda one: -one.last)
        kept = {one.number for one in ranked[:_BEST]} | {one.number for one in seen[-_RECENT:]}
        rest = [one for one in seen if one.number not in kept]
        kept |= {rest[int(index)].number for index in np.linspace(0, len(rest) - 1, _SPREAD)}
        return [one for one in seen if one.number in kept]

    @property
    def n_seen(self) -> int:
        """Reports that were seen of all trials."""
        return sum(max(one.scores, default=0) for one in self.observations)

    @property
    def best(self) -> float | None:
        """The best finished score."""
        finished = [one.last for one in self.observations if one.state is TrialState.COMPLETE and one.scores]
        return max(finished, default=None)

    @property
    def solved(self) -> list[Observation]:
        """The finished trials that are solved: of those the cheapest wins (`claude.solved_r2`)."""
        finished = (one for one in self.observations if one.state is TrialState.COMPLETE)
        return [one for one in finished if one.last >= self.solved_score]

    def _observed(self, trial: FrozenTrial, parent: int | None) -> Observation:
        scores: dict[int, float] = {}
        stopped = paused(trial)
        if stopped or trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            reports = {step: value for step, value in trial.intermediate_values.items() if 1 <= step < self.n_reports}
            looks = [*_LOOKS, max(reports)] if reports else []
            values = {step: reports[step] for step in looks if step in reports}
            if trial.state is TrialState.COMPLETE or not values:
                values[self.n_reports] = trial.value if trial.value is not None else math.nan
            known = {step: float(self.scale.score(value)) for step, value in values.items() if math.isfinite(value)}
            scores = known if trial.state is not TrialState.COMPLETE or self.n_reports in known else {}
        may_go_on = stopped is not None and stopped.may_go_on
        return Observation(trial.number, trial.params, parent, trial.state, may_go_on, scores, _lacked(trial))


def _lacked(trial: FrozenTrial) -> Lacked | None:
    outcome = failure(trial) if trial.state is TrialState.FAIL else None
    if outcome is None:
        return None
    if outcome.status == Status.infeasible:
        return Lacked.time
    return Lacked.memory if "memory" in (outcome.reason or "").lower() else None


def _parents(trials: Sequence[FrozenTrial], space: Sequence[Axis]) -> dict[int, int | None]:
    """Parent by number: as the trial says, else the latest earlier trial that differs in one parameter."""
    stated = {trial.number: stated_parent(trial) for trial in trials}
    parents = {number: parent for number, (_, parent) in stated.items()}
    if all(says for says, _ in stated.values()):
        return parents
    latest: dict[tuple[int, tuple[object, ...]], int] = {}
    for trial in trials:
        key = key_of(space, trial.params)
        rests = [(index, key[:index] + key[index + 1 :]) for index in range(len(key))]
        if not stated[trial.number][0]:
            parents[trial.number] = max((latest[rest] for rest in rests if rest in latest), default=None)
        latest.update(dict.fromkeys(rests, trial.number))
    return parents
