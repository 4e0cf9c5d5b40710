"""R2, MSE and squared Pearson correlation over every frame and neuron, streamed in float64.

Predictions and targets come one a position; a position counts as often as it has neurons. What the neurons of a
position differ among themselves (`ss_within`) no prediction can explain: it enters as a constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

CONSTANT = 1e-9  # of the spread that is expected: less is float64's rounding, or as good as none


@dataclass(frozen=True)
class Metrics:
    """How well predictions meet targets."""

    r2: float  # coefficient of determination, 1 - SSE / SST
    mse: float
    pearson_r2: float  # squared correlation: blind to scale and offset


class Moments:
    """Weighted sums from which the metrics follow.

    Sums are of values less `pivot` (any value near the targets' mean), so that no digits cancel. `ss_within` is the
    targets' spread within positions.
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

        R2 of constant targets is against `expected_sst`, by default NaN, as the correlation of constant predictions is.
        """
        return _metrics(self.sums, self.ss_within, expected_sst)

    @property
    def sums(self) -> np.ndarray:
        """(7,) float64: the weights, and weighted, p, y, p^2, y^2, p y and (p - y)^2."""
        return self._sums.cpu().numpy()


def pooled(parts: Sequence[Moments]) -> Metrics:
    """The metrics over all that was added to any of the parts, which have one pivot."""
    return _metrics(np.sum([part.sums for part in parts], axis=0), sum(part.ss_within for part in parts))


def r2_standard_error(parts: Sequence[Moments], n_all: int) -> float:
    """The standard error of the pooled R2 of some parts, as an estimate of that of all `n_all` of them.

    1 - R2 is a ratio of two sums over the parts; its error follows from the parts' residuals (Cochran, "Sampling
    Techniques", 3rd edition 1977, section 6.4). NaN of a single part.
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
