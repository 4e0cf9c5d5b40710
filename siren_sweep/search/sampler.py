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
from siren_sweep.search.encoding import Params, axes, key_of
from siren_sweep.search.history import History
from siren_sweep.search.knowledge import couplings
from siren_sweep.search.model import Model
from siren_sweep.search.mutations import Candidate, fresh, latin_hypercube, mutations
from siren_sweep.search.proposal import Batch, Proposal, changed, child
from siren_sweep.search.tree import Node, Reward, scores

NAME, GOES_ON = "tree", "goes on"
_N_START = 4  # trials from which on the model is asked
_N_RANDOM, _N_FRESH = 1000, 200  # random configs considered before that, and after
_N_PARENTS = 8  # nodes of highest UCB whose children are compared
_MARGINS = (0.02, 1.0)  # in decades of 1 - R2: by how much to be better, from 5% to 90% of the error that is left


class UCBTreeSampler(BaseSampler):
    """Works in plain `study.optimize`, and plans whole batches by `propose`. Its proposals follow from the seed and
    the study alone.

    `c` and `reward` are the tree's (see `tree`). Trials that did not finish count by their curves, whose reports are
    steps 1 to 20, equal fractions of the run.
    """

    def __init__(self, seed: int = 0, *, c: float = 1.414, reward: Reward | str = Reward.rank) -> None:
        self._seed, self._c, self._reward = seed, c, Reward(reward)
        self._intersection = IntersectionSearchSpace()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._intersection.calculate(study)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        proposals = self.propose(study, search_space, 1) if search_space else []
        return proposals[0].params if proposals else {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        rng = np.random.default_rng([self._seed, trial.number, *param_name.encode()])
        return fresh(axes({param_name: param_distribution}), rng, 1)[0][param_name]

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
        history = History(study, space)
        before = [History(other, space) for other in reversed(earlier)]
        batch = Batch(axes(within or distributions), study, n, pending)
        rng = np.random.default_rng([self._seed, len(history.observations), history.n_seen, len(pending)])
        if sum(bool(seen.scores) for one in [history, *before] for seen in one.observations) < _N_START:
            self._start(batch, history, len(pending), rng)
        else:
            self._grow(batch, history, Model(history, before), rng, last=left <= n)
        return batch.proposals

    def _start(self, batch: Batch, history: History, n_pending: int, rng: np.random.Generator) -> None:
        """Configs that are spread over the space, and random ones where some of those have run."""
        taken, size = len(history.observations) + n_pending, max(batch.n, _N_START)
        design = latin_hypercube(batch.space, size, np.random.default_rng([self._seed, taken // size]))
        for params in design[taken % size :] + fresh(batch.space, rng, _N_RANDOM):
            if history.feasible(params):
                batch.add(Proposal(params, NAME))

    def _grow(self, batch: Batch, history: History, model: Model, rng: np.random.Generator, *, last: bool) -> None:
        """Children of the favoured nodes, fresh configs and paused trials; each taken as run before the next."""
        paused = [seen for seen in history.observations if seen.may_go_on]
        new = self._new(batch, history, model, rng)
        if not new and not paused:
            return
        running = [seen for seen in history.observations if seen.state is TrialState.RUNNING and not seen.scores]
        configs = [seen.params for seen in paused] + [one.params for one in new]
        belief = model.believe([*configs, *(seen.params for seen in running)])
        for index in range(len(running)):
            belief.pretend(len(configs) + index)
        mean, deviation = belief.moments()
        best = history.best if history.best is not None else float(mean.max())
        keys, prices = [key_of(batch.space, params) for params in configs], history.prices(configs)
        is_new, open_ = np.arange(len(configs)) >= len(paused), prices < 1
        while not batch.full and open_.any():
            among = open_ & ~is_new if last and (open_ & ~is_new).any() else open_
            aim = best + math.exp(rng.uniform(*np.log(_MARGINS)))
            aim = min(aim, history.solved_score)  # beyond it a config is better by its price alone
            chances = belief.log_chances(aim)[: len(configs)] - np.log(prices)
            chosen = int(np.argmax(np.where(among, chances, -np.inf)))
            if is_new[chosen]:
                candidate = new[chosen - len(paused)]
                batch.add(_proposal(candidate, history, model, float(mean[chosen]), float(deviation[chosen])))
            else:
                batch.proposals.append(Proposal(dict(configs[chosen]), GOES_ON, goes_on=paused[chosen].number))
            open_ &= np.array([key != keys[chosen] for key in keys])
            belief.pretend(chosen)

    def _new(self, batch: Batch, history: History, model: Model, rng: np.random.Generator) -> list[Candidate]:
        """The children of the nodes of highest UCB, and fresh configs: those that have not run and may fit."""
        nodes = [Node(seen.number, seen.parent, model.foreseen.get(seen.number)) for seen in history.observations]
        by_number = {seen.number: seen.params for seen in history.observations}
        parents = [(row.id, by_number[row.id]) for row in scores(nodes, self._c, self._reward, _N_PARENTS)]
        found = mutations(batch.space, parents, rng) + list(map(Candidate, fresh(batch.space, rng, _N_FRESH)))
        return [one for one in found if batch.number_of(one.params) is None and history.feasible(one.params)]


def _proposal(candidate: Candidate, history: History, model: Model, mean: float, deviation: float) -> Proposal:
    """A new config, and what it is expected to show if it is a mutation, in the model's own numbers."""
    if candidate.parent is None:
        return Proposal(candidate.params, NAME)
    scale, parent = history.scale, model.foreseen[candidate.parent]
    seen = next(seen for seen in history.observations if seen.number == candidate.parent)
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
        f"From {model.n_trials} trials the model expects {measure} {sign * mean:.2f} +- {deviation:.2f}, where the "
        f"parent {standing} {sign * parent:.2f}; of what could come next this is likeliest to beat the best."
    )
    names = {*changed(seen.params, candidate.params)}
    for one in couplings(history.space):
        if {one.first, one.second} == names:
            rationale += f" {leaf(one.first)} and {leaf(one.second)} move together: {one.reason}."
    falsified = f"a final value no better than the parent's {scale.value(parent):.6g} by more than the noise"
    return child(candidate.params, NAME, candidate.parent, seen.params, rationale, falsified, expectation)
