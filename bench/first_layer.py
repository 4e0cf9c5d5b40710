"""What a first layer learns whose frequencies in t start over many scales, and one whose frequencies are of one range.

    python bench/first_layer.py PATH --json FILE

Final R2 of each `training.first_layer_init` by the T_period in units of the frames, three seeds, same steps and rate.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from siren_sweep.config.checks import trial_config
from siren_sweep.config.choices import FirstLayerInit
from siren_sweep.field import StimulusField, open_field
from siren_sweep.train.loop import train

SEEDS, T_PERIOD_RATIOS = (42, 43, 44), (1, 3, 10)
CASES: list[dict[str, Any]] = [
    {"frames": 100, "hidden": 128, "rate": 3e-4, "steps": 1000},
    {"frames": 1000, "hidden": 256, "rate": 2e-4, "steps": 4000},
]


def main() -> None:
    """Run every case, print and write one row an initialisation and T_period."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="folder with stimulus.zarr and pos.zarr")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        field = open_field(options.path, n_frames=case["frames"], n_input_neurons=1736, cache_dir=None)
        for ratio in T_PERIOD_RATIOS:
            for init in FirstLayerInit:
                r2 = [final_r2(field, case, ratio, init, seed) for seed in SEEDS]
                rows.append({**case, "T_period_ratio": ratio, "first_layer_init": init, "r2": r2})
                print(f"{case['frames']:6} {ratio:3} {init:10} {mean(r2):.6f} +- {stdev(r2):.6f}", flush=True)
    options.json.write_text(json.dumps(rows, indent=1) + "\n")


def final_r2(field: StimulusField, case: dict[str, Any], ratio: int, init: str, seed: int) -> float:
    """The final R2 of one run, four hidden layers."""
    model = {
        "hidden_dim_nnr_f": case["hidden"],
        "n_layers_nnr_f": 4,
        "omega_f": 30,
        "nnr_f_T_period": case["frames"] / ratio,
        "nnr_f_xy_period": 16,
    }
    training = {
        "n_training_frames": case["frames"],
        "learning_rate_NNR_f": case["rate"],
        "first_layer_init": init,
        "seed": seed,
    }
    cfg = trial_config({"graph_model": model, "training": training, "claude": {"total_steps": case["steps"]}})
    result = train(field, cfg)
    if result.final_r2 is None:
        raise SystemExit(f"{cfg}: {result.status}, {result.reason}")
    return result.final_r2


if __name__ == "__main__":
    main()
