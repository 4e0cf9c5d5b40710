"""One planned config, the words in which it is recorded, and a batch of them in the making."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna

from siren_sweep.config.choices import Strategy
from siren_sweep.config.parameters import leaf
from siren_sweep.search.encoding import Axis, Params, key_of
from siren_sweep.study.records import Hypothesis

ASKED_FOR = "asked for"  # the strategy of a config that a person wanted
WORSE = "a final R2 below the parent's by more than the noise"


@dataclass(frozen=True)
class Proposal:
    """One config of a batch, with what a record of it needs.

    `parent` is a trial number of the same study, also one of the same batch (the proposals are numbered in their
    order, on from the study's last trial); None for a root. `sampler_state` is what the sampler wrote to the trial for
    itself: some of Optuna's keep their state there. `note` says what became of an agent's word. `goes_on` is the number
    of a paused trial, with these params, that is taken up again from its checkpoint; None for a new config.
    """

    params: dict[str, Any]
    strategy: str
    parent: int | None = None
    mutation: str = ""
    hypothesis: Hypothesis | None = None
    sampler_state: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    goes_on: int | None = None


def child(
    params: Params,
    strategy: str,
    parent: int,
    old: Params,
    rationale: str,
    falsified_by: str = WORSE,
    expectation: Mapping[str, Any] | None = None,
) -> Proposal:
    """A mutation of the config `old` of trial `parent`, and what it is to show.

    It is told as `omega_f: 80 -> 160`, several changes joined by commas.
    """
    names = tuple(changed(old, params))
    mutation = ", ".join(f"{leaf(name)}: {shown(old[name])} -> {shown(params[name])}" for name in names)
    before, after = (tuple(one[name] for name in names) for one in (old, params))
    hypothesis = Hypothesis(rationale, falsified_by, names, before, after, expectation)
    return Proposal(dict(params), strategy, parent, mutation, hypothesis)


def is_start(strategy: str, parent: int | None) -> bool:
    """Whether a config is what its block starts from: the root of a layout, which varies from it.

    It is run without a pause. A block's other configs are held against it, and where it is of another kind than they
    are, such as a network for each window, its first reports say nothing of where it ends.
    """
    return parent is None and strategy in list(Strategy)


def changed(old: Params, new: Params) -> list[str]:
    """The names whose values differ."""
    return [name for name in new if old[name] != new[name]]


def shown(value: Any) -> str:
    """A value as people write it: no trailing zeros, at most six digits; None is not known."""
    return f"{value:.6g}" if isinstance(value, float) else "unknown" if value is None else str(value)


class Batch:
    """Up to n proposals of a space: no config twice, and none that is pending or in the study."""

    def __init__(self, space: Sequence[Axis], study: optuna.Study, n: int, pending: Sequence[Params] = ()) -> None:
        trials = study.get_trials(deepcopy=False)
        self.space, self.n, self.first_number = space, n, len(trials)
        self.proposals: list[Proposal] = []
        known = [(trial.params, trial.number) for trial in trials if all(axis.name in trial.params for axis in space)]
        self._numbers = {key_of(space, params): number for params, number in known}
        self._numbers |= {key_of(space, params): number for number, params in enumerate(pending, len(trials))}

    @property
    def full(self) -> bool:
        """Whether it has n."""
        return len(self.proposals) >= self.n

    def number_of(self, params: Params) -> int | None:
        """The number that a config has as a trial, or will have; None of a new one."""
        return self._numbers.get(key_of(self.space, params))

    def add(self, proposal: Proposal) -> None:
        """Append a proposal if there is room for it, and its config is new."""
        if not self.full and self.number_of(proposal.params) is None:
            self._numbers[key_of(self.space, proposal.params)] = self.first_number + len(self.proposals)
            self.proposals.append(proposal)
