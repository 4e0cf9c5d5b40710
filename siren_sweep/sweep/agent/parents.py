"""Finds the parent of an agent's config by comparing configs, and notes where the agent named another parent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from optuna.distributions import BaseDistribution

from siren_sweep.search.encoding import Params
from siren_sweep.search.proposal import WORSE, Proposal, changed, child
from siren_sweep.study.records import Hypothesis
from siren_sweep.sweep.agent.parsing import Stated

_UNSAID = "The agent stated no hypothesis."


@dataclass(frozen=True)
class Known:
    """A config of the block: its trial's number, its iteration, its R2 if it has one, and its name in messages."""

    number: int
    iteration: int
    params: Params
    value: float | None
    name: str


def child_of(
    params: Params, stated: Stated, known: Sequence[Known], distributions: Mapping[str, BaseDistribution], strategy: str
) -> Proposal:
    """The proposal of a config, with its parent, its mutation and its hypothesis.

    The parent is the `known` config from which the fewest parameters differ. Of several such configs it is the stated
    parent, else the one of highest R2, else the first. A config that differs from all of them in more than half of the
    free parameters has no parent. Where the agent stated another parent, a note says so.
    """
    parent = _parent(params, stated, known, sum(not one.single() for one in distributions.values()))
    rationale, falsified = stated.hypothesis or _UNSAID, stated.falsified_by or WORSE
    if parent is None:
        made = Proposal(dict(params), strategy, hypothesis=Hypothesis(rationale, falsified))
    else:
        made = child(params, strategy, parent.number, parent.params, rationale, falsified)
    return replace(made, note=_note(params, stated, known, parent))


def _parent(params: Params, stated: Stated, known: Sequence[Known], n_free: int) -> Known | None:
    def standing(one: Known) -> tuple[bool, bool, float, int]:
        value = one.value if one.value is not None else -math.inf
        return len(changed(one.params, params)) == fewest, one.iteration == stated.parent, value, -one.number

    fewest = min((len(changed(one.params, params)) for one in known), default=n_free)
    return max(known, key=standing) if known and 2 * fewest <= n_free else None


def _note(params: Params, stated: Stated, known: Sequence[Known], parent: Known | None) -> str:
    """A note where the stated parent is not the parent; else empty."""
    if stated.parent is None or (parent is not None and stated.parent == parent.iteration):
        return ""
    said = next((one for one in known if one.iteration == stated.parent), None)
    if said is None:
        return f"the agent named iteration {stated.parent} as its parent, which is not in this block"
    differ = f"from which {len(changed(said.params, params))} parameters differ"
    nearer = f"{len(changed(parent.params, params))} from iteration {parent.iteration}" if parent else "too many"
    return f"the agent named iteration {stated.parent} as its parent, {differ}, and {nearer}"
