"""The block's tree as the record shows it: nodes are named by their iterations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from siren_sweep.search.tree import Node, Score
from siren_sweep.views.record import words
from siren_sweep.views.record.trials import BlockView, State, TrialView
from siren_sweep.views.ucb import exploration, ranking


def ucb_text(block: BlockView) -> str:
    """`{name}_ucb_scores.txt`: the nodes that have a value, highest UCB first."""
    c = exploration(block.settings)
    iterations = [trial.plan.iteration for trial in block.trials] or [0]
    head = (
        f"=== UCB Scores (Simulation block {block.number}, iters {min(iterations)}-{max(iterations)}, "
        f"N={len(block.trials)}, c={c:g}) ==="
    )
    trials = {trial.number: trial for trial in block.trials}
    return "\n".join([head, "", *(_row(score, trials) for score in ranked(block)), ""])


def ranked(block: BlockView) -> list[Score]:
    """The PUCT scores of the block's nodes, highest first; a stopped one's value is its last."""
    nodes = [Node(trial.number, trial.plan.parent, _value(trial)) for trial in block.trials]
    return ranking(nodes, block.settings)


def next_parent(block: BlockView, order: Sequence[Score], iteration: int) -> str:
    """The iteration from which the tree would go on, by its scores; `root` where nothing has a value yet.

    Never the one after `iteration`, which readers of the file take for the node that is to come.
    """
    found = (block.trial(score.id) for score in order[:2])
    return words.parent_name(next((one for one in found if one and one.plan.iteration != iteration + 1), None))


def _row(score: Score, trials: dict[int, TrialView]) -> str:
    trial = trials[score.id]
    parent = trials.get(score.parent) if score.parent is not None else None
    time: Any = (trial.metrics or {}).get("training_time_min")
    minutes = f"{time:.1f}" if isinstance(time, int | float) else "nan"
    return (
        f"Node {trial.plan.iteration}: UCB={score.ucb:.3f}, parent={words.parent_name(parent)}, visits={score.visits}, "
        f"R2={_value(trial):.3f}, Time={minutes}, Mutation={words.mutation(trial, parent)}"
    )


def _value(trial: TrialView) -> float | None:
    """The R2 of a complete trial, or the last one of a stopped trial."""
    return trial.r2 if trial.state is State.complete or trial.state.stopped else None
