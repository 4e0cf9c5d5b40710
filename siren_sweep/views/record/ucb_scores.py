"""The UCB scores of a block's tree, in which the record names nodes by their iterations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from siren_sweep.search.tree import Score
from siren_sweep.views.blocks import BlockView, TrialView
from siren_sweep.views.record import words
from siren_sweep.views.ucb import exploration, ranking


def ucb_text(block: BlockView) -> str:
    """The text of `{name}_ucb_scores.txt`: the nodes that have a value, the highest UCB first."""
    c = exploration(block.settings)
    iterations = [trial.plan.iteration for trial in block.trials] or [0]
    head = (
        f"=== UCB Scores (Simulation block {block.number}, iters {min(iterations)}-{max(iterations)}, "
        f"N={len(block.trials)}, c={c:g}) ==="
    )
    trials = {trial.number: trial for trial in block.trials}
    return "\n".join([head, "", *(_row(score, trials) for score in ranked(block)), ""])


def ranked(block: BlockView, most: int | None = None) -> list[Score]:
    """The PUCT scores of the block's nodes, or the `most` highest, highest first."""
    return ranking([trial.node for trial in block.trials], block.settings, most)


def next_parent(block: BlockView, first: Sequence[Score], iteration: int) -> str:
    """The iteration from which the tree would go on, given the first two of its scores; `root` where it has no scores.

    It is never the iteration after `iteration`, since readers of the file take that for the next node.
    """
    found = (block.trial(score.id) for score in first)
    return words.parent_name(next((one for one in found if one and one.plan.iteration != iteration + 1), None))


def _row(score: Score, trials: dict[int, TrialView]) -> str:
    trial = trials[score.id]
    parent = trials.get(score.parent) if score.parent is not None else None
    time: Any = trial.metrics.get("training_time_min")
    minutes = f"{time:.1f}" if isinstance(time, int | float) else "nan"
    return (
        f"Node {trial.plan.iteration}: UCB={score.ucb:.3f}, parent={words.parent_name(parent)}, visits={score.visits}, "
        f"R2={trial.node.value:.3f}, Time={minutes}, Mutation={words.mutation(trial, parent)}"
    )
