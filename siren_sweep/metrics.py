"""R2, MSE and squared Pearson correlation over every frame and neuron, streamed in float64.

Predictions and targets come one a position; a position counts as often as it has neurons. What the neurons of a
position differ among themselves (`ss_within`) no prediction can explain: it enters as a constant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Metrics:
    """How well predictions meet targets."""

    r2: float  # coefficient of determination, 1 - SSE / SST
    mse: float
    pearson_r2: float  # squared correlation: blind to scale and offset


class Moments:
    """Weighted sums from which the metrics follow.

    Sums are of values less `pivot` (any value near the targets' mean), so that no digits cancel.
    """

    def __init__(self, pivot: float, device: torch.device) -> None:
        self._pivot = pivot
        self._sums = torch.zeros(7, dtype=torch.float64, device=device)

    def update(self, predictions: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Add (frames, positions) predictions and targets; `weights` (positions,) counts the neurons of each."""
        p, y = predictions.double() - self._pivot, targets.double() - self._pivot
        w = weights.double().expand_as(p)
        error = p - y
        terms = (w, w * p, w * y, w * p * p, w * y * y, w * p * y, w * error * error)
        self._sums += torch.stack([term.sum() for term in terms])

    def metrics(self, ss_within: float = 0.0) -> Metrics:
        """The metrics over all that was added; `ss_within` is the targets' spread within positions.

        R2 of constant targets is NaN, as is the correlation of constant predictions.
        """
        n, sum_p, sum_y, sum_pp, sum_yy, sum_py, sse_between = self._sums.tolist()
        sse = sse_between + ss_within
        sst = sum_yy - sum_y * sum_y / n + ss_within
        ss_p = sum_pp - sum_p * sum_p / n
        cross = sum_py - sum_p * sum_y / n
        spread = sst * ss_p
        return Metrics(
            r2=1 - sse / sst if sst > 0 else math.nan,
            mse=sse / n,
            pearson_r2=cross * cross / spread if spread > 0 else math.nan,
        )
