"""What a later block's best guess makes of the blocks before: a trend is followed, and nothing is read into noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from siren_sweep.config.choices import Strategy
from siren_sweep.search.boundary import Adapted, adapted
from siren_sweep.search.encoding import axes
from siren_sweep.search.sampler import UCBTreeSampler
from siren_sweep.search.strategy import plan_batch

OMEGA, RATE, BATCH = "graph_model.omega_f", "training.learning_rate_NNR_f", "training.inr_batch_size"
STEPS = "total_steps_ratio"
SPACE: dict[str, BaseDistribution] = {
    OMEGA: FloatDistribution(5, 500, log=True),
    RATE: FloatDistribution(1e-5, 1e-2, log=True),
    BATCH: CategoricalDistribution([4, 8, 16, 32]),
    STEPS: CategoricalDistribution([0.5, 1.0, 2.0]),
}
Score = Callable[[Mapping[str, Any], float], float]
LEVEL = 2.0


def drifting(params: Mapping[str, Any], n_frames: float) -> float:
    """-log10(1 - R2) with its best rate at 2e-3 for 10 frames, and five times lower for ten times the frames."""
    best = 2e-3 * (n_frames / 10) ** -0.7
    return LEVEL - 0.8 * math.log10(params[RATE] / best) ** 2 - 0.3 * math.log10(params[OMEGA] / 40) ** 2


def flat(params: Mapping[str, Any], n_frames: float) -> float:
    return LEVEL - 0.3 * math.log10(params[OMEGA] / 40) ** 2


def steps_matter(params: Mapping[str, Any], n_frames: float) -> float:
    return flat(params, n_frames) + 0.4 * math.log2(params[STEPS])


def block(score: Score, n_frames: int, rng: np.random.Generator, **fixed: Any) -> optuna.Study:
    """A block of twelve random configs, told with the noise of seeds."""
    study = optuna.create_study(direction="maximize")
    study.set_user_attr("n_training_frames", n_frames)
    for _ in range(12):
        params = {axis.name: axis.from_unit(float(rng.uniform())) for axis in axes(SPACE)} | fixed
        value = 1 - 10 ** -(score(params, n_frames) + rng.normal(0, 0.03))
        study.add_trial(create_trial(params=params, distributions=SPACE, value=value))
    return study


def adapts(score: Score, frames: tuple[int, ...], seed: int, **fixed: Any) -> tuple[dict[str, Any], Adapted | None]:
    """The config carried to ten times the last block's frames, with the best rate there, and what it became."""
    rng = np.random.default_rng(seed)
    studies = [block(score, n_frames, rng, **fixed) for n_frames in frames]
    guess = {OMEGA: 40.0, RATE: 4e-4, BATCH: 8, STEPS: 1.0, **fixed}
    return guess, adapted(axes(SPACE), guess, 10 * frames[-1], studies)


@pytest.mark.parametrize("seed", range(5))
def test_a_best_rate_that_fell_from_block_to_block_falls_on(seed: int) -> None:
    guess, found = adapts(drifting, (10, 100), seed)
    assert found is not None
    assert guess[RATE] / 3.2 < found.params[RATE] < guess[RATE]
    assert drifting(found.params, 1000) > drifting(guess, 1000)
    assert {name: found.params[name] for name in (OMEGA, STEPS, BATCH)} == {n: guess[n] for n in (OMEGA, STEPS, BATCH)}


def test_what_the_blocks_have_shown_is_said_in_numbers() -> None:
    _, found = adapts(drifting, (10, 100), 0)
    assert found is not None
    for part in ("At 10 frames the best of 12 trials had learning_rate_NNR_f", "at 100 frames", "at 1000 frames"):
        assert part in found.rationale
    assert f"change by {found.expectation['mean']:.2f} +- {found.expectation['sd']:.2f}" in found.rationale
    assert found.expectation["mean"] < 0 < found.expectation["sd"]


@pytest.mark.parametrize("seed", range(5))
def test_where_nothing_but_noise_was_seen_nothing_changes(seed: int) -> None:
    assert adapts(flat, (10, 100), seed)[1] is None


@pytest.mark.parametrize("seed", range(5))
def test_parameters_that_never_varied_stay(seed: int) -> None:
    assert adapts(drifting, (10, 100), seed, **{RATE: 1e-3, BATCH: 8, STEPS: 1.0})[1] is None


def test_without_an_earlier_block_nothing_changes() -> None:
    guess = {OMEGA: 30.0, RATE: 1e-3, BATCH: 8, STEPS: 1.0}
    empty = optuna.create_study(direction="maximize")
    empty.set_user_attr("n_training_frames", 10)
    assert adapted(axes(SPACE), guess, 100, []) is None
    assert adapted(axes(SPACE), guess, 100, [empty]) is None


def test_more_steps_are_taken_where_they_are_worth_their_price() -> None:
    _, found = adapts(steps_matter, (10, 100), 0)
    assert found is not None
    assert found.params[STEPS] == 2.0


@dataclass
class Space:
    """What a batch needs of a space."""

    dimensions: Mapping[str, BaseDistribution]

    def distributions(self) -> Mapping[str, BaseDistribution]:
        return self.dimensions


def first_batch(score: Score) -> tuple[dict[str, Any], list]:
    rng = np.random.default_rng(0)
    earlier = [block(score, n_frames, rng) for n_frames in (10, 100)]
    guess = {OMEGA: 40.0, RATE: 4e-4, BATCH: 8, STEPS: 1.0}
    start = {OMEGA: 30.0, RATE: 3e-4, BATCH: 8, STEPS: 1.0}
    study = optuna.create_study(direction="maximize")
    study.set_user_attr("n_training_frames", 1000)
    sampler = UCBTreeSampler(0)
    more = {"strategy": Strategy.auto, "base": guess, "carried": [guess, start], "earlier": earlier}
    return guess, plan_batch(study, Space(SPACE), sampler, 4, **more)


def test_the_first_batch_of_a_later_block_holds_the_adapted_guess_after_the_carried_ones() -> None:
    guess, batch = first_batch(drifting)
    assert len(batch) == 4
    assert batch[0].params == guess
    assert batch[1].parent is None  # the start config differs in more than one parameter
    assert (batch[2].parent, batch[2].strategy) == (0, "focused")
    assert batch[2].mutation.startswith("learning_rate_NNR_f: ")
    assert batch[2].hypothesis is not None
    assert "At 10 frames" in batch[2].hypothesis.rationale


def test_without_a_trend_the_first_batch_holds_a_variation_instead() -> None:
    _, batch = first_batch(flat)
    assert len(batch) == 4
    assert all(one.hypothesis is None or "laid out" in one.hypothesis.rationale for one in batch)
