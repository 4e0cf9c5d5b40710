"""`UCBTreeSampler`: mutations of the nodes that PUCT favours, chosen by a model of what has been seen.

For each config of a batch the tree ranks the trials by their UCB, those chosen before it counted as visited; the
children of the highest ones are compared by their expected improvement over the best finished trial, weighed against
their cost. A child differs from its parent in one parameter, or in a coupled pair (`knowledge.COUPLINGS`); a pair, and
a fresh config, which has no parent, must promise clearly more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.config.parameters import leaf
from siren_sweep.config.schema import N_REPORTS
from siren_sweep.search import mutations
from siren_sweep.search.encoding import Axis, Params, axes, key_of
from siren_sweep.search.history import History, Lacked, Observation
from siren_sweep.search.knowledge import Features, cost, couplings, features_of_prior, footprint
from siren_sweep.search.model import Belief, Surrogate
from siren_sweep.search.mutations import Candidate
from siren_sweep.search.prior import Prior
from siren_sweep.search.proposal import Proposal, changed, hypothesis, mutation_text
from siren_sweep.search.tree import Node, Reward, scores
from siren_sweep.study.records import Hypothesis

NAME = "tree"
_N_START = 4  # configs of the first design
_N_FITTED = 2  # scored trials from which on the model is asked
_N_RANDOM, _N_FRESH = 1000, 200  # random configs considered before that, and after
_GOOD_SHARE = 0.1  # of random configs, by the prior, that the first ones are spread over
_N_PARENTS = 8  # nodes of highest UCB whose children are compared
_PAIR_HANDICAP, _FRESH_HANDICAP = 0.3, 0.6  # of the log expected improvement
_START_COST = 0.2  # expected score that a config costing e times as much must have more, to be among the first
_COST_POWER = 0.3  # of the cost that the expected improvement is divided by
_WORST = 2.0  # scores farther below the median than this many times the best is above it are cut there
_CROWDED = 0.15  # distance, in ranges, from an infeasible config within which nothing is proposed


class UCBTreeSampler(BaseSampler):
    """Works in plain `study.optimize`, and plans whole batches by `propose`. Its proposals follow from the seed and
    the study alone.

    `c` and `reward` are the tree's (see `tree`). Pruned trials count by their curves when their reports are steps 1 to
    `n_reports`, equal fractions of the run.
    """

    def __init__(
        self, seed: int = 0, *, c: float = 1.414, reward: Reward | str = Reward.rank, n_reports: int = N_REPORTS
    ) -> None:
        self._seed, self._c, self._reward, self._n_reports = seed, c, Reward(reward), n_reports
        self._intersection = IntersectionSearchSpace()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._intersection.calculate(study)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        proposals = self.propose(study, search_space, 1)
        return proposals[0].params if proposals else {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        rng = np.random.default_rng([self._seed, trial.number, *param_name.encode()])
        return mutations.fresh(axes({param_name: param_distribution}), rng, 1)[0].params[param_name]

    def propose(
        self,
        study: optuna.Study,
        distributions: Mapping[str, BaseDistribution],
        n: int,
        *,
        pending: Sequence[Params] = (),
        earlier: Sequence[optuna.Study] = (),
        within: Mapping[str, BaseDistribution] | None = None,
    ) -> list[Proposal]:
        """Up to n configs, none of them in the study or pending; fewer only where none is left.

        `pending` are configs planned for the same batch; `earlier` are studies of earlier blocks, the last one last,
        whose trials inform the model. `within` are narrower distributions that all proposals lie in.
        """
        space = axes(distributions)
        history = History(study, space, self._n_reports)
        rng = np.random.default_rng([self._seed, len(history.observations), len(pending)])
        batch = _Batch(space, axes(within or distributions), history, pending)
        before = [History(other, space, self._n_reports) for other in earlier]
        if sum(len(one.scored) for one in [history, *before]) < _N_FITTED:
            self._start(batch, n, rng)
        else:
            self._grow(batch, n, rng, before)
        return batch.proposals

    def _start(self, batch: _Batch, n: int, rng: np.random.Generator) -> None:
        """Configs spread over what the prior expects to do well, or over the whole space where it knows nothing."""
        candidates = mutations.fresh(batch.part, rng, _N_RANDOM)
        expected = prior_scores(batch.history, [candidate.params for candidate in candidates])
        if informed := float(np.ptp(expected)) > 0:
            price = np.log([cost(candidate.params) for candidate in candidates])
            good = np.argsort(_START_COST * price - expected, kind="stable")[: round(_GOOD_SHARE * len(candidates))]
            candidates = [candidates[index] for index in good]
        else:
            taken = len(batch.history.observations) + len(batch.pending)
            size = max(n, _N_START)
            design = mutations.latin_hypercube(batch.part, size, np.random.default_rng([self._seed, taken // size]))
            candidates = design[taken % size :] + candidates
        allowed = mutations.once(batch.space, batch.allowed(candidates))
        if len(allowed) < n:  # a small space
            allowed = mutations.once(
                batch.space, [*allowed, *batch.allowed(mutations.fresh(batch.part, rng, _N_RANDOM))]
            )
        if informed:
            taken_configs = [*batch.pending, *(seen.params for seen in batch.history.observations)]
            allowed = mutations.spread(batch.space, allowed, taken_configs, n)
        for candidate in allowed[:n]:
            batch.add(candidate, None)

    def _grow(self, batch: _Batch, n: int, rng: np.random.Generator, earlier: Sequence[History]) -> None:
        """Children of the favoured nodes, one after the other, each taking those before it as run."""
        ranked = scores(batch.nodes, self._c, self._reward)[:_N_PARENTS]
        known = {seen.number: seen for seen in batch.history.scored}
        parents = [(row.id, known[row.id].params) for row in ranked]
        pairs = [(first, second) for first, second, _ in couplings(batch.part)]
        candidates = mutations.mutations(batch.part, parents, pairs, rng)
        candidates = batch.allowed(candidates + mutations.fresh(batch.part, rng, _N_FRESH))
        if not candidates:
            return
        model = _Model(batch, earlier, rng)
        first = belief = model.believe([candidate.params for candidate in candidates])
        penalty = np.array([_handicap(candidate) for candidate in candidates])
        open_ = np.ones(len(candidates), bool)
        keys = [key_of(batch.space, candidate.params) for candidate in candidates]
        for _ in range(n):
            eligible = {row.id for row in scores(batch.nodes, self._c, self._reward)[: max(_N_PARENTS // 2, 1)]}
            may = open_ & np.array(
                [candidate.parent is None or candidate.parent in eligible for candidate in candidates]
            )
            if not may.any():
                may = open_
            if not may.any():
                return
            merit = np.where(may, belief.log_improvement(model.best) - penalty, -np.inf)
            chosen = int(np.argmax(merit))
            batch.add(candidates[chosen], model.hypothesis(first, candidates[chosen], chosen))
            open_ &= np.array([key != keys[chosen] for key in keys])
            belief = model.pretend(belief, chosen)


class _Batch:
    """The proposals so far, and the tree with them as pending nodes; proposals lie in a `part` of the space."""

    def __init__(
        self, space: Sequence[Axis], part: Sequence[Axis], history: History, pending: Sequence[Params]
    ) -> None:
        self.space, self.part, self.history, self.pending = space, part, history, list(pending)
        self.proposals: list[Proposal] = []
        self.nodes = [seen.node for seen in history.observations]
        self._seen = {key_of(space, seen.params) for seen in history.observations}
        self._seen |= {key_of(space, params) for params in pending}
        self._failed = [seen for seen in history.observations if seen.lacked]
        self._by_number = {seen.number: seen.params for seen in history.observations}

    def allowed(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates that are new and away from what was infeasible."""
        new = mutations.unseen(self.space, candidates, self._seen)
        return [candidate for candidate in new if self._feasible(candidate.params)] if self._failed else new

    def add(self, candidate: Candidate, stated: Hypothesis | None) -> None:
        parent = candidate.parent
        text = mutation_text(self._by_number[parent], candidate.params) if parent is not None else ""
        self.proposals.append(Proposal(candidate.params, parent, text, NAME, stated))
        self._seen.add(key_of(self.space, candidate.params))
        self.nodes.append(Node(-len(self.proposals), parent, None))

    def params_of(self, number: int) -> Params:
        return self._by_number[number]

    def _feasible(self, params: Params) -> bool:
        """Below every config that lacked time or memory; where the names tell no cost, away from it."""
        for seen in self._failed:
            measure = cost if seen.lacked is Lacked.time else footprint
            needs = measure(params)
            if needs > measure(seen.params) or (needs == measure(seen.params) and self._gap(params, seen) < _CROWDED):
                return False
        return True

    def _gap(self, params: Params, seen: Observation) -> float:
        """Distance from a trial, in ranges."""
        free = [axis for axis in self.space if not axis.fixed]
        return math.dist(*([axis.to_unit(config[axis.name]) for axis in free] for config in (params, seen.params)))


