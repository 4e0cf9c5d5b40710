"""How a batch of configs is laid out, whoever proposes its configs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.config.choices import Strategy
from siren_sweep.search import layouts
from siren_sweep.search.encoding import Axis, Params, axes
from siren_sweep.search.plan import ASKED_FOR, Plan
from siren_sweep.search.proposal import Proposal, changed
from siren_sweep.search.proposer import Proposer
from siren_sweep.study.seen import seen_trials
from siren_sweep.study.studies import best_trial


class SearchSpace(Protocol):
    """What is needed of a space: Optuna's distributions by parameter name."""

    def distributions(self) -> Mapping[str, BaseDistribution]: ...


def plan_batch(
    study: optuna.Study,
    space: SearchSpace,
    proposer: Proposer,
    n: int,
    *,
    strategy: Strategy,
    base: Params,
    carried: Sequence[Params] = (),
    earlier: Sequence[optuna.Study] = (),
    within: SearchSpace | None = None,
    wanted: Sequence[Params] = (),
    left: float = math.inf,
) -> list[Proposal]:
    """Up to n proposals, all different and none of them in the study; fewer only where the space has no more.

    `base` is the block's starting config. `carried` are configs that the first batch of a block must hold, its best
    guess first; `earlier` are the studies of the blocks before, the last one last, from which a proposer may learn.
    `within` is a part of the space that all proposals lie in, but for the `wanted` configs, which come before all else.
    `left` is what the block has left, in full trials. The proposer must be made anew for each batch, with a seed that
    follows from the batch, so that a resumed sweep proposes what the undisturbed one would have.
    """
    narrow, first = dict((within or space).distributions()), not study.get_trials(deepcopy=False)
    plan = Plan(axes(narrow), study, n)
    if strategy is Strategy.auto:
        chosen = Strategy.none if not first else Strategy.focused if carried else Strategy.grid
    else:
        chosen = strategy
    best = _best_params(study, plan.space)
    for params in wanted:
        plan.add(params, ASKED_FOR, best)
    if chosen is not Strategy.none:
        centre = layouts.within(plan.space, best or (carried[0] if carried else base))
        if carried and first:
            _carry(plan, chosen, carried)
        _lay_out(plan, chosen, centre)
    planned = [proposal.params for proposal in plan.proposals]
    return plan.proposals + proposer.propose(
        study, dict(space.distributions()), n - len(planned), pending=planned, earlier=earlier, within=narrow, left=left
    )


def _carry(plan: Plan, strategy: Strategy, carried: Sequence[Params]) -> None:
    """The configs of before. They are roots, for others to be compared with, but for those that differ from the best
    guess in one parameter."""
    guess = layouts.within(plan.space, carried[0])
    for params in (layouts.within(plan.space, one) for one in carried):
        plan.add(params, strategy, guess if len(changed(guess, params)) == 1 else None)


def _lay_out(plan: Plan, strategy: Strategy, centre: dict[str, Any]) -> None:
    """Fill the plan by a layout around the centre, which goes first when it has not run."""
    free, done = layouts.ordered(plan.space), plan.first_number // plan.n
    if not free:
        plan.add(centre, strategy, None)
    elif strategy is Strategy.grid:
        for offset in range(len(free)):
            for params in layouts.grid(plan.space, centre, free[(done + offset) % len(free)], plan.n):
                plan.add(params, strategy, centre)
    elif strategy is Strategy.latin_square and len(free) > 1:
        pair = [free[(2 * done) % len(free)], free[(2 * done + 1) % len(free)]]
        for params in layouts.latin_square(centre, pair, plan.n):
            plan.add(params, strategy, centre)
    plan.add(centre, strategy, None)
    for params in layouts.variations(plan.space, centre):
        plan.add(params, strategy, centre)


def _best_params(study: optuna.Study, space: Sequence[Axis]) -> dict[str, Any] | None:
    """The config of the block's best trial; where none of a sweep's has finished, that of the highest value so far."""
    names = {axis.name for axis in space}
    best = best_trial(study)
    if best is not None and names <= best.params.keys():
        return dict(best.params)
    known = [trial for trial in seen_trials(study) if trial.value is not None and names <= trial.params.keys()]
    return dict(max(known, key=_standing).params) if known else None


def _standing(trial: FrozenTrial) -> tuple[bool, float]:
    return trial.state is TrialState.COMPLETE, trial.value if trial.value is not None else -np.inf
