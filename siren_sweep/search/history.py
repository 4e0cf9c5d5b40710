"""What a study's trials tell the search: their scores as they went, what is solved, and what was too large.

R2 is searched as -log10(1 - R2), its number of nines: there the same change means as much near 0.5 as near 0.999.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.config.schema import N_REPORTS
from siren_sweep.search.encoding import Axis, Params, key_of
from siren_sweep.search.knowledge import cost, footprint, has_windows
from siren_sweep.study.snapshots import paused
from siren_sweep.study.stored import solved_r2
from siren_sweep.study.stored_trials import failure, stated_parent
from siren_sweep.train.report import Status

_SMALLEST_ERROR = 1e-9  # 1 - R2 below this is a rounding
_LOOKS = (1, 4)  # reports that a model sees of each trial, beside its last
_BEST, _RECENT, _SPREAD = 30, 20, 20  # trials that a model is fitted to, of a long study
_UNSOLVED = 0.999  # the price of a config where nothing is solved
_CROWDED = 0.15  # distance, in ranges, from an infeasible config within which nothing is proposed


class Scale:
    """The map between an objective's values and scores, which are to be maximised.

    An objective that is no R2 is divided by its spread.
    """

    def __init__(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        values = [trial.value for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
        self._sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
        self.nines = self._sign > 0 and all(value <= 1 for value in values)
        self._unit = 1.0 if self.nines or len(values) < 2 else float(np.std(values)) or 1.0

    def score(self, values: np.ndarray | float) -> np.ndarray:
        """Scores of values, elementwise; NaN stays."""
        values = np.asarray(values, np.float64)
        if self.nines:
            return np.asarray(-np.log10(np.maximum(1 - values, _SMALLEST_ERROR)))
        return self._sign * values / self._unit

    def value(self, score: float) -> float:
        """The objective's value at a score."""
        return 1 - 10**-score if self.nines else self._sign * score * self._unit


@dataclass(frozen=True)
class Observation:
    """One trial: `scores` by report, the last one its final score where it finished; none where it failed or still
    runs. `too_large` is what a failed one had too much of for its time or its memory: its `cost` or its `footprint`."""

    number: int
    params: Params
    parent: int | None
    state: TrialState
    may_go_on: bool
    scores: dict[int, float]
    too_large: Callable[[Params], float] | None

    @property
    def last(self) -> float:
        """The score that it stands at."""
        return self.scores[max(self.scores)] if self.scores else -math.inf


class History:
    """The trials of a study that have a value for every parameter of a space, in order."""

    def __init__(self, study: optuna.Study, space: Sequence[Axis]) -> None:
        names = {axis.name for axis in space}
        trials = [trial for trial in study.get_trials(deepcopy=False) if names <= trial.params.keys()]
        self.space, self.scale = space, Scale(study, trials)
        known = solved_r2(study)
        self.solved_score = math.inf if known is None else float(self.scale.score(known))
        parents = _parents(trials, space)
        self.observations = [self._observed(trial, parents[trial.number]) for trial in trials]
        self._too_large = [(one.params, one.too_large) for one in self.observations if one.too_large]
        finished = [one for one in self.observations if one.state is TrialState.COMPLETE]
        self.best = max((one.last for one in finished if one.scores), default=None)
        self._least: dict[bool, float] = {}  # cost of a solved trial, without windows and with
        for one in finished:
            if one.last >= self.solved_score:
                kind = has_windows(one.params)
                self._least[kind] = min(cost(one.params), self._least.get(kind, math.inf))

    @property
    def fitted(self) -> list[Observation]:
        """The trials that a model sees, also failed ones: all, or of a long study the best, the latest, and some of the
        rest."""
        seen = [one for one in self.observations if (one.scores or one.state is TrialState.FAIL) and not one.too_large]
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

    def prices(self, configs: Sequence[Params]) -> np.ndarray:
        """The planned cost of configs (n,) in that of the cheapest solved trial of their kind, windows or none: from 1
        on one wins only where it is solved at an earlier step. Just below 1 where none of that kind is solved."""
        least = [self._least.get(has_windows(params)) for params in configs]
        return np.array([cost(params) / own if own else _UNSOLVED for params, own in zip(configs, least, strict=True)])

    def feasible(self, params: Params) -> bool:
        """Below every config of its kind, windows or none, that lacked time or memory; where the names tell no cost,
        away from it."""
        for failed, measure in self._too_large:
            if has_windows(failed) == has_windows(params):
                needs, limit = measure(params), measure(failed)
                if needs > limit or (needs == limit and self._distance(params, failed) < _CROWDED):
                    return False
        return True

    def _distance(self, a: Params, b: Params) -> float:
        """Between two configs, in ranges."""
        free = [axis for axis in self.space if not axis.fixed]
        return math.dist(*([axis.to_unit(config[axis.name]) for axis in free] for config in (a, b)))

    def _observed(self, trial: FrozenTrial, parent: int | None) -> Observation:
        scores: dict[int, float] = {}
        stopped, complete = paused(trial), trial.state is TrialState.COMPLETE
        if stopped or complete or trial.state is TrialState.PRUNED:
            reports = {step: value for step, value in trial.intermediate_values.items() if 1 <= step < N_REPORTS}
            looks = [*_LOOKS, max(reports)] if reports else []
            values = {step: reports[step] for step in looks if step in reports}
            if complete or not values:
                values[N_REPORTS] = trial.value if trial.value is not None else math.nan
            known = {step: float(self.scale.score(value)) for step, value in values.items() if math.isfinite(value)}
            scores = known if not complete or N_REPORTS in known else {}
        may_go_on = stopped is not None and stopped.may_go_on
        return Observation(trial.number, trial.params, parent, trial.state, may_go_on, scores, _too_large(trial))


def _too_large(trial: FrozenTrial) -> Callable[[Params], float] | None:
    outcome = failure(trial)
    if outcome is None:
        return None
    if outcome.status == Status.infeasible:
        return cost
    return footprint if "memory" in (outcome.reason or "").lower() else None


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
