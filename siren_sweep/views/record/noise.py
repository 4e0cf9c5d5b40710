"""How much final R2 differs by the seed alone, on the scale on which verdicts are given.

The scale is log(1 - R2), the logarithm of the unexplained share of the variance: on it the spread between seeds moves
least with R2. It is pooled over the blocks that ended before, each with its winner and the winner's config trained
with other seeds. The winner was chosen for being the highest, which makes the spread a little too wide: it errs to the
careful side, and without it two seeds would leave a single degree of freedom a block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit  # type: ignore[import-untyped]

from siren_sweep.views.blocks import BlockView

# Of log(1 - R2) between seeds, until it is measured. On real video, 3 or 4 seeds a config: 0.1 to 0.8 at 10 frames,
# where blocks begin and R2 is nearest to 1; 0.2 at 100; 0.02 to 0.1 in bench/results/recipe.json (100 and 1000).
PRIOR_SD = 0.5
# Degrees of freedom from which the prior is not asked any more: the fewest at which a t test at 5% finds a
# difference of three standard deviations in four cases of five.
ENOUGH = 15
FALSE_POSITIVES = 0.05  # two-sided: of equal configs, the share called better or worse
_FLOOR = 1e-12  # of 1 - R2: below it float32 predictions differ by their rounding


def score(r2: float) -> float:
    """-log(1 - R2), natural; higher is better, and finite for every finite R2."""
    return -math.log(max(1.0 - r2, _FLOOR))


@dataclass(frozen=True)
class Noise:
    """The standard deviation of a score between seeds as it was measured, with its degrees of freedom; 0 of none."""

    sd: float = 0.0
    dof: int = 0

    def limit(self, variance: float = 2.0) -> float:
        """What a difference of scores must exceed, either way, to be called one.

        `variance` is that of the difference in units of sd**2: 2 for two trials, 1 for a main effect of four. The
        measured sd is taken with Student's t. While it rests on little, the prior's (or the measured one, where that
        is larger) is taken as known beside it, and the sharper of the two decides, each at half the rate (Bonferroni).
        """
        if self.dof >= ENOUGH:
            return math.sqrt(variance) * self._measured(FALSE_POSITIVES)
        if not self.dof:
            return math.sqrt(variance) * self._assumed(FALSE_POSITIVES)
        return math.sqrt(variance) * min(self._measured(FALSE_POSITIVES / 2), self._assumed(FALSE_POSITIVES / 2))

    @property
    def factor(self) -> float:
        """The limit of two trials as a factor of 1 - R2."""
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
    """The noise from groups of R2, each of one config with several seeds."""
    squares, dof = 0.0, 0
    for group in groups:
        if len(group) > 1:
            values = np.array([score(r2) for r2 in group])
            squares += float(((values - values.mean()) ** 2).sum())
            dof += len(group) - 1
    return Noise(math.sqrt(squares / dof), dof) if dof else Noise()


def noise_before(blocks: Iterable[BlockView], number: int) -> Noise:
    """What was known of the noise when a block began."""
    return pooled(group for block in blocks if block.number < number for group in block.validation)
