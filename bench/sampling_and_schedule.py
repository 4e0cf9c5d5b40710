"""Compares ways of drawing a batch and learning rate schedules by the R2 that they reach in the same number of steps.

    python bench/sampling_and_schedule.py PATH --json FILE

A step takes the same time in all of them. Each pair of sampling and schedule gets the best of its learning rates, by
the mean over seeds.
"""

from __future__ import annotations

import itertools
from statistics import mean, stdev
from typing import Any

from common import arguments, config, opened, write

from siren_sweep.config.choices import LrSchedule, Sampling
from siren_sweep.field import StimulusField
from siren_sweep.train.loop import train

SEEDS, RATES = (1, 2, 3), (1.5e-4, 3e-4, 6e-4, 1.2e-3)
CASES: list[dict[str, Any]] = [
    {"frames": 100, "hidden": 64, "layers": 4, "omega": 20, "T_period": 100, "steps": 1500},
    {"frames": 1000, "hidden": 128, "layers": 3, "omega": 30, "T_period": 300, "steps": 1500},
]

AS_STORED: dict[str, Any] = {  # settings of the runs whose results are stored
    "adam_beta2": 0.999,
    "turn_limit": 0.0,
    "first_layer_init": "plain",
    "first_layer_rate": "plain",
    "hidden_precision": "float32",
}


def main() -> None:
    """Run every case, print and write a row for each pair of sampling and schedule."""
    options = arguments(__doc__)
    rows = []
    for case in CASES:
        field = opened(options.path, case["frames"])
        for sampling, schedule in itertools.product(Sampling, (LrSchedule.constant, LrSchedule.cosine)):
            by_rate = {rate: scores(field, case, sampling, schedule, rate) for rate in RATES}
            rate = max(by_rate, key=lambda rate: mean(by_rate[rate]))
            r2 = by_rate[rate]
            row = {
                **case,
                "sampling": sampling,
                "schedule": schedule,
                "rate": rate,
                "r2": mean(r2),
                "spread": stdev(r2),
            }
            rows.append({**row, "by_rate": {f"{rate:g}": mean(r2) for rate, r2 in by_rate.items()}})
            print(
                f"{case['frames']:6} {sampling:7} {schedule:9} {rate:8g} {mean(r2):.4f} +- {stdev(r2):.4f}", flush=True
            )
    write(rows, options.json)


def scores(
    field: StimulusField, case: dict[str, Any], sampling: Sampling, schedule: LrSchedule, rate: float
) -> list[float]:
    """The final R2 with each seed; 0 for a run that did not finish."""
    results = (
        train(
            field,
            config(
                (case["hidden"], case["layers"]),
                omega=case["omega"],
                t_period=case["T_period"],
                frames=case["frames"],
                rate=rate,
                steps=case["steps"],
                sampling=sampling,
                lr_schedule=schedule,
                seed=seed,
                **AS_STORED,
            ),
        )
        for seed in SEEDS
    )
    return [result.final_r2 or 0.0 for result in results]


if __name__ == "__main__":
    main()
