"""The UCB scores of a block's tree, with the reward and the constant c of its sampler."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from siren_sweep.config.schema import Claude
from siren_sweep.search.tree import Node, Reward, Score, scores


def ranking(nodes: Iterable[Node], settings: Mapping[str, Any]) -> list[Score]:
    """The PUCT scores of the nodes that have a value, highest first; `settings` are the sweep's."""
    return scores(nodes, exploration(settings), reward(settings))


def reward(settings: Mapping[str, Any]) -> Reward:
    """The reward of the sweep's UCB scores: a node's R2, or its rank."""
    return Reward.raw if settings.get("sampler.reward") == Reward.raw else Reward.rank


def exploration(settings: Mapping[str, Any]) -> float:
    """The constant c of the sweep's UCB scores."""
    for key in ("sampler.c", "claude.ucb_c"):
        if isinstance(settings.get(key), int | float):
            return float(settings[key])
    return Claude().ucb_c
