"""Compares first layers whose frequencies in t start over many scales with those of one scale.

    python bench/first_layer.py PATH --json FILE

It measures the final R2 of each `training.first_layer_init`, by the ratio of the number of frames to T_period, with
three seeds and the same steps and learning rate.
"""

from __future__ import annotations

from statistics import mean, stdev
from typing import Any

from common import arguments, config, opened, write

from siren_sweep.config.choices import FirstLayerInit
from siren_sweep.field import StimulusField
from siren_sweep.train.loop import train

SEEDS, T_PERIOD_RATIOS = (42, 43, 44), (1, 3, 10)
CASES: list[dict[str, Any]] = [
    {"frames": 100, "hidden": 128, "rate": 3e-4, "steps": 1000},
    {"frames": 1000, "hidden": 256, "rate": 2e-4, "steps": 4000},
]


def main() -> None:
    """Run every case, print and write a row for each initialisation and T_period."""
    options = arguments(__doc__)
    rows = []
    for case in CASES:
        field = opened(options.path, case["frames"])
        for ratio in T_PERIOD_RATIOS:
            for init in FirstLayerInit:
                r2 = [final_r2(field, case, ratio, init, seed) for seed in SEEDS]
                rows.append({**case, "T_period_ratio": ratio, "first_layer_init": init, "r2": r2})
                print(f"{case['frames']:6} {ratio:3} {init:10} {mean(r2):.6f} +- {stdev(r2):.6f}", flush=True)
    write(rows, options.json)


def final_r2(field: StimulusField, case: dict[str, Any], ratio: int, init: str, seed: int) -> float:
    """The final R2 of one run, with four hidden layers."""
    cfg = config(
        (case["hidden"], 4),
        omega=30,
        t_period=case["frames"] / ratio,
        frames=case["frames"],
        rate=case["rate"],
        steps=case["steps"],
        first_layer_init=init,
        seed=seed,
    )
    result = train(field, cfg)
    if result.final_r2 is None:
        raise SystemExit(f"{cfg}: {result.status}, {result.reason}")
    return result.final_r2


if __name__ == "__main__":
    main()
