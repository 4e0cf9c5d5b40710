"""The interface that proposes a batch of configs, and how any of Optuna's samplers is asked for one."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from siren_sweep.search.encoding import Axis, Params, axes, nearest
from siren_sweep.search.proposal import Batch, Proposal
from siren_sweep.study.snapshots import seen_trials
from siren_sweep.study.stored_trials import sampler_state

_DRAWS = 1000  # random configs that are tried, enough to find most of a small space
_REPEATS = 20  # a sampler that repeats itself is asked so often for each config, before random ones are tried


class Proposer(Protocol):
    """Proposes the configs of a batch. It is made anew for each batch; all its state is in its trials.

    One that learns from the `earlier` studies has an attribute `learns`, which is true.
    """

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
        """Up to n proposals: new configs, and paused trials that are resumed. There are fewer only where none is left.

        No new config is in the study or in `pending`, the configs that are planned for the same batch. `distributions`
        are the block's; `within` are narrower ones, in which all new configs lie. `earlier` are the studies of earlier
        blocks, the latest one last. `left` is the block's budget that is left, in full trials.
        """
        ...


class WholeBatches:
    """A sampler that has a method `propose` for whole batches. Raises AttributeError where it has none."""

    learns = True

    def __init__(self, sampler: Proposer) -> None:
        self.propose = sampler.propose


class OneByOne:
    """Asks any Optuna sampler for one config after the other.

    The sampler is asked in a scratch study with the same trials, so that only planned configs are added to the real
    one. A study of Optuna's has one distribution for each parameter. So where `within` is narrower than the block's
    distributions, trials outside of it are left out. What a sampler writes to its trials, such as CMA-ES its state, is
    stored with the proposal. The next batch has it again, as long as the space is the same.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler

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
        """As `Proposer.propose`. Where the sampler only repeats configs, random ones take their place.

        `earlier` and `left` are not used, since Optuna's samplers know one study.
        """
        part = dict(within or distributions)
        batch = Batch(axes(part), study, n, pending)
        if batch.full:
            return []
        scratch = self._scratch(study, batch.space, pending)
        for _ in range(_REPEATS * n):
            number = scratch.ask(part).number
            asked = scratch.get_trials(deepcopy=False)[number]
            batch.add(Proposal(asked.params, type(self._sampler).__name__, sampler_state=asked.system_attrs))
            if batch.full:
                return batch.proposals
        rng, levels = np.random.default_rng(batch.first_number), {one.name: one.candidates() for one in batch.space}
        for _ in range(_DRAWS):
            drawn = {name: values[rng.integers(len(values))] for name, values in levels.items()}
            batch.add(Proposal(drawn, "random"))
        return batch.proposals

    def _scratch(self, study: optuna.Study, space: Sequence[Axis], pending: Sequence[Params]) -> optuna.Study:
        """A study with the trials that lie in a space, and with the pending configs as running trials."""
        distributions = {axis.name: axis.distribution for axis in space}
        scratch = optuna.create_study(direction=study.direction, sampler=self._sampler)
        for trial in copy.deepcopy(seen_trials(study)):
            if trial.state is not TrialState.WAITING and _inside(space, trial.params):
                if trial.distributions == distributions:
                    trial.system_attrs = {**trial.system_attrs, **sampler_state(trial)}
                trial.distributions = {name: distributions.get(name, old) for name, old in trial.distributions.items()}
                scratch.add_trial(trial)
        for params in pending:
            if _inside(space, params):
                scratch.enqueue_trial(dict(params))
                scratch.ask(distributions)
        return scratch


def _inside(space: Sequence[Axis], params: Params) -> bool:
    """Whether a config lies in a space."""
    known = {axis.name: params[axis.name] for axis in space if axis.name in params}
    return len(known) == len(space) and nearest(space, known) == known
