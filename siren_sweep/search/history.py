"""What a study's trials tell the search: scores with their uncertainty, the tree's nodes, and what was infeasible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.search.curves import Gains, Scale, curve
from siren_sweep.search.encoding import Axis, Params, key_of
from siren_sweep.search.tree import Node
from siren_sweep.study.seen import seen_trials
from siren_sweep.study.stored import failure, n_training_frames, stated_parent
from siren_sweep.train.report import Status

_BEST, _RECENT, _SPREAD = 40, 30, 30  # trials that a model is fitted to, of a long study
_UNSEEN_SPREAD = 0.3  # of the final score of a trial that stopped without a report at a known fraction


class Lacked(StrEnum):
    """What a failed trial had too little of."""

    time = "time"
    memory = "memory"


@dataclass(frozen=True)
class Observation:
    """One trial: `score` is its final one or the one foreseen, None where it failed or still runs."""

    number: int
    params: Params
    parent: int | None
    value: float | None
    score: float | None
    variance: float
    state: TrialState
    lacked: Lacked | None

    @property
    def node(self) -> Node:
        return Node(self.number, self.parent, self.value if self.score is not None else None)


class History:
    """The trials of a study that have a value for every parameter of a space, in order."""

    def __init__(self, study: optuna.Study, space: Sequence[Axis], n_reports: int) -> None:
        trials = [t for t in seen_trials(study) if all(axis.name in t.params for axis in space)]
        self._n_reports = n_reports
        self.n_frames: float | None = n_training_frames(study)
        self.scale = Scale(study, trials)
        finished = [t for t in trials if t.state is TrialState.COMPLETE and t.value is not None]
        self._finished = self.scale.score(np.array([curve(t, n_reports) for t in finished]).reshape(-1, n_reports))
        self._finished[:, -1] = self.scale.score(np.array([t.value for t in finished], np.float64))
        parents = _parents(trials, space)
        self.observations = [self._observed(trial, parents[trial.number]) for trial in trials]

    @property
    def scored(self) -> list[Observation]:
        return [seen for seen in self.observations if seen.score is not None]

    @property
    def fitted(self) -> list[Observation]:
        """The told trials that a model sees: all, or of a long study the best, the latest, and some of the rest."""
        told = [seen for seen in self.observations if seen.state.is_finished() and not seen.lacked]
        if len(told) <= _BEST + _RECENT + _SPREAD:
            return told
        ranked = sorted(told, key=lambda seen: -(seen.score if seen.score is not None else -math.inf))
        kept = {seen.number for seen in ranked[:_BEST]} | {seen.number for seen in told[-_RECENT:]}
        rest = [seen for seen in told if seen.number not in kept]
        kept |= {rest[int(index)].number for index in np.linspace(0, len(rest) - 1, _SPREAD)}
        return [seen for seen in told if seen.number in kept]

    @property
    def best(self) -> float | None:
        """The best finished score; of the foreseen ones where none has finished."""
        finished = [seen.score for seen in self.scored if seen.state is TrialState.COMPLETE]
        return max(finished or [seen.score for seen in self.scored], default=None)  # type: ignore[type-var]

    def _observed(self, trial: FrozenTrial, parent: int | None) -> Observation:
        score, variance = None, 0.0
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            score = float(self.scale.score(trial.value))
        elif trial.state is TrialState.PRUNED and trial.value is not None and math.isfinite(trial.value):
            score, variance = self._foreseen(trial)
        return Observation(
            trial.number,
            trial.params,
            parent,
            trial.value if score is not None else None,
            score,
            variance,
            trial.state,
            _lacked(trial),
        )

    def _foreseen(self, trial: FrozenTrial) -> tuple[float, float]:
        """Final score of a pruned trial and its variance, from what finished trials gained from its last report on."""
        own, report = self.scale.score(curve(trial, self._n_reports)), trial.last_step
        if report is None or not 1 <= report < self._n_reports:
            return float(self.scale.score(trial.value or 0.0)), _UNSEEN_SPREAD**2
        mean, spread = Gains.seen(self._finished, report).final(own, report)
        return float(mean), float(spread) ** 2


def _lacked(trial: FrozenTrial) -> Lacked | None:
    outcome = failure(trial)
    if outcome is None:
        return None
    if outcome.status == Status.infeasible:
        return Lacked.time
    return Lacked.memory if "memory" in (outcome.reason or "").lower() else None


def _parents(trials: Sequence[FrozenTrial], space: Sequence[Axis]) -> dict[int, int | None]:
    """Parent by number: as the trial says, else the latest earlier trial that differs in one parameter."""
    parents: dict[int, int | None] = {}
    latest: dict[tuple[int, tuple[object, ...]], int] = {}
    for trial in trials:
        key = key_of(space, trial.params)
        rests = [(index, key[:index] + key[index + 1 :]) for index in range(len(key))]
        stated, parents[trial.number] = stated_parent(trial)
        if not stated:
            parents[trial.number] = max((latest[rest] for rest in rests if rest in latest), default=None)
        latest.update(dict.fromkeys(rests, trial.number))
    return parents
