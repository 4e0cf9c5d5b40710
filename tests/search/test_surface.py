"""A recorded table as a continuous space: at a config it says what the table says, else what lies between."""

from __future__ import annotations

import itertools

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from test_replay import Table

import replay  # isort: skip
from surface import NOISE, Surface  # isort: skip

NAMES = ["graph_model.omega_f", "graph_model.hidden_dim_nnr_f"]


def grid() -> Table:
    """omega 10, 100, 1000 at two widths; the score at the end is omega's position plus the width's."""
    configs = np.array(list(itertools.product((10, 100, 1000), (32, 64))), float)
    nines = np.log10(configs[:, 0]) - 1 + np.log2(configs[:, 1] / 32)
    return Table(NAMES, configs, 1 - 10 ** -(nines[:, None] * np.linspace(0.05, 1, 20)))


def final(surface: Surface, omega: float, width: int) -> float:
    row = surface.nearest_unseen(dict(zip(NAMES, (omega, width), strict=True)), np.zeros(0, bool), positions=False)
    return float(-np.log10(1 - surface.final[row]))


def test_between_two_configs_a_score_is_between_theirs_on_the_scale_of_the_parameter() -> None:
    surface = Surface(grid(), NAMES)
    assert abs(final(surface, 100, 64) - 2) < 5 * NOISE
    assert abs(final(surface, 10**1.5, 32) - 0.5) < 5 * NOISE


def test_whole_numbers_stay_choices_and_the_rest_is_continuous() -> None:
    space = Surface(grid(), NAMES).values()
    assert space[NAMES[0]] == FloatDistribution(10, 1000, log=True)
    assert space[NAMES[1]] == CategoricalDistribution([32, 64])


def test_a_config_has_one_row_its_noise_and_its_cost() -> None:
    surface = Surface(grid(), NAMES)
    assert final(surface, 50, 32) == final(surface, 50, 32)
    assert final(surface, 50, 32) != final(Surface(grid(), NAMES), 50.0001, 32)
    final(surface, 50, 64)
    assert surface.cost[1] > 2 * surface.cost[0]


def test_two_percent_of_random_configs_are_the_best() -> None:
    surface, rng = Surface(grid(), NAMES), np.random.default_rng(1)
    for _ in range(2000):
        final(surface, float(10 ** rng.uniform(1, 3)), int(rng.choice([32, 64])))
    assert 0.01 < surface.is_top[:2000].mean() < 0.03


def test_a_stock_sampler_and_ours_find_the_best_of_it() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for pair in (("random", "none"), replay.FULL):
        assert np.isfinite(replay.repeat(Surface(grid(), NAMES), *pair, seed=0).cost)
