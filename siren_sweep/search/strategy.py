"""How a batch of configs is laid out, whichever sampler serves it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.config.choices import Strategy
from siren_sweep.search import layouts
from siren_sweep.search.boundary import adapted
from siren_sweep.search.encoding import Axis, Params, axes, key_of
from siren_sweep.search.proposal import (
    Proposal,
    changed,
    hypothesis,
    layout_hypothesis,
    mutation_text,
    wanted_hypothesis,
)
from siren_sweep.search.sampler import UCBTreeSampler
from siren_sweep.study.records import Hypothesis
from siren_sweep.study.stored import n_training_frames, sampler_state

ASKED_FOR = "asked for"  # the strategy of a config that a person wanted
_REPEATS = 20  # a sampler that keeps repeating itself is asked this often before a random config takes the place


class SearchSpace(Protocol):
    """What is needed of a space: Optuna's distributions by parameter name."""

    def distributions(self) -> Mapping[str, BaseDistribution]: ...


def plan_batch(
    study: optuna.Study,
    space: SearchSpace,
    sampler: BaseSampler,
    n: int,
    *,
    strategy: Strategy,
    base: Params,
    carried: Sequence[Params] = (),
    earlier: Sequence[optuna.Study] = (),
    within: SearchSpace | None = None,
    wanted: Sequence[Params] = (),
) -> list[Proposal]:
    """Up to n proposals, all different and none of them in the study; fewer only where the space has no more.

    `base` is the block's starting config. `carried` are configs that the first batch of a block must hold, its best
    guess first; `earlier` are the studies of the blocks before, the last one last, from which `UCBTreeSampler` learns,
    and by which the best guess adapts.
    `within` is a part of the space that all proposals lie in, but for the `wanted` configs, which come before all else.
    A sampler keeps no state here: one that draws random numbers must be made anew for each batch, with a seed that
    follows from the number of trials, so that a resumed sweep proposes what the undisturbed one would have.
    """
    narrow = dict((within or space).distributions())
    plan = _Plan(axes(narrow), study, n)
    if strategy is Strategy.auto:
        chosen = None if study.trials else Strategy.focused if carried else Strategy.grid
    else:
        chosen = strategy
    best = _best_params(study, plan.space)
    for params in wanted:
        plan.add(params, ASKED_FOR, best)
    if chosen is not None:
        centre = layouts.within(plan.space, best or (carried[0] if carried else base))
        if carried and not study.trials:
            _carry(plan, chosen, carried, n_training_frames(study), earlier)
        _lay_out(plan, chosen, centre)
    if isinstance(sampler, UCBTreeSampler):
        planned = [proposal.params for proposal in plan.proposals]
        n_left = n - len(planned)
        plan.proposals += sampler.propose(
            study, dict(space.distributions()), n_left, pending=planned, earlier=earlier, within=narrow
        )
    else:
        _fill_from_sampler(plan, study, sampler, narrow)
    return plan.proposals


class _Plan:
    """A batch in the making: takes configs that are neither in it nor in the study, until it is full."""

    def __init__(self, space: Sequence[Axis], study: optuna.Study, n: int) -> None:
        self.space = space
        self.n = n
        self.first_number = len(study.trials)
        self.seen = {key_of(space, params): number for number, params in _configs(study, space)}
        self.proposals: list[Proposal] = []

    @property
    def full(self) -> bool:
        return len(self.proposals) >= self.n

    def add(
        self,
        params: Params,
        strategy: str,
        parent_params: Params | None,
        *,
        stated: Hypothesis | None = None,
        kept: dict[str, Any] | None = None,
    ) -> None:
        """Append one config, if there is room for it and it is new; its parent is named where it is a trial.

        `stated` is its hypothesis, by default the layout's question.
        """
        params = {axis.name: params[axis.name] for axis in self.space}
        key = key_of(self.space, params)
        if self.full or key in self.seen:
            return
        parent = self.seen.get(key_of(self.space, parent_params)) if parent_params else None
        mutation = mutation_text(parent_params, params) if parent is not None and parent_params else ""
        state = wanted_hypothesis if strategy == ASKED_FOR else layout_hypothesis
        question = state(parent_params, params) if parent is not None and parent_params else None
        self.seen[key] = self.first_number + len(self.proposals)
        self.proposals.append(Proposal(params, parent, mutation, strategy, stated or question, kept or {}))


