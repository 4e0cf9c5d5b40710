"""How a batch of configs is laid out, whoever proposes its configs: a grid, a Latin square, or variations around the
best known one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import TrialState

from siren_sweep.config.choices import Strategy
from siren_sweep.config.parameters import OMEGA, leaf
from siren_sweep.search.encoding import Axis, Params, axes, nearest
from siren_sweep.search.proposal import ASKED_FOR, Batch, Proposal, changed, child
from siren_sweep.search.proposer import Proposer
from siren_sweep.study.snapshots import seen_trials
from siren_sweep.study.studies import best_trial

_SPANNED = 0.5  # the part of its axis that a grid spans


def plan_batch(
    study: optuna.Study,
    distributions: Mapping[str, BaseDistribution],
    proposer: Proposer,
    n: int,
    *,
    strategy: Strategy,
    base: Params,
    carried: Sequence[Params] = (),
    earlier: Sequence[optuna.Study] = (),
    within: Mapping[str, BaseDistribution] | None = None,
    wanted: Sequence[Params] = (),
    left: float = math.inf,
) -> list[Proposal]:
    """Up to n proposals, all different and none of them in the study; fewer only where the space has no more.

    `base` is the block's starting config. `carried` are configs that the first batch of a block must hold, its best
    guess first; `earlier` are the studies of the blocks before, the last one last, from which a proposer may learn.
    `within` are narrower distributions that all proposals lie in, but for the `wanted` configs, which come before all
    else. `left` is what the block has left, in full trials. The proposer must be made anew for each batch, with a seed
    that follows from the batch, so that a resumed sweep proposes what the undisturbed one would have.
    """
    within = within or distributions
    batch = Batch(axes(within), study, n)
    first = batch.first_number == 0
    if strategy is Strategy.auto:
        strategy = Strategy.none if not first else Strategy.focused if carried else Strategy.grid
    best = _best_params(study, within)
    for params in wanted:
        _vary(batch, params, ASKED_FOR, best, "A person asked for this change of the best config.")
    if strategy is not Strategy.none:
        starts = [nearest(batch.space, one) for one in carried] if first else []
        for params in starts:  # roots, for others to be compared with, but for one that changes a single parameter
            _vary(batch, params, strategy, starts[0] if len(changed(starts[0], params)) == 1 else None)
        centre = nearest(batch.space, best or (carried[0] if carried else base))
        for params in _laid_out(batch, strategy, centre):
            _vary(batch, params, strategy, centre)
    pending = [proposal.params for proposal in batch.proposals]
    return batch.proposals + proposer.propose(
        study, distributions, n - len(pending), pending=pending, earlier=earlier, within=within, left=left
    )


def _vary(batch: Batch, params: Params, strategy: str, old: Params | None, rationale: str = "") -> None:
    """Add a config as a child of `old` where that is a trial, or is to be one in this batch; else as a root."""
    params = {axis.name: params[axis.name] for axis in batch.space}
    parent = batch.number_of(old) if old else None
    if old is None or parent is None:
        batch.add(Proposal(params, strategy))
        return
    names = " and ".join(leaf(name) for name in changed(old, params))
    question = f"Values of {names} are laid out side by side, all else equal, to see its effect here."
    batch.add(child(params, strategy, parent, old, rationale or question))


def _laid_out(batch: Batch, strategy: Strategy, centre: Params) -> Iterator[Params]:
    """The configs of a layout around a centre, which comes first; then more of them than any batch takes."""
    free = sorted((axis for axis in batch.space if not axis.fixed), key=lambda axis: axis.name != OMEGA)
    done = batch.first_number // batch.n
    yield centre
    if strategy is Strategy.grid:
        for offset in range(len(free)):
            varied = free[(done + offset) % len(free)]
            for value in _around(varied, centre[varied.name], batch.n):
                yield {**centre, varied.name: value}
    elif strategy is Strategy.latin_square and len(free) > 1:
        pair = [free[(2 * done + one) % len(free)] for one in (0, 1)]
        levels = [[centre[axis.name], _step(axis, centre[axis.name])] for axis in pair]
        for values in itertools.product(*levels):
            yield {**centre, **dict(zip([axis.name for axis in pair], values, strict=True))}
    for width in (0.125, 0.25, 0.5, 1.0):
        for axis, sign in itertools.product(free, (1, -1)):
            yield {**centre, axis.name: _step(axis, centre[axis.name], sign * width)}


def _around(axis: Axis, value: Any, n: int) -> list[Any]:
    """Up to n values on an axis: of a window around a value, or the nearest levels of a short axis."""
    if axis.levels is not None and len(axis.levels) <= n:
        return list(axis.levels)
    unit, step = axis.to_unit(value), _SPANNED / (n - 1 or 1)
    if axis.levels is not None:
        step = max(step, 1 / (len(axis.levels) - 1))
    below = min(int(unit / step + 1e-9), (n - 1) // 2)
    below = max(below, n - 1 - int((1 - unit) / step + 1e-9))
    return [axis.from_unit(unit + step * (index - below)) if index != below else value for index in range(n)]


def _step(axis: Axis, value: Any, width: float = 0.25) -> Any:
    """Another value a signed part of the axis away; the other way at a bound, the nearest other level at least."""
    others = [level for level in axis.candidates(33) if level != value]
    if not others:
        return value
    unit = axis.to_unit(value)
    target = unit + width if 0 <= unit + width <= 1 else unit - width
    return min(others, key=lambda level: abs(axis.to_unit(level) - target))


def _best_params(study: optuna.Study, names: Mapping[str, Any]) -> Params | None:
    """The config of the block's best trial; where none of a sweep's has finished, that of the highest value so far."""
    best = best_trial(study)
    if best is not None and names.keys() <= best.params.keys():
        return best.params
    known = [trial for trial in seen_trials(study) if trial.value is not None and names.keys() <= trial.params.keys()]
    return max(known, key=lambda one: (one.state is TrialState.COMPLETE, one.value)).params if known else None
