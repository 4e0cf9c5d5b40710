"""Measures the CPU time in which the sampler proposes a batch of four, by the number of trials in the study.

python bench/search/propose_time.py
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from siren_sweep.search.encoding import axes
from siren_sweep.search.mutations import fresh
from siren_sweep.search.sampler import UCBTreeSampler

SPACE: dict[str, BaseDistribution] = {
    "graph_model.omega_f": FloatDistribution(5, 4096, log=True),
    "training.learning_rate_NNR_f": FloatDistribution(1e-8, 1e-2, log=True),
    "graph_model.hidden_dim_nnr_f": CategoricalDistribution([64, 128, 256, 512]),
    "graph_model.n_layers_nnr_f": IntDistribution(2, 6),
    "graph_model.nnr_f_xy_period": FloatDistribution(1, 64, log=True),
    "T_period_ratio": FloatDistribution(1, 300, log=True),
    "training.inr_batch_size": CategoricalDistribution([4, 8, 16, 32]),
    "total_steps_ratio": CategoricalDistribution([0.5, 1.0, 2.0]),
}
SIZES = (12, 100, 1000, 10000)
REPEATS = 5


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    rng = np.random.default_rng(0)
    configs = fresh(axes(SPACE), rng, SIZES[-1])
    for before, size in zip((0, *SIZES), SIZES, strict=False):
        study.add_trials([_trial(params, rng, index) for index, params in enumerate(configs[before:size])])
        seconds = []
        for seed in range(REPEATS):
            started = time.process_time()
            UCBTreeSampler(seed).propose(study, SPACE, 4)
            seconds.append(time.process_time() - started)
        print(f"{size:5d} trials: four in {np.median(seconds):.3f} s (worst {max(seconds):.3f} s)", flush=True)


def _trial(params: dict[str, Any], rng: np.random.Generator, index: int) -> FrozenTrial:
    """A trial with a random learning curve. Every third trial is pruned at half of its steps."""
    curve, pruned = np.sort(rng.uniform(0, 0.99, 20)), index % 3 == 2
    return create_trial(
        params=params,
        distributions=SPACE,
        value=None if pruned else float(curve[-1]),
        state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
        user_attrs={"parent": None},
        intermediate_values={report: float(value) for report, value in enumerate(curve[: 10 if pruned else 20], 1)},
    )


if __name__ == "__main__":
    main()
