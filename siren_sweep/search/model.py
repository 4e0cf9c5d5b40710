"""A Gaussian process over configs, averaged over its hyperparameters.

With a dozen trials the likelihood does not settle the length scales, so a few dozen settings are drawn from a prior,
weighted by their marginal likelihood and moved by Metropolis steps (Snoek et al. 2012, "Practical Bayesian Optimization
of Machine Learning Algorithms", section 3.2), all of them at once as one stack of matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr  # type: ignore[import-untyped]

_SCALE_MEAN, _SCALE_SPREAD = math.log(0.8), 0.7  # log length scales, in units of a parameter's range
_AMPLITUDE_SPREAD = 0.3  # log amplitude; the targets are standardised
_NOISE_MEAN, _NOISE_SPREAD = -2.5, 1.0  # log noise
_ADDITIVE_MEAN, _ADDITIVE_SPREAD = -1.0, 1.0  # logit of the share of the additive part
_OFFSET = 0.25  # variance of the unknown mean
_FACTOR = 0.1  # variance of the factor of the trend
_MOVE, _MOVES = 0.35, 2
_SETTINGS, _LARGE = 16, 64  # settings kept, and trials above which half as many are: the likelihood then settles them


@dataclass
class Belief:
    """Joint predictions at candidates: each setting's means and variances (m, c), in standardised units."""

    mean: np.ndarray
    variance: np.ndarray

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (c,) over all settings."""
        spread = self.variance.mean(0) + self.mean.var(0)
        return self.mean.mean(0), np.sqrt(spread)

    def log_improvement(self, best: float) -> np.ndarray:
        """Logarithm of the expected improvement (c,) over a standardised value (Mockus 1975)."""
        deviation = np.sqrt(self.variance)
        z = (self.mean - best) / deviation
        improvement = deviation * (z * ndtr(z) + np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))
        return np.asarray(np.log(np.maximum(improvement.mean(0), 0) + 1e-12))


class Surrogate:
    """Fitted to features (n, d), scores (n,), the variances (n,) with which those are known, and a trend (n,).

    The trend is what was believed before; the scores follow it by a factor near one that the data correct.
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, variance: np.ndarray, trend: np.ndarray, rng: np.random.Generator
    ) -> None:
        self._x = x
        self.unit = float(y.std()) or 1.0
        self.centre = float((y - trend).mean())
        self._trend = trend / self.unit
        self._y = (y - trend - self.centre) / self.unit
        self._variance = variance / self.unit**2 + 1e-6
        self._theta = self._settings(rng, _SETTINGS if len(y) <= _LARGE else _SETTINGS // 2)
        lower = np.linalg.cholesky(self._gram(self._theta))
        self._inverse = np.linalg.inv(lower)
        self._weights = np.einsum("mji,mj->mi", self._inverse, self._inverse @ self._y)

    def standardised(self, score: float) -> float:
        """A score in the units of a Belief."""
        return (score - self.centre) / self.unit

    def predict(self, x: np.ndarray, trend: np.ndarray) -> Belief:
        """What is believed at candidates (c, d) of a trend (c,)."""
        self._candidates, self._candidate_trend = x, trend / self.unit
        cross = self._kernel(self._theta, x, self._x) + _FACTOR * np.outer(self._candidate_trend, self._trend)
        self._whitened = np.einsum("mij,mcj->mci", self._inverse, cross)
        prior = np.exp(2 * self._amplitude(self._theta))[:, None] + _OFFSET + _FACTOR * self._candidate_trend**2
        variance = prior - np.square(self._whitened).sum(2)
        mean = np.einsum("mcn,mn->mc", cross, self._weights) + self._candidate_trend
        return Belief(mean, np.maximum(variance, 1e-8))

    def pretend(self, belief: Belief, chosen: int) -> Belief:
        """The belief once the last prediction's candidate `chosen` has run and came out at its mean.

        Ginsbourger et al. 2010, "Kriging is well-suited to parallelize optimization", section 3.2 (kriging believer).
        """
        point = self._candidates[chosen : chosen + 1]
        covariance = self._kernel(self._theta, self._candidates, point)[:, :, 0]
        covariance = covariance + _FACTOR * self._candidate_trend * self._candidate_trend[chosen]
        covariance -= np.einsum("mci,mi->mc", self._whitened, self._whitened[:, chosen])
        variance = np.maximum(covariance[:, chosen], 1e-8) + np.exp(2 * self._noise(self._theta))
        row = covariance / np.sqrt(variance)[:, None]
        self._whitened = np.concatenate([self._whitened, row[:, :, None]], axis=2)
        return Belief(belief.mean, np.maximum(belief.variance - row**2, 1e-8))

    def _settings(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """(n, d + 3) draws from the posterior: log length scales, log amplitude, log noise, logit additive share."""
        d = self._x.shape[1]
        mean = np.array([_SCALE_MEAN] * d + [0.0, _NOISE_MEAN, _ADDITIVE_MEAN])
        spread = np.array([_SCALE_SPREAD] * d + [_AMPLITUDE_SPREAD, _NOISE_SPREAD, _ADDITIVE_SPREAD])
        draws = mean + spread * rng.standard_normal((4 * n, d + 3))
        likelihood = self._log_likelihood(draws)
        weights = np.exp(likelihood - likelihood.max())
        kept = rng.choice(4 * n, n, p=weights / weights.sum())
        theta, likelihood = draws[kept], likelihood[kept]
        for _ in range(_MOVES):
            moved = theta + _MOVE * rng.standard_normal(theta.shape)
            other = self._log_likelihood(moved)
            prior = 0.5 * (np.square((theta - mean) / spread) - np.square((moved - mean) / spread)).sum(1)
            accepted = np.log(rng.uniform(size=n)) < other - likelihood + prior
            theta = np.where(accepted[:, None], moved, theta)
            likelihood = np.where(accepted, other, likelihood)
        return theta

    def _log_likelihood(self, theta: np.ndarray) -> np.ndarray:
        lower = np.linalg.cholesky(self._gram(theta))
        y = np.broadcast_to(self._y[:, None], (len(theta), len(self._y), 1))
        white = np.linalg.solve(lower, y)[:, :, 0]
        return np.asarray(-0.5 * np.square(white).sum(1) - np.log(np.einsum("mii->mi", lower)).sum(1))

    def _gram(self, theta: np.ndarray) -> np.ndarray:
        noise = np.exp(2 * self._noise(theta))[:, None] + self._variance
        gram = self._kernel(theta, self._x, self._x) + _FACTOR * np.outer(self._trend, self._trend)
        return np.asarray(gram + noise[:, :, None] * np.eye(len(self._y)))

    def _kernel(self, theta: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(m, a, b): a Matern 5/2 over all features, and a sum of squared exponentials of one feature each."""
        d = self._x.shape[1]
        inverse = np.exp(-2 * theta[:, :d])
        squares = np.square(a[:, None, :] - b[None, :, :])
        flat = squares.reshape(-1, d)
        shape = (len(theta), len(a), len(b))
        distance = np.sqrt(5 * (inverse @ flat.T)).reshape(shape)
        joint = (1 + distance + distance * distance / 3) * np.exp(-distance)
        additive = np.zeros(shape)
        for feature in range(d):
            additive += np.exp(-0.5 * inverse[:, feature, None, None] * squares[None, :, :, feature])
        share = 1 / (1 + np.exp(-theta[:, d + 2]))[:, None, None]
        amplitude = np.exp(2 * self._amplitude(theta))[:, None, None]
        return np.asarray(amplitude * ((1 - share) * joint + share * additive / d) + _OFFSET)

    def _amplitude(self, theta: np.ndarray) -> np.ndarray:
        return theta[:, -3]

    def _noise(self, theta: np.ndarray) -> np.ndarray:
        return theta[:, -2]
