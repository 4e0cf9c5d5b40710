"""Which paused trials are taken up again: those that finished trials have shown to be worth more than was thought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from siren_sweep.search.encoding import Params
from siren_sweep.search.proposal import Proposal
from siren_sweep.search.proposer import Proposer
from siren_sweep.search.pruner import UCBPruner
from siren_sweep.study.seen import is_paused
from siren_sweep.study.stored import read_trial

NAME = "goes on"
_SHARE = 0.5  # of a batch, at most, so that new configs are seen as well


class GoingOn:
    """A sampler with a `propose` of its own, and before it the paused trials that are to go on.

    A trial was paused as its optimistic bound of the final R2 lay below the best finished one. Where curves that have
    finished since gained more than those before, the bound rises; a trial whose bound is above the best goes on, the
    highest bound first.
    """

    def __init__(self, sampler: Proposer) -> None:
        self._propose = sampler.propose

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
        """As `Proposer.propose`."""
        again = [
            Proposal(dict(trial.params), None, "", NAME, None, goes_on=trial.number)
            for trial in worth_going_on(study)[: int(_SHARE * n)]
        ]
        new = self._propose(study, distributions, n - len(again), pending=pending, earlier=earlier, within=within)
        return new + again


def worth_going_on(study: optuna.Study) -> list[FrozenTrial]:
    """The paused trials whose bound is above the best finished value, by evidence that came since; highest first."""
    trials = study.get_trials(deepcopy=False)
    bounds = []
    for trial in trials:
        if is_paused(trial) and _finished_since(trial, trials):
            found = UCBPruner().explain(study, trial)
            if found is not None and found["bound"] > found["best"]:
                bounds.append((-found["bound"], trial.number))
    return [trials[number] for _, number in sorted(bounds)]


def _finished_since(paused: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a trial finished in a batch after the one in which this one was paused."""
    batches = [found.batch for trial in trials if trial.state is TrialState.COMPLETE and (found := read_trial(trial))]
    own = read_trial(paused)
    return own is not None and max(batches, default=0) > own.batch
