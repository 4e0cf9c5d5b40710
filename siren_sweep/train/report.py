"""What a training run returns: its reports, and its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_LEAST_LOSS = 1e-12  # a 1 - R2 below it is lost in the rounding of float64 sums


class Status(StrEnum):
    """How a run ended."""

    finished = "finished"  # to its last step, or until it was solved
    stopped = "stopped"  # on_report asked for it
    diverged = "diverged"  # the loss was not finite, or exploded
    infeasible = "infeasible"  # after its first seconds it was forecast to exceed its time budget
    truncated = "truncated"  # it exceeded its time budget and ended there, with exact metrics


@dataclass(frozen=True)
class Report:
    """An evaluation of the weights after `index` twentieths of the steps."""

    index: int
    fraction: float  # of the steps
    step: int
    r2: float  # over all frames, or a fixed choice of them; see `engine.evaluate.report_frames`
    mse: float  # in the square of the data's unit
    learning_rate: float
    steps_per_s: float
    elapsed_s: float
    solved: bool = False  # the run ends here, since `claude.solved_r2` is reached

    @property
    def left_s(self) -> float:
        """Seconds until the end, at the pace so far."""
        return self.elapsed_s * (1 / self.fraction - 1)

    def line(self) -> str:
        """The report as a line of text."""
        so_far = f"{self.fraction:4.0%}  step {self.step}  R2 {shown_r2(self.r2)}"
        return f"{so_far}  {self.steps_per_s:.1f} steps/s  {self.left_s / 60:.1f} min left"


@dataclass(frozen=True)
class Sample:
    """The metrics of a run that trained a sample of its windows: exact over all frames and neurons of these."""

    n_trained: int
    n_windows: int
    r2: float
    r2_se: float  # standard error of `r2` as an estimate of what all windows would give
    mse: float
    pearson_r2: float
    whole_time_min: float  # what all windows would take, on all cores of the machine


@dataclass(frozen=True)
class TrainResult:
    """The result of a run.

    The final metrics are exact, over all frames and neurons. They are those of the weights in `state_dict`, the best at
    any report. They are None where the run neither finished nor was truncated, and where it trained only a sample of
    its windows; `sample` then has the metrics of these. `total_params` counts all windows. `state_dict` has weights
    (out, in) and biases (out,) under the keys of `Siren`, each after its window's `key_prefix`.
    """

    status: Status
    reason: str | None
    final_r2: float | None
    final_mse: float | None
    final_pearson_r2: float | None
    best_index: int | None
    stop_step: int
    training_time_min: float
    total_params: int
    foreseen_min: float | None
    sample: Sample | None
    border_jump: float | None  # see `Fit.border_jump`
    reports: list[Report]
    state_dict: dict[str, Tensor]


def where_to_look(r2: float, reports: Sequence[Report]) -> str | None:
    """For a run with an R2 below 0, a message that says which settings to check first; else None."""
    if r2 >= 0 or not reports:
        return None
    rising = reports[-1].r2 > max(report.r2 for report in reports[: len(reports) * 3 // 4 or 1])
    say = (
        "it was still rising, so look first at the steps: claude.total_steps, in a sweep total_steps of blocks.schedule"
        if rising
        else "it rose no more at the end, so look first at training.learning_rate_NNR_f, and at the periods: "
        "graph_model.nnr_f_T_period is in frames, nnr_f_xy_period in lattice spacings"
    )
    return f"R2 {r2:.4f} is below 0, worse than the data's mean everywhere: {say}; then at the values of the stimulus"


def shown_r2(r2: float, digits: int = 2) -> str:
    """An R2 with four decimal places; from 0.9995 on `1 - x`, where x has `digits` digits."""
    loss = 1 - r2
    if loss < _LEAST_LOSS:
        return "1"
    return f"{r2:.{max(4, digits)}f}" if loss >= 5e-4 else f"1 - {loss:.{digits - 1}e}"


def told_apart(*r2: float) -> list[str]:
    """Several R2 as texts of `shown_r2`, with enough digits that different values have different texts."""
    for digits in range(2, 16):
        texts = [shown_r2(value, digits) for value in r2]
        if len({*texts}) == len({*r2}):
            break
    return texts
