"""`UCBTreeSampler`: mutations of the nodes that PUCT favours and paused trials, chosen by one model of all curves.

The tree ranks the trials by their UCB, each with the final score that the model foresees. The children of the highest
ones differ from their parent in one parameter, or in a coupled pair (`knowledge.COUPLINGS`). They, fresh configs, and
the paused trials that may still win compete for each place of a batch. It goes to the one that is likeliest to end
better than the best finished trial by a margin, which is drawn for each place: by a small one often a paused trial or
its neighbour, by a large one what little is known about.
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
from siren_sweep.search.knowledge import Features, cost, couplings, footprint, has_windows
from siren_sweep.search.model import Belief, Seen, Surrogate
from siren_sweep.search.mutations import Candidate
from siren_sweep.search.proposal import Batch, Proposal, changed, child
from siren_sweep.search.tree import Node, Reward, scores

NAME, GOES_ON = "tree", "goes on"
_N_START = 4  # trials from which on the model is asked
_N_RANDOM, _N_FRESH = 1000, 200  # random configs considered before that, and after
_N_PARENTS = 8  # nodes of highest UCB whose children are compared
_MARGINS = (0.02, 1.0)  # in decades of 1 - R2: by how much to be better, from 5% to 90% of the error that is left
_UNSOLVED = 0.999  # the price of a config where nothing is solved
_CROWDED = 0.15  # distance, in ranges, from an infeasible config within which nothing is proposed


class UCBTreeSampler(BaseSampler):
    """Works in plain `study.optimize`, and plans whole batches by `propose`. Its proposals follow from the seed and
    the study alone.

    `c` and `reward` are the tree's (see `tree`). Trials that did not finish count by their curves when their reports
    are steps 1 to `n_reports`, equal fractions of the run.
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
        left: float = math.inf,
    ) -> list[Proposal]:
        """As `search.proposer.Proposer.propose`; the trials of `earlier` blocks inform the model. No new config begins
        when the block has less left than a batch of full trials, as long as paused ones can use it."""
        space = axes(distributions)
        history = History(study, space, self._n_reports)
        before = [History(other, space, self._n_reports) for other in reversed(earlier)]
        rng = np.random.default_rng([self._seed, len(history.observations), history.n_seen, len(pending)])
        batch = Batch(axes(within or distributions), study, n, pending)
        rules = _Rules(space, history)
        if sum(bool(seen.scores) for one in [history, *before] for seen in one.observations) < _N_START:
            self._start(batch, rules, len(history.observations) + len(pending), rng)
        else:
            self._grow(batch, rules, rng, _Model(space, history, before), last=left <= n)
        return batch.proposals

    def _start(self, batch: Batch, rules: _Rules, taken: int, rng: np.random.Generator) -> None:
        """Configs that are spread over the space, and random ones where some of those have run."""
        size = max(batch.n, _N_START)
        design = mutations.latin_hypercube(batch.space, size, np.random.default_rng([self._seed, taken // size]))
        for candidate in design[taken % size :] + mutations.fresh(batch.space, rng, _N_RANDOM):
            if rules.feasible(candidate.params):
                batch.add(Proposal(candidate.params, NAME))

    def _grow(self, batch: Batch, rules: _Rules, rng: np.random.Generator, model: _Model, *, last: bool) -> None:
        """Children of the favoured nodes, fresh configs and paused trials; each taken as run before the next."""
        history, observations = rules.history, rules.history.observations
        nodes = [Node(seen.number, seen.parent, model.foreseen.get(seen.number)) for seen in observations]
        by_number = {seen.number: seen.params for seen in observations}
        parents = [(row.id, by_number[row.id]) for row in scores(nodes, self._c, self._reward)[:_N_PARENTS]]
        pairs = [(first, second) for first, second, _ in couplings(batch.space)]
        new = mutations.mutations(batch.space, parents, pairs, rng) + mutations.fresh(batch.space, rng, _N_FRESH)
        new = [one for one in new if batch.number_of(one.params) is None and rules.feasible(one.params)]
        paused = [seen for seen in observations if seen.may_go_on]
        if not new and not paused:
            return
        running = [seen for seen in observations if seen.state is TrialState.RUNNING and not seen.scores]
        configs = [seen.params for seen in paused] + [one.params for one in new]
        belief = model.believe([*configs, *(seen.params for seen in running)])
        for index in range(len(running)):
            belief.pretend(len(configs) + index)
        mean, deviation = belief.moments()
        best = history.best if history.best is not None else float(mean.max())
        keys = [key_of(batch.space, params) for params in configs]
        prices = rules.prices(configs)
        open_ = prices < 1
        while not batch.full and open_.any():
            among = open_.copy()
            if last and open_[: len(paused)].any():
                among[len(paused) :] = False
            aim = best + math.exp(rng.uniform(*np.log(_MARGINS)))
            aim = min(aim, history.solved_score)  # beyond it a config is better by its price alone
            chances = belief.log_chances(aim)[: len(configs)] - np.log(prices)
            chosen = int(np.argmax(np.where(among, chances, -np.inf)))
            if chosen < len(paused):
                batch.proposals.append(Proposal(dict(configs[chosen]), GOES_ON, goes_on=paused[chosen].number))
            else:
                batch.add(model.proposal(new[chosen - len(paused)], float(mean[chosen]), float(deviation[chosen])))
            open_ &= np.array([key != keys[chosen] for key in keys])
            belief.pretend(chosen)


class _Rules:
    """What is not worth its cost: more than what is solved takes, or than what did not fit its time or memory."""

    def __init__(self, space: Sequence[Axis], history: History) -> None:
        self.history = history
        self._free = [axis for axis in space if not axis.fixed]
        self._failed = [seen for seen in history.observations if seen.lacked]

    def prices(self, configs: Sequence[Params]) -> np.ndarray:
        """The planned cost of configs (n,) in that of the cheapest solved trial of their kind, windows or none: from 1
        on one wins only where it is solved at an earlier step. Just below 1 where none of that kind is solved."""
        solved = self.history.solved
        if not solved:
            return np.full(len(configs), _UNSOLVED)
        least = {
            kind: min(cost(one.params) for one in solved if has_windows(one.params) == kind)
            for kind in {has_windows(one.params) for one in solved}
        }
        kinds = map(has_windows, configs)
        return np.array(
            [
                cost(params) / least[kind] if kind in least else _UNSOLVED
                for params, kind in zip(configs, kinds, strict=True)
            ]
        )

    def feasible(self, params: Params) -> bool:
        """Below every config of its kind, windows or none, that lacked time or memory; where the names tell no cost,
        away from it."""
        for seen in (one for one in self._failed if has_windows(one.params) == has_windows(params)):
            measure = cost if seen.lacked is Lacked.time else footprint
            needs = measure(params)
            if needs > measure(seen.params) or (needs == measure(seen.params) and self._gap(params, seen) < _CROWDED):
                return False
        return True

    def _gap(self, params: Params, seen: Observation) -> float:
        """Distance from a trial, in ranges."""
        return math.dist(
            *([axis.to_unit(config[axis.name]) for axis in self._free] for config in (params, seen.params))
        )


class _Model:
    """The surrogate of one proposal, fitted to the block's trials, and to those of earlier blocks as further away.

    `foreseen` are the final scores that it expects of the block's own trials, by number; a finished one's is its own.
    """

    def __init__(self, space: Sequence[Axis], history: History, earlier: Sequence[History]) -> None:
        self._space, self._history, self._features = space, history, Features(space)
        self._aged = bool(earlier)
        fitted = [one.fitted for one in [history, *earlier]]
        self._level = next((age for age, seen in enumerate(fitted) if seen), 0)  # of the last block that was seen
        self.n_trials = sum(len(seen) for seen in fitted)
        known = [score for seen in fitted for one in seen for score in one.scores.values()]
        top, middle, worst = max(known), float(np.median(known)), min(known)
        parts = [self._seen(seen, age, worst) for age, seen in enumerate(fitted) if seen]
        whole = Seen(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
        floor = middle - 2 * max(top - middle, 0.1)
        self._surrogate = Surrogate(whole._replace(score=np.maximum(whole.score, floor)))
        own = [seen for seen in fitted[0] if seen.scores]
        self.foreseen: dict[int, float] = {}
        if own:
            mean, _ = self.believe([seen.params for seen in own]).moments()
            done = (seen.last if seen.state is TrialState.COMPLETE else None for seen in own)
            finals = (float(m) if last is None else last for m, last in zip(mean, done, strict=True))
            self.foreseen = dict(zip((seen.number for seen in own), finals, strict=True))

    def believe(self, configs: Sequence[Params]) -> Belief:
        """Final scores of configs in the block."""
        return self._surrogate.predict(self._columns(configs, np.ones(len(configs)), 0, np.zeros(len(configs))))

    def proposal(self, candidate: Candidate, mean: float, deviation: float) -> Proposal:
        """A candidate, and what it is expected to show if it is a mutation, in the model's own numbers."""
        if candidate.parent is None:
            return Proposal(candidate.params, NAME)
        scale, parent = self._history.scale, self.foreseen[candidate.parent]
        seen = next(seen for seen in self._history.observations if seen.number == candidate.parent)
        measure, sign = ("log10(1 - R2)", -1.0) if scale.nines else ("score", 1.0)
        expectation = {
            "measure": measure,
            "mean": sign * mean,
            "sd": deviation,
            "parent": sign * parent,
            "value": float(scale.value(mean)),
        }
        standing = "had" if seen.state is TrialState.COMPLETE else "was foreseen to reach"
        rationale = (
            f"From {self.n_trials} trials the model expects {measure} {sign * mean:.2f} +- {deviation:.2f}, where the "
            f"parent {standing} {sign * parent:.2f}; of what could come next this is likeliest to beat the best."
        )
        names = changed(seen.params, candidate.params)
        for first, second, coupling in couplings(self._space) if len(names) > 1 else []:
            if {first, second} == set(names):
                rationale += f" {leaf(first)} and {leaf(second)} move together: {coupling.reason}."
        falsified = f"a final value no better than the parent's {scale.value(parent):.6g} by more than the noise"
        return child(candidate.params, NAME, candidate.parent, seen.params, rationale, falsified, expectation)

    def _seen(self, seen: Sequence[Observation], age: int, worst: float) -> Seen:
        """What was seen of trials; one that failed is as bad as any."""
        n_reports = self._history.n_reports
        rows = [(one, at, y) for one in seen for at, y in (one.scores or {n_reports: worst}).items()]
        time = np.log([at for _, at, _ in rows]) / math.log(n_reports)
        return self._columns([one.params for one, _, _ in rows], time, age, np.array([y for *_, y in rows]))

    def _columns(self, configs: Sequence[Params], time: np.ndarray, age: int, score: np.ndarray) -> Seen:
        x = self._features(configs)
        x = np.column_stack([x, np.full(len(x), 0.15 * age)]) if self._aged else x
        return Seen(x, time, np.full(len(x), max(age, self._level)), score)
