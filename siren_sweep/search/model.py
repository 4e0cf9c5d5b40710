"""The final score of a trial, foreseen from all curves so far: a Gaussian process over (config, fraction of the run).

A score at a fraction is a smooth function of both, and what one config has beside it, which stays as its trial goes on
(compare Swersky et al. 2014, "Freeze-thaw Bayesian optimization"). A dozen trials do not settle the length
scales, so predictions are averaged over a few settings by their marginal likelihood.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from optuna.trial import TrialState
from scipy.linalg import solve_triangular  # type: ignore[import-untyped]
from scipy.special import log_ndtr, logsumexp  # type: ignore[import-untyped]

from siren_sweep.config.schema import N_REPORTS
from siren_sweep.search.encoding import Axis, Params
from siren_sweep.search.history import History
from siren_sweep.search.knowledge import couplings

_SCALES = (0.12, 0.25, 0.5)  # length scales, in units of the diagonal of the space
_EARLY = (0.1, 0.3, 1.0)  # size of differences at the first report, in units of those at the end
_OWN, _OWN_SCALE = 0.2, 0.05  # share of the variance that is a config's own, and how far it reaches
_KEPT, _CHANGE = 0.5, 0.7  # what of a difference stays for good, and the time in which the rest changes
_AGE = 0.15  # how far a block lies from the next, in ranges of a parameter
_NOISE = 1e-3
_LIKELY = 0.03  # weight below which a setting is left out


class Points(NamedTuple):
    """Configs as features (n, d) at times (n,), log(report) / log(reports), each of a block (n,)."""

    x: np.ndarray
    time: np.ndarray
    block: np.ndarray


@dataclass(frozen=True)
class _Kernel:
    scale: float
    early: float

    def __call__(self, a: Points, b: Points) -> np.ndarray:
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

    def variance(self, a: Points) -> np.ndarray:
        """Its diagonal (a,)."""
        return np.asarray(self.early ** (2 - 2 * a.time) + 1 + a.time**2)


class _Fit(NamedTuple):
    """One setting: the Cholesky factor of what was seen, and the scores (n,) whitened by it."""

    kernel: _Kernel
    lower: np.ndarray
    white: np.ndarray
    log_likelihood: float


class Model:
    """Fitted to the trials of a block, and to those of `earlier` blocks, the last one first, as further away.

    Scores far below the median are drawn in, since one is as bad as another; a trial that failed is as bad as any.
    `foreseen` are the final scores that it expects of the block's own trials, by number; a finished one's is its own.
    """

    def __init__(self, history: History, earlier: Sequence[History] = ()) -> None:
        self._space, self._aged = history.space, bool(earlier)
        blocks = [one.fitted for one in [history, *earlier]]
        self._newest = next((age for age, trials in enumerate(blocks) if trials), 0)  # of the blocks that have trials
        self.n_trials = sum(map(len, blocks))
        known = [score for trials in blocks for one in trials for score in one.scores.values()]
        top, middle, worst = max(known), float(np.median(known)), min(known)
        rows = [
            (one.params, age, at, score)
            for age, trials in enumerate(blocks)
            for one in trials
            for at, score in (one.scores or {N_REPORTS: worst}).items()
        ]
        configs, ages, reports, scores = zip(*rows, strict=True)
        self._seen = self._points(configs, np.array(ages), np.log(reports) / math.log(N_REPORTS))
        self._fit(np.maximum(scores, middle - 2 * max(top - middle, 0.1)))
        own = [one for one in blocks[0] if one.scores]
        mean = self.believe([one.params for one in own]).moments()[0] if own else ()
        self.foreseen = {
            one.number: one.last if one.state is TrialState.COMPLETE else float(final)
            for one, final in zip(own, mean, strict=True)
        }

    def believe(self, configs: Sequence[Params]) -> Belief:
        """Final scores of configs in the block."""
        candidates = self._points(configs, np.zeros(len(configs), int), np.ones(len(configs)))
        return Belief(self._fits, self._weights, self._centre, self._unit, self._seen, candidates)

    def _fit(self, scores: np.ndarray) -> None:
        self._centre, self._unit = float(scores.mean()), float(scores.std()) or 1.0
        y = (scores - self._centre) / self._unit
        fits = []
        for setting in itertools.product(_SCALES, _EARLY):
            kernel = _Kernel(*setting)
            lower = np.linalg.cholesky(kernel(self._seen, self._seen) + _NOISE * np.eye(len(y)))
            white = solve_triangular(lower, y, lower=True)
            likelihood = -0.5 * np.square(white).sum() - np.log(np.diag(lower)).sum()
            fits.append(_Fit(kernel, lower, white, likelihood))
        weights = np.exp(np.array([fit.log_likelihood for fit in fits]) - max(fit.log_likelihood for fit in fits))
        kept = np.flatnonzero(weights >= _LIKELY * weights.sum())
        self._fits = [fits[index] for index in kept]
        self._weights = weights[kept] / weights[kept].sum()

    def _points(self, configs: Sequence[Params], ages: np.ndarray, time: np.ndarray) -> Points:
        x = features(self._space, configs)
        x = np.column_stack([x, _AGE * ages]) if self._aged else x
        return Points(x, time, np.maximum(ages, self._newest))


class Belief:
    """Final scores of candidates (c,): a mixture of normal distributions, one for each setting (s,)."""

    def __init__(
        self, fits: Sequence[_Fit], weights: np.ndarray, centre: float, unit: float, seen: Points, candidates: Points
    ) -> None:
        self._kernels, self._weights = [fit.kernel for fit in fits], weights
        self._unit, self._candidates = unit, candidates
        whitened = [solve_triangular(fit.lower, fit.kernel(seen, candidates), lower=True) for fit in fits]
        means = [centre + unit * (fit.white @ own) for fit, own in zip(fits, whitened, strict=True)]
        self._mean = np.array(means)  # (s, c)
        self._whitened = [unit * own for own in whitened]  # (n, c) each
        priors = np.array([unit**2 * fit.kernel.variance(candidates) for fit in fits])
        self._variance = self._positive(priors - [np.square(own).sum(0) for own in self._whitened])  # (s, c)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (c,)."""
        mean = self._weights @ self._mean
        return mean, np.sqrt(self._weights @ (self._variance + np.square(self._mean - mean)))

    def log_chances(self, aim: float) -> np.ndarray:
        """Logarithm of the probability (c,) of a score above `aim` (Kushner 1964)."""
        parts = log_ndtr((self._mean - aim) / np.sqrt(self._variance))
        return np.asarray(logsumexp(parts, axis=0, b=self._weights[:, None]))

    def pretend(self, chosen: int) -> None:
        """Take one candidate as run, with its mean as its score.

        Ginsbourger et al. 2010, "Kriging is well-suited to parallelize optimization", section 3.2 (kriging believer).
        """
        point = Points(*(column[chosen : chosen + 1] for column in self._candidates))
        for index, (kernel, whitened) in enumerate(zip(self._kernels, self._whitened, strict=True)):
            prior = self._unit**2 * kernel(self._candidates, point)[:, 0]
            covariance = prior - whitened.T @ whitened[:, chosen]
            row = covariance / math.sqrt(self._variance[index, chosen] + 0.01 * self._unit**2)
            self._whitened[index] = np.vstack([whitened, row])
            self._variance[index] = self._positive(self._variance[index] - row**2)

    def _positive(self, variance: np.ndarray) -> np.ndarray:
        return np.asarray(np.maximum(variance, 1e-6 * self._unit**2))


def features(space: Sequence[Axis], configs: Sequence[Params]) -> np.ndarray:
    """(n, d), each column about [0, 1]: the coordinates of the parameters, and of the products that act as one."""
    free = {axis.name: axis for axis in space if not axis.fixed}
    columns = [[axis.to_unit(params[name]) for params in configs] for name, axis in free.items()]
    for one in couplings(space):
        powers = {one.first: 1, one.second: one.power}
        ends = [sorted(n * math.log(free[name].from_unit(end)) for end in (0.0, 1.0)) for name, n in powers.items()]
        low, high = (sum(own) for own in zip(*ends, strict=True))
        logs = [sum(n * math.log(params[name]) for name, n in powers.items()) for params in configs]
        columns.append([(log - low) / (high - low) for log in logs])
    return np.array(columns, np.float64).T.reshape(len(configs), len(columns))