class _Model:
    """The surrogate of one proposal, fitted to the block's trials, and to those of earlier blocks as further away."""

    def __init__(self, batch: _Batch, earlier: Sequence[History], rng: np.random.Generator) -> None:
        self._batch = batch
        self._features = Features(batch.space)
        self._n_earlier = len(earlier)
        own = batch.history.fitted
        x, y, variance = self._columns(own, age=0)
        trend = prior_scores(batch.history, [seen.params for seen in own])
        for age, history in enumerate(reversed(earlier), 1):
            older = history.fitted
            if older:
                rows = self._columns(older, age)
                shift = float(np.median(y) - np.median(rows[1])) if len(own) >= _N_START else 0.0
                x, y = np.concatenate([x, rows[0]]), np.concatenate([y, rows[1] + shift])
                variance = np.concatenate([variance, rows[2]])
                trend = np.concatenate([trend, prior_scores(history, [seen.params for seen in older])])
        self.n_trials = len(y)
        top, middle = float(y.max()), float(np.median(y))
        y = np.maximum(y, middle - _WORST * max(top - middle, 0.1))
        self._surrogate = Surrogate(x, y, variance, trend, rng)
        self.best = self._surrogate.standardised(batch.history.best if batch.history.best is not None else top)

    def believe(self, configs: Sequence[Params]) -> Belief:
        trend = prior_scores(self._batch.history, configs)
        return self._surrogate.predict(self._with_age(self._features(configs), 0), trend)

    def pretend(self, belief: Belief, chosen: int) -> Belief:
        return self._surrogate.pretend(belief, chosen)

    def hypothesis(self, belief: Belief, candidate: Candidate, index: int) -> Hypothesis | None:
        """What a mutation is expected to show, in the model's own numbers; None for a fresh config."""
        if candidate.parent is None:
            return None
        scale = self._batch.history.scale
        mean, deviation = (float(moment[index]) * self._surrogate.unit for moment in belief.moments())
        mean += self._surrogate.centre
        old = self._batch.params_of(candidate.parent)
        parent = next(seen for seen in self._batch.history.scored if seen.number == candidate.parent)
        assert parent.score is not None
        measure, sign = ("log10(1 - R2)", -1.0) if scale.nines else ("score", 1.0)
        expectation = {
            "measure": measure,
            "mean": sign * mean,
            "sd": deviation,
            "parent": sign * parent.score,
            "value": float(scale.value(mean)),
        }
        standing = "had" if parent.state is TrialState.COMPLETE else "was foreseen to reach"
        rationale = (
            f"From {self.n_trials} trials the model expects {measure} {sign * mean:.2f} +- {deviation:.2f}, where the "
            f"parent {standing} {sign * parent.score:.2f}; of the changes considered this promises most for its cost."
        )
        names = changed(old, candidate.params)
        for first, second, coupling in couplings(self._batch.space) if len(names) > 1 else []:
            if {first, second} == set(names):
                rationale += f" {leaf(first)} and {leaf(second)} move together: {coupling.reason}."
        falsified = f"a final value no better than the parent's {scale.value(parent.score):.6g} by more than the noise"
        return hypothesis(old, candidate.params, expectation, rationale, falsified)

    def _columns(self, seen: Sequence[Observation], age: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = self._with_age(self._features([one.params for one in seen]), age)
        y = np.array([one.score if one.score is not None else -np.inf for one in seen], np.float64)
        if np.isinf(y).any():
            y[np.isinf(y)] = y[np.isfinite(y)].min() if np.isfinite(y).any() else 0.0
        return x, y, np.array([one.variance for one in seen], np.float64)

    def _with_age(self, x: np.ndarray, age: int) -> np.ndarray:
        return np.column_stack([x, np.full(len(x), 0.5 * age)]) if self._n_earlier else x


def prior_scores(history: History, configs: Sequence[Params]) -> np.ndarray:
    """What the prior expects of configs (n,); zeros where the objective is no R2."""
    if not history.scale.nines:
        return np.zeros(len(configs))
    return Prior.load()([features_of_prior(params, history.n_frames) for params in configs])


def _handicap(candidate: Candidate) -> float:
    """What is taken off the log expected improvement: the cost, and for changing more than one parameter."""
    handicap = 0.0 if candidate.n_changed == 1 else _PAIR_HANDICAP if candidate.parent is not None else _FRESH_HANDICAP
    return handicap + _COST_POWER * math.log(cost(candidate.params))
