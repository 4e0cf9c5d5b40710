"""Estimates how much final R2 differs between seeds, on the scale on which verdicts are given.

The scale is log(1 - R2), the logarithm of the unexplained share of the variance, on which the spread between seeds
depends least on R2. The spread is pooled over the blocks that ended before. Each has its winner, and runs of the
winner's config with other seeds. As the winner was chosen for its high R2, the estimate is a little too large, which is
the careful side. Without the winner, two seeds would give only one degree of freedom in each block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit  # type: ignore[import-untyped]

from siren_sweep.views.blocks import BlockView

# The standard deviation of log(1 - R2) between seeds that is assumed until it is measured. On real video, with 3 or 4
# seeds a config, it was 0.1 to 0.8 at 10 frames, where sweeps begin and R2 is nearest to 1; 0.2 at 100 frames; and 0.02
# to 0.1 in bench/results/sampling_and_schedule.json (100 and 1000 frames).
PRIOR_SD = 0.5
# Degrees of freedom from which on the prior is not used: with so many, a t test at 5% finds a difference of three
# standard deviations in four cases of five.
ENOUGH = 15
FALSE_POSITIVES = 0.05  # two-sided: the share of equal configs that are called better or worse
_FLOOR = 1e-12  # smallest 1 - R2: below it predictions in float32 differ by their rounding


def score(r2: float) -> float:
    """-log(1 - R2), with the natural logarithm. Higher is better; it is finite for every finite R2."""
    return -math.log(max(1.0 - r2, _FLOOR))


@dataclass(frozen=True)
class Noise:
    """The measured standard deviation of a score between seeds, and its degrees of freedom; both 0 without data."""

    sd: float = 0.0
    dof: int = 0

    def limit(self, variance: float = 2.0) -> float:
        """The absolute difference of scores above which two configs count as different.

        `variance` is that of the difference in units of sd**2: 2 for two trials, 1 for a main effect of four. The
        measured sd is used with Student's t. While it has few degrees of freedom there is a second limit: that of a
        known sd, which is the prior or, where that is larger, the measured one. The smaller of the two limits is used,
        each computed for half the rate of false positives (Bonferroni).
        """
        if self.dof >= ENOUGH:
            return math.sqrt(variance) * self._measured(FALSE_POSITIVES)
        if not self.dof:
            return math.sqrt(variance) * self._assumed(FALSE_POSITIVES)
        return math.sqrt(variance) * min(self._measured(FALSE_POSITIVES / 2), self._assumed(FALSE_POSITIVES / 2))

    @property
    def factor(self) -> float:
        """The limit for two trials, as a factor by which their 1 - R2 differ."""
        return math.exp(self.limit())

    def _measured(self, rate: float) -> float:
        return float(stdtrit(self.dof, 1 - rate / 2)) * self.sd

    def _assumed(self, rate: float) -> float:
        return float(ndtri(1 - rate / 2)) * max(PRIOR_SD, self.sd)

    def __str__(self) -> str:
        if not self.dof:
            return f"sd of log(1 - R2) between seeds {PRIOR_SD:g}, a prior until it is measured"
        degrees = "1 degree" if self.dof == 1 else f"{self.dof} degrees"
        return f"sd of log(1 - R2) between seeds {self.sd:.3g}, measured with {degrees} of freedom"


def pooled(groups: Iterable[Sequence[float]]) -> Noise:
    """The noise from groups of R2; each group is of one config with several seeds."""
    squares, dof = 0.0, 0
    for group in groups:
        if len(group) > 1:
            values = np.array([score(r2) for r2 in group])
            squares += float(((values - values.mean()) ** 2).sum())
            dof += len(group) - 1
    return Noise(math.sqrt(squares / dof), dof) if dof else Noise()


def noise_before(blocks: Iterable[BlockView], number: int) -> Noise:
    """The noise as it was known when block `number` began."""
    return pooled(group for block in blocks if block.number < number for group in block.validation.values())