def _carry(
    plan: _Plan, strategy: Strategy, carried: Sequence[Params], n_frames: float | None, earlier: Sequence[optuna.Study]
) -> None:
    """The configs of before, then the best guess as it adapts to the frames. They are roots, for others to be compared
    with, but for those that differ from the best guess in one parameter."""
    guess = layouts.within(plan.space, carried[0])
    for params in (layouts.within(plan.space, one) for one in carried):
        plan.add(params, strategy, guess if len(changed(guess, params)) == 1 else None)
    if n_frames and (found := adapted(plan.space, guess, n_frames, earlier)):
        falsified = "a final R2 below that of the config carried as it was by more than the noise"
        stated = hypothesis(guess, found.params, found.expectation, found.rationale, falsified)
        plan.add(found.params, strategy, guess if len(changed(guess, found.params)) == 1 else None, stated=stated)


def _lay_out(plan: _Plan, strategy: Strategy, centre: dict[str, Any]) -> None:
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


def _fill_from_sampler(
    plan: _Plan, study: optuna.Study, sampler: BaseSampler, distributions: dict[str, BaseDistribution]
) -> None:
    """Ask the sampler in a scratch study with the same trials, so that only planned configs enter the real one.

    Optuna takes one distribution a parameter and study, so where these are narrower than the study's, the trials
    outside them are left out. What a sampler writes to its trials (CMA-ES its distribution, the grid its place) comes
    along with the proposal, and is there again at the next batch, as long as the space is the same.
    """
    if plan.full:
        return
    scratch = optuna.create_study(direction=study.direction, sampler=sampler)
    for trial in study.get_trials():
        if trial.state is not TrialState.WAITING and _inside(plan.space, trial.params):
            if trial.distributions == distributions:
                trial.system_attrs = {**trial.system_attrs, **sampler_state(trial)}
            trial.distributions = {name: distributions.get(name, old) for name, old in trial.distributions.items()}
            scratch.add_trial(trial)
    for proposal in plan.proposals:
        if _inside(plan.space, proposal.params):
            scratch.enqueue_trial(proposal.params)
            scratch.ask(distributions)
    for _ in range(_REPEATS * plan.n):
        if plan.full:
            return
        number = scratch.ask(distributions).number
        asked = scratch.get_trials(deepcopy=False)[number]
        plan.add(asked.params, type(sampler).__name__, None, kept=asked.system_attrs)
    for params in _random_configs(plan):
        plan.add(params, "random", None)


def _inside(space: Sequence[Axis], params: Params) -> bool:
    """Whether a config lies in a space."""
    known = {axis.name: params[axis.name] for axis in space if axis.name in params}
    return len(known) == len(space) and layouts.within(space, known) == known


def _random_configs(plan: _Plan) -> Iterable[dict[str, Any]]:
    """Random configs, as many as it takes to see most of a small space."""
    rng = np.random.default_rng(plan.first_number)
    for _ in range(1000):
        yield {axis.name: axis.candidates()[rng.integers(len(axis.candidates()))] for axis in plan.space}


def _configs(study: optuna.Study, space: Sequence[Axis]) -> Iterable[tuple[int, Params]]:
    """Number and params of the trials that have a value for every parameter of the space."""
    for trial in study.trials:
        if all(axis.name in trial.params for axis in space):
            yield trial.number, trial.params


def _best_params(study: optuna.Study, space: Sequence[Axis]) -> dict[str, Any] | None:
    """The best trial's config: of the finished ones, or by the last report where none has finished."""
    known = [trial for trial in study.trials if trial.value is not None and all(a.name in trial.params for a in space)]
    return dict(max(known, key=_standing).params) if known else None


def _standing(trial: FrozenTrial) -> tuple[bool, float]:
    return trial.state is TrialState.COMPLETE, trial.value if trial.value is not None else -np.inf
