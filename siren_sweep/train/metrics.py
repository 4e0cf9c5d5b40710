"""R2, MSE and squared Pearson correlation over every frame and neuron, summed in float64 block by block.

There is one prediction and one target for each position, weighted by the position's number of neurons. Differences
between the neurons of one position (`ss_within`) cannot be predicted: they are a constant in the sums of squares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CONSTANT = 1e-9  # targets whose SST is below this share of the expected SST count as constant


@dataclass(frozen=True)
class Metrics:
    """How near predictions are to targets."""

    r2: float  # coefficient of determination, 1 - SSE / SST
    mse: float  # in the square of the data's unit
    pearson_r2: float  # squared Pearson correlation, which does not see errors of scale and offset


class Moments:
    """The weighted sums from which the metrics follow.

    `pivot`, a value near the targets' mean, is subtracted from all values, so that the sums of squares lose no digits
    by cancellation. `ss_within` is the sum of squared deviations of neurons from their position's mean.
    """

    def __init__(self, pivot: float, device: torch.device, ss_within: float = 0.0) -> None:
        self._pivot, self.ss_within = pivot, ss_within
        self._sums = torch.zeros(7, dtype=torch.float64, device=device)

    def update(self, predictions: Tensor, targets: Tensor, weights: Tensor) -> None:
        """Add (frames, positions) predictions and targets; `weights` (positions,) counts the neurons of each."""
        p, y = predictions.double() - self._pivot, targets.double() - self._pivot
        w = weights.double().expand_as(p)
        error = p - y
        terms = (w, w * p, w * y, w * p * p, w * y * y, w * p * y, w * error * error)
        self._sums += torch.stack([term.sum() for term in terms])

    def metrics(self, expected_sst: float = math.nan) -> Metrics:
        """The metrics over all that was added.

        Where the targets are constant, R2 is relative to `expected_sst`; by default it is then NaN. The correlation is
        NaN where the predictions are constant.
        """
        return _metrics(self.sums, self.ss_within, expected_sst)

    @property
    def sums(self) -> np.ndarray:
        """The sums (7,) float64 of w, w p, w y, w p^2, w y^2, w p y and w (p - y)^2, with weights w, predictions p and
        targets y."""
        return self._sums.cpu().numpy()


def pooled(parts: Sequence[Moments], expected_sst: float = math.nan) -> Metrics:
    """The metrics over all that was added to any of the parts. All parts must have the same pivot.

    `expected_sst` is as of `Moments.metrics`.
    """
    sums = np.sum([part.sums for part in parts], axis=0)
    return _metrics(sums, sum(part.ss_within for part in parts), expected_sst)


def r2_standard_error(parts: Sequence[Moments], n_all: int) -> float:
    """The standard error of the pooled R2 of a sample of parts, as an estimate of the R2 of all `n_all` parts.

    1 - R2 is a ratio of two sums over the parts. The error of such a ratio follows from the parts' residuals (Cochran,
    "Sampling Techniques", 3rd edition 1977, section 6.4). It is NaN for a single part.
    """
    n, sums = len(parts), np.array([part.sums for part in parts])  # (n, 7)
    within = np.array([part.ss_within for part in parts])
    mean = sums[:, 2].sum() / sums[:, 0].sum()
    sse = sums[:, 6] + within
    sst = sums[:, 4] - 2 * mean * sums[:, 2] + mean**2 * sums[:, 0] + within
    if n < 2:
        return math.nan
    residual = sse - sst * (sse.sum() / sst.sum())
    return float(math.sqrt((1 - n / n_all) * n / (n - 1) * (residual**2).sum()) / sst.sum())


def _metrics(sums: np.ndarray, ss_within: float, expected_sst: float = math.nan) -> Metrics:
    n, sum_p, sum_y, sum_pp, sum_yy, sum_py, sse_between = sums.tolist()
    sse = sse_between + ss_within
    sst = sum_yy - sum_y * sum_y / n + ss_within
    if sst <= CONSTANT * expected_sst:
        sst = expected_sst
    ss_p = sum_pp - sum_p * sum_p / n
    cross = sum_py - sum_p * sum_y / n
    spread = sst * ss_p
    return Metrics(
        r2=1 - sse / sst if sst > 0 else math.nan,
        mse=sse / n,
        pearson_r2=cross * cross / spread if spread > 0 else math.nan,
    )
