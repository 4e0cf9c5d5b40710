"""One planned config, and the words in which it is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from siren_sweep.config.parameters import leaf
from siren_sweep.search.encoding import Params
from siren_sweep.study.records import Hypothesis

_WORSE = "a final R2 below the parent's by more than the noise"


@dataclass(frozen=True)
class Proposal:
    """One config of a batch, with what a record of it needs.

    `parent` is a trial number of the same study, also one of the same batch (the proposals are numbered in their
    order, on from the study's last trial); None for a root. `sampler_state` is what the sampler wrote to the trial for
    itself: some of Optuna's keep their state there. `note` says what became of an agent's word. `goes_on` is the number
    of a paused trial, with these params, that is taken up again from its checkpoint; None for a new config.
    """

    params: dict[str, Any]
    parent: int | None
    mutation: str
    strategy: str
    hypothesis: Hypothesis | None
    sampler_state: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    goes_on: int | None = None


def mutation_text(old: Params, new: Params) -> str:
    """`omega_f: 80 -> 160`, several joined by commas; empty when nothing differs."""
    return ", ".join(f"{leaf(name)}: {shown(old[name])} -> {shown(new[name])}" for name in changed(old, new))


def hypothesis(
    old: Params, new: Params, expectation: Mapping[str, Any] | None, rationale: str, falsified_by: str
) -> Hypothesis:
    """The record of what a mutation is to show."""
    names = tuple(changed(old, new))
    return Hypothesis(
        rationale,
        falsified_by,
        names,
        tuple(old[name] for name in names),
        tuple(new[name] for name in names),
        dict(expectation) if expectation else None,
    )


def layout_hypothesis(old: Params, new: Params) -> Hypothesis:
    """A layout's question: it expects nothing yet."""
    names = " and ".join(leaf(name) for name in changed(old, new))
    return hypothesis(
        old, new, None, f"Values of {names} are laid out side by side, all else equal, to see its effect here.", _WORSE
    )


def wanted_hypothesis(old: Params, new: Params) -> Hypothesis:
    """The question of a config that a person asked for."""
    return hypothesis(old, new, None, "A person asked for this change of the best config.", _WORSE)


def changed(old: Params, new: Params) -> list[str]:
    """The names whose values differ."""
    return [name for name in new if old[name] != new[name]]


def shown(value: Any) -> str:
    """A value as people write it: no trailing zeros, at most six digits; None is not known."""
    return f"{value:.6g}" if isinstance(value, float) else "unknown" if value is None else str(value)
