"""How the config that a later block begins with adapts to its number of frames, by what the blocks before have shown.

More frames may ask for another learning rate, number of steps or batch size. A response surface of second order (Box
and Wilson 1951) is fitted to all trials so far: within each block, since blocks differ in difficulty, and with the
product of the logarithm of the frames and each of the three, so that a best value that moved from block to block is
expected to move on. The sampler's Gaussian process holds no such trend: away from the frames it has seen it forgets.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from siren_sweep.config.parameters import leaf
from siren_sweep.config.schema import N_REPORTS
from siren_sweep.search.encoding import Axis, Params
from siren_sweep.search.history import History
from siren_sweep.search.knowledge import BATCH, RATE, STEPS, STEPS_RATIO, canonical, cost, couplings
from siren_sweep.search.proposal import changed, shown

_ADAPTS = (RATE, STEPS, STEPS_RATIO, BATCH)
_FACTORS = (1 / 3, 1 / 2, 2, 3)  # of a value between bounds; one of a list has its neighbours
_SMALLEST = 0.1  # gain in the score, beyond its price, that is worth a trial: a fifth of the unexplained variance
_CLEAR = 2.0  # standard deviations that the gain must be above zero
_PRICE = 0.2  # gain in the score that a cost e times as high must bring
_NOISES, _SIZES = (0.1, 0.2, 0.4, 0.7, 1.0), (0.1, 0.3, 1.0, 3.0)  # in units of the scores' spread


@dataclass(frozen=True)
class Adapted:
    """A config, what it is expected to gain, and what the blocks before have shown, in numbers."""

    params: dict[str, Any]
    expectation: dict[str, Any]
    rationale: str


def adapted(space: Sequence[Axis], carried: Params, n_frames: float, earlier: Sequence[optuna.Study]) -> Adapted | None:
    """The carried config with the rate, steps and batch that promise most at `n_frames`; None where nothing is clear.

    `earlier` are the studies of the blocks before, each with the attribute `n_training_frames`.
    """
    histories = [History(study, space, N_REPORTS) for study in earlier]
    histories = [history for history in histories if history.n_frames and len(history.scored) > 1]
    adapting = [axis for axis in space if canonical(axis.name) in _ADAPTS and not axis.fixed and not axis.nominal]
    if not histories:
        return None
    params, gained, variance = dict(carried), 0.0, 0.0
    terms = _Terms(space, adapting, histories, n_frames)
    for axis in adapting:  # one by one: the surface has no term of two of them
        options = [{**carried, axis.name: value} for value in _near(axis, carried[axis.name])]
        gain, deviation = _gains(terms, histories, [carried, *options], n_frames)
        price = np.maximum(_PRICE * np.log([cost(option) / cost(carried) for option in [carried, *options]]), 0)
        worth = np.where((gain >= _CLEAR * deviation) & (gain - price >= _SMALLEST), gain - price, 0.0)
        if (best := int(np.argmax(worth))) > 0:
            params[axis.name] = options[best - 1][axis.name]
            gained, variance = gained + float(gain[best]), variance + float(deviation[best]) ** 2
    if not (names := changed(carried, params)):
        return None
    expectation = {"measure": "log10(1 - R2) against the carried config's", "mean": -gained, "sd": math.sqrt(variance)}
    return Adapted(params, expectation, _rationale(names, histories, n_frames, expectation))


def _near(axis: Axis, value: Any) -> list[Any]:
    """The neighbouring values of a parameter: a third to three times as high, or the next choices of a list."""
    if axis.levels is not None:
        index = axis.levels.index(value)
        near = axis.levels[max(index - 1, 0) : index + 2]
    else:
        near = [axis.from_unit(axis.to_unit(value * factor)) for factor in _FACTORS]
    return [other for other in dict.fromkeys(near) if other != value]


class _Terms:
    """The terms of the surface: each parameter and its square, the couplings, and those that move with the frames."""

    def __init__(
        self, space: Sequence[Axis], adapting: Sequence[Axis], histories: Sequence[History], n_frames: float
    ) -> None:
        self._axes = [axis for axis in space if not axis.fixed and not axis.nominal]
        names = [axis.name for axis in self._axes]
        self._pairs = [(names.index(first), names.index(second)) for first, second, _ in couplings(space)]
        self._adapting = [names.index(axis.name) for axis in adapting]
        frames = [history.n_frames or n_frames for history in histories] + [n_frames]
        self._low, self._span = math.log(min(frames)), math.log(max(frames) / min(frames)) or 1.0

    def __call__(self, configs: Sequence[Params], n_frames: float) -> np.ndarray:
        """(n, k) float64; a parameter counts from -1 to 1."""
        frames = (math.log(n_frames) - self._low) / self._span
        units = np.array([[2 * axis.to_unit(params[axis.name]) - 1 for axis in self._axes] for params in configs])
        crossed = [units[:, first] * units[:, second] for first, second in self._pairs]
        moving = [frames * units[:, index] for index in self._adapting]
        return np.column_stack([units, units**2, *crossed, *moving])


def _gains(
    terms: _Terms, histories: Sequence[History], options: Sequence[Params], n_frames: float
) -> tuple[np.ndarray, np.ndarray]:
    """Expected gain in the score (c,) of each config over the first one, and its standard deviation.

    Bayesian linear regression (Gelman et al., Bayesian Data Analysis, section 14.8), averaged over a grid of noises and
    of sizes of the coefficients by the marginal likelihood.
    """
    x, y, variance = [], [], []
    for history in histories:
        seen = [one for one in history.fitted if one.score is not None]
        scores = np.array([one.score for one in seen], np.float64)
        columns = terms([one.params for one in seen], history.n_frames or n_frames)
        x.append(columns - columns.mean(0))
        y.append(scores - scores.mean())
        variance.append([one.variance for one in seen])
    z, scores, known = np.concatenate(x), np.concatenate(y), np.concatenate(variance)
    unit, new = float(scores.std()) or 1.0, terms(options, n_frames)
    fits = [
        _regression(z, scores / unit, known / unit**2 + noise**2, size, new - new[0])
        for noise, size in itertools.product(_NOISES, _SIZES)
    ]
    evidence, means, variances = (np.array(part) for part in zip(*fits, strict=True))
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    mean = weights @ means
    return unit * mean, unit * np.sqrt(weights @ (variances + (means - mean) ** 2))


def _regression(
    z: np.ndarray, y: np.ndarray, variance: np.ndarray, size: float, new: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Log evidence, and mean and variance (c,) at `new` (c, k), of y = z w + noise with w ~ N(0, size**2)."""
    lower = np.linalg.cholesky(size**2 * z @ z.T + np.diag(variance))
    white, cross = np.linalg.solve(lower, y), np.linalg.solve(lower, size**2 * z @ new.T)
    evidence = -0.5 * white @ white - np.log(np.diag(lower)).sum()
    return float(evidence), cross.T @ white, size**2 * np.square(new).sum(1) - np.square(cross).sum(0)


def _rationale(names: Sequence[str], histories: Sequence[History], n_frames: float, expectation: dict[str, Any]) -> str:
    """What the best trials of each block had, and what the model makes of all of them."""
    shown_best = []
    for history in histories:
        best = max(history.scored, key=lambda one: -math.inf if one.score is None else one.score)
        values = ", ".join(f"{leaf(name)} {shown(best.params[name])}" for name in names)
        shown_best.append(f"at {history.n_frames:.0f} frames the best of {len(history.scored)} trials had {values}")
    known = "; ".join(shown_best)
    return (
        f"{known[0].upper()}{known[1:]}. A surface through all of them expects log10(1 - R2) to change by "
        f"{expectation['mean']:.2f} +- {expectation['sd']:.2f} at {n_frames:.0f} frames."
    )
