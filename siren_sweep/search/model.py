"""A Gaussian process over (config, fraction of the run): what a score will be at the end, from the curves so far.

A score at a fraction is a smooth function of both, and what one config has beside it, which stays as its trial goes on
(compare Swersky et al. 2014, "Freeze-thaw Bayesian optimization"). A dozen trials do not settle the length
scales, so predictions are averaged over a few settings by their marginal likelihood.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular  # type: ignore[import-untyped]
from scipy.special import log_ndtr, logsumexp  # type: ignore[import-untyped]

_SCALES = (0.12, 0.25, 0.5)  # length scales, in units of the diagonal of the space
_EARLY = (0.1, 0.3, 1.0)  # size of differences at the first report, in units of those at the end
_OWN, _OWN_SCALE = 0.2, 0.05  # share of the variance that is a config's own, and how far it reaches
_KEPT, _CHANGE = 0.5, 0.7  # what of a difference stays for good, and the time in which the rest changes
_NOISE = 1e-3
_LIKELY = 0.03  # weight below which a setting is left out


class Seen(NamedTuple):
    """Scores (n,) at times (n,), log(report) / log(reports), of configs as features (n, d), each of a block (n,)."""

    x: np.ndarray
    time: np.ndarray
    block: np.ndarray
    score: np.ndarray


class Belief:
    """Final scores of candidates: a mixture of normal distributions, one for each setting."""

    def __init__(self, mean: np.ndarray, weights: np.ndarray, parts: list[_Part]) -> None:
        self._mean, self._weights, self._parts = mean, weights, parts  # (s, c), (s,)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (c,)."""
        mean = self._weights @ self._mean
        variance = self._weights @ (self._variances() + np.square(self._mean - mean))
        return mean, np.sqrt(variance)

    def log_chances(self, aim: float) -> np.ndarray:
        """Logarithm of the probability (c,) of a score above `aim` (Kushner 1964)."""
        parts = log_ndtr((self._mean - aim) / np.sqrt(self._variances()))
        return np.asarray(logsumexp(parts, axis=0, b=self._weights[:, None]))

    def pretend(self, chosen: int) -> None:
        """Take one candidate as run, with its mean as its score.

        Ginsbourger et al. 2010, "Kriging is well-suited to parallelize optimization", section 3.2 (kriging believer).
        """
        for part in self._parts:
            part.pretend(chosen)

    def _variances(self) -> np.ndarray:
        return np.stack([part.variance for part in self._parts])


class _Part:
    """Covariances of candidates under one kernel, given what was seen."""

    def __init__(self, kernel: _Kernel, whitened: np.ndarray, candidates: Seen, unit: float) -> None:
        self._kernel, self._candidates, self._unit = kernel, candidates, unit
        self._whitened = unit * whitened  # (n, c)
        variance = unit**2 * kernel.variance(candidates) - np.square(self._whitened).sum(0)
        self.variance = np.maximum(variance, 1e-6 * unit**2)

    def pretend(self, chosen: int) -> None:
        point = Seen(*(column[chosen : chosen + 1] for column in self._candidates))
        prior = self._unit**2 * self._kernel(self._candidates, point)[:, 0]
        covariance = prior - self._whitened.T @ self._whitened[:, chosen]
        row = covariance / math.sqrt(self.variance[chosen] + 0.01 * self._unit**2)
        self._whitened = np.vstack([self._whitened, row])
        self.variance = np.maximum(self.variance - row**2, 1e-6 * self._unit**2)


@dataclass(frozen=True)
class _Kernel:
    scale: float
    early: float

    def __call__(self, a: Seen, b: Seen) -> np.ndarray:
        """(a, b): a Matern 5/2 over the features with a config's own part, both changing slowly over time, and a line
        in time with a level for each block."""
        squares = np.square(a.x).sum(1)[:, None] + np.square(b.x).sum(1) - 2 * a.x @ b.x.T
        squares = np.maximum(squares, 0) / max(a.x.shape[1], 1)
        distance = np.sqrt(5 * squares) / self.scale
        joint = (1 + distance + distance**2 / 3) * np.exp(-distance)
        own = np.exp(-0.5 * squares / _OWN_SCALE**2)
        change = np.exp(-0.5 * np.square(np.subtract.outer(a.time, b.time) / _CHANGE))
        size = np.outer(self.early ** (1 - a.time), self.early ** (1 - b.time))
        level = np.equal.outer(a.block, b.block) + np.outer(a.time, b.time)
        return np.asarray(size * ((1 - _OWN) * joint + _OWN * own) * (_KEPT + (1 - _KEPT) * change) + level)

    def variance(self, a: Seen) -> np.ndarray:
        """Its diagonal (a,)."""
        return np.asarray(self.early ** (2 - 2 * a.time) + 1 + a.time**2)


class Surrogate:
    """Fitted to what was seen; scores far below the median are drawn in, since one is as bad as another."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._centre, self._unit = float(seen.score.mean()), float(seen.score.std()) or 1.0
        y = (seen.score - self._centre) / self._unit
        fits = []
        for setting in itertools.product(_SCALES, _EARLY):
            kernel = _Kernel(*setting)
            lower = np.linalg.cholesky(kernel(seen, seen) + _NOISE * np.eye(len(y)))
            white = solve_triangular(lower, y, lower=True)
            evidence = -0.5 * np.square(white).sum() - np.log(np.diag(lower)).sum()
            fits.append((evidence, kernel, lower, white))
        weights = np.exp(np.array([fit[0] for fit in fits]) - max(fit[0] for fit in fits))
        kept = np.flatnonzero(weights >= _LIKELY * weights.sum())
        self._fits = [fits[index][1:] for index in kept]
        self._weights = weights[kept] / weights[kept].sum()

    def predict(self, candidates: Seen) -> Belief:
        """What is believed of candidates at their time; their scores are not looked at."""
        means, parts = [], []
        for kernel, lower, white in self._fits:
            whitened = solve_triangular(lower, kernel(self._seen, candidates), lower=True)
            means.append(self._centre + self._unit * (white @ whitened))
            parts.append(_Part(kernel, whitened, candidates, self._unit))
        return Belief(np.array(means), self._weights, parts)
