"""A batch in the making: no config twice, and none that ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import optuna

from siren_sweep.config.choices import Strategy
from siren_sweep.search.encoding import Axis, Params, key_of
from siren_sweep.search.proposal import Proposal, layout_hypothesis, mutation_text, wanted_hypothesis
from siren_sweep.study.records import Hypothesis

ASKED_FOR = "asked for"  # the strategy of a config that a person wanted


def is_start(strategy: str, parent: int | None) -> bool:
    """Whether a config is what its block starts from: the root of a layout, which varies from it.

    It is run without a pause. A block's other configs are held against it, and where it is of another kind than they
    are, such as a network for each window, its first reports say nothing of where it ends.
    """
    return parent is None and strategy in list(Strategy)


class Plan:
    """Takes configs that are neither in it, nor pending, nor in the study, until it has n."""

    def __init__(self, space: Sequence[Axis], study: optuna.Study, n: int, pending: Sequence[Params] = ()) -> None:
        self.space = space
        self.n = n
        self.first_number = len(study.get_trials(deepcopy=False))
        self.seen = {key_of(space, params): number for number, params in _known(study, space)}
        self.seen |= {key_of(space, params): self.first_number + slot for slot, params in enumerate(pending)}
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


def _known(study: optuna.Study, space: Sequence[Axis]) -> Iterable[tuple[int, Params]]:
    """Number and params of the trials that have a value for every parameter of the space."""
    for trial in study.get_trials(deepcopy=False):
        if all(axis.name in trial.params for axis in space):
            yield trial.number, trial.params
