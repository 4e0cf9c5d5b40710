"""How a training run tells of itself: its looks at the weights, and its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a run ended."""

    finished = "finished"  # to its last step, or until it was solved
    stopped = "stopped"  # on_report asked for it
    diverged = "diverged"  # the loss was no number, or exploded
    infeasible = "infeasible"  # foreseen after the warm-up to exceed its time budget
    truncated = "truncated"  # ran over its time budget; its metrics hold


@dataclass(frozen=True)
class Report:
    """A look at the weights after `index` twentieths of the steps."""

    index: int
    fraction: float
    step: int
    r2: float
    mse: float
    learning_rate: float
    steps_per_s: float
    elapsed_s: float
    solved: bool = False  # the run ends here, since `claude.solved_r2` is reached

    @property
    def left_s(self) -> float:
        """Seconds until the end, at the pace so far."""
        return self.elapsed_s * (1 / self.fraction - 1)

    def line(self) -> str:
        """What a person reads of it."""
        so_far = f"{self.fraction:4.0%}  step {self.step}  R2 {self.r2:.6f}"
        return f"{so_far}  {self.steps_per_s:.1f} steps/s  {self.left_s / 60:.1f} min left"
