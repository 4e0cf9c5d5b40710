"""The UCB scores of a block's tree, in which the record names nodes by their iterations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from siren_sweep.search.tree import GrowingTree, Score
from siren_sweep.views.blocks import BlockView, TrialView
from siren_sweep.views.record import words
from siren_sweep.views.ucb import exploration, ranking, reward


def ucb_text(block: BlockView) -> str:
    """The text of `{name}_ucb_scores.txt`: the nodes that have a value, the highest UCB first."""
    c = exploration(block.settings)
    iterations = [trial.plan.iteration for trial in block.trials] or [0]
    head = (
        f"=== UCB Scores (Simulation block {block.number}, iters {min(iterations)}-{max(iterations)}, "
        f"N={len(block.trials)}, c={c:g}) ==="
    )
    trials = {trial.number: trial for trial in block.trials}
    scored = ranking([trial.node for trial in block.trials], block.settings)
    return "\n".join([head, "", *(_row(score, trials) for score in scored), ""])


class Standings:
    """The nodes with the highest scores in a block's tree after each batch, by what was known at the batch's end."""

    def __init__(self, block: BlockView) -> None:
        self._block = block
        numbers = (trial.number for trial in block.trials)
        self._tree = GrowingTree(numbers, exploration(block.settings), reward(block.settings))
        self._later = sorted(block.trials, key=lambda trial: trial.plan.batch, reverse=True)
        self._not_told: list[TrialView] = []

    def first(self, batch: int) -> list[TrialView | None]:
        """The two trials with the highest scores after a batch, which must be later than that of the last call."""
        while self._later and self._later[-1].plan.batch <= batch:
            self._not_told.append(self._later.pop())
        for trial in self._not_told:
            self._tree.put(trial.after(batch).node)
        self._not_told = [one for one in self._not_told if one.told_in is None or one.told_in > batch]
        return [self._block.trial(number) for number in self._tree.first(2)]


def next_parent(first: Sequence[TrialView | None], iteration: int) -> str:
    """The iteration from which the tree would go on, given its first two nodes; `root` where no node has a value.

    It is never the iteration after `iteration`, since readers of the file take that for the next node.
    """
    return words.parent_name(next((one for one in first if one and one.plan.iteration != iteration + 1), None))


def _row(score: Score, trials: dict[int, TrialView]) -> str:
    trial = trials[score.id]
    parent = trials.get(score.parent) if score.parent is not None else None
    time: Any = trial.metrics.get("training_time_min")
    minutes = f"{time:.1f}" if isinstance(time, int | float) else "nan"
    return (
        f"Node {trial.plan.iteration}: UCB={score.ucb:.3f}, parent={words.parent_name(parent)}, visits={score.visits}, "
        f"R2={trial.node.value:.3f}, Time={minutes}, Mutation={words.mutation(trial, parent)}"
    )
