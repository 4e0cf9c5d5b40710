"""The streamed metrics against scikit-learn and numpy over every neuron."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_squared_error, r2_score

from siren_sweep.train.metrics import Metrics, Moments, pooled, r2_standard_error


def streamed(
    predictions: np.ndarray, targets: np.ndarray, multiplicity: np.ndarray, chunk: int, ss_within: float = 0.0
) -> Moments:
    moments = Moments(float(targets.mean()), torch.device("cpu"), ss_within)
    for start in range(0, len(targets), chunk):
        prediction, target = (torch.from_numpy(a[start : start + chunk]).float() for a in (predictions, targets))
        moments.update(prediction, target, torch.from_numpy(multiplicity))
    return moments


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_metrics_are_those_over_every_neuron(noise: float, offset: float) -> None:
    random = np.random.default_rng(0)
    multiplicity = np.array([8, 1, 3, 5])
    inverse = np.repeat(np.arange(4), multiplicity)
    values = offset + random.normal(size=(50, 4))[:, inverse] + noise * random.normal(size=(50, len(inverse)))
    means = np.stack([values[:, inverse == position].mean(axis=1) for position in range(4)], axis=1)
    predictions = means + random.normal(0, 0.3, means.shape)
    ss_within = float(((values - means[:, inverse]) ** 2).sum())

    got = streamed(predictions, means, multiplicity, chunk=7, ss_within=ss_within).metrics()
    every = predictions[:, inverse]
    assert got.r2 == pytest.approx(r2_score(values.ravel(), every.ravel()), abs=1e-5)
    assert got.mse == pytest.approx(mean_squared_error(values.ravel(), every.ravel()), rel=1e-4)
    assert got.pearson_r2 == pytest.approx(np.corrcoef(values.ravel(), every.ravel())[0, 1] ** 2, abs=1e-5)


def test_scale_and_offset_show_in_r2_and_not_in_the_correlation() -> None:
    targets = np.random.default_rng(1).normal(size=(20, 3))
    got = streamed(2 * targets + 1, targets, np.ones(3, np.int64), chunk=20).metrics()
    assert got.r2 < 0
    assert got.pearson_r2 == pytest.approx(1)


def test_perfect_predictions_score_one() -> None:
    targets = np.random.default_rng(1).normal(size=(20, 3))
    assert streamed(targets, targets, np.ones(3, np.int64), chunk=6).metrics().r2 == 1


def test_constant_targets_have_no_r2() -> None:
    targets = np.full((5, 2), 0.5)
    got = streamed(targets, targets, np.ones(2, np.int64), chunk=5).metrics()
    assert isinstance(got, Metrics)
    assert math.isnan(got.r2)


def parts_of(sizes: np.ndarray, seed: int) -> list[Moments]:
    """Moments of parts whose targets and errors differ in size."""
    random, parts = np.random.default_rng(seed), []
    for size in sizes:
        targets = torch.from_numpy(random.normal(0.1 * size, size, (20, 3)))
        moments = Moments(0.0, torch.device("cpu"))
        moments.update(targets + 0.2 * torch.from_numpy(random.normal(0, size, (20, 3))), targets, torch.ones(3))
        parts.append(moments)
    return parts


def test_pooled_parts_are_the_whole() -> None:
    random = np.random.default_rng(2)
    predictions, targets, multiplicity = (
        random.normal(size=(30, 4)),
        random.normal(size=(30, 4)),
        np.array([1, 2, 3, 4]),
    )

    def moments_of(start: int, stop: int, ss_within: float) -> Moments:
        moments = Moments(0.0, torch.device("cpu"), ss_within)
        moments.update(*map(torch.from_numpy, (predictions[start:stop], targets[start:stop], multiplicity)))
        return moments

    whole = moments_of(0, 30, 3.0).metrics()
    parts = pooled([moments_of(0, 4, 1.0), moments_of(4, 9, 1.0), moments_of(9, 30, 1.0)])
    assert (parts.r2, parts.mse, parts.pearson_r2) == pytest.approx((whole.r2, whole.mse, whole.pearson_r2))


def test_the_standard_error_is_the_spread_over_samples() -> None:
    """R2 of 12 of 60 parts, drawn many times: its standard deviation is what one sample's own error says."""
    random = np.random.default_rng(3)
    parts = parts_of(random.uniform(0.5, 2.0, 60), seed=4)
    samples = [[parts[place] for place in random.choice(60, 12, replace=False)] for _ in range(400)]
    told = np.sqrt(np.mean([r2_standard_error(sample, 60) ** 2 for sample in samples]))
    assert told == pytest.approx(np.std([pooled(sample).r2 for sample in samples]), rel=0.15)
    assert math.isnan(r2_standard_error(parts[:1], 60))
    assert r2_standard_error(parts, 60) == 0
