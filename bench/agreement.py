"""Compares the final R2 of our engine with the plain loop's: same field, config, initial weights and frames.

    python bench/agreement.py PATH --json FILE

So the two differ only by arithmetic: all neurons or unique positions, autograd or not, rounding in float32. With
different seeds they would differ by the spread between seeds, which is larger. Each R2 is that of the last weights. Our
engine runs in two ways. `exact` computes as the plain loop does: every layer has the same start and the same learning
rate, products are float32, and values are not scaled. `default` trains as a sweep does: it learns scaled values, and
starts with other frequencies in t.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_loop import PlainLoop
from sklearn.metrics import r2_score

from siren_sweep.config.checks import trial_config
from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import UNSCALED, StimulusField, open_field
from siren_sweep.train.engine import initial_model, make_engine
from siren_sweep.train.engine.batches import BatchSampler
from siren_sweep.train.engine.evaluate import evaluate
from siren_sweep.train.machine import resolve_device

N_FRAMES, STEPS, SEEDS = 100, 600, (1, 2, 3)
KINDS: dict[str, dict[str, Any]] = {
    "exact": {
        "first_layer_init": "plain",
        "first_layer_rate": "plain",
        "hidden_precision": "float32",
        "adam_beta2": 0.999,
        "turn_limit": 0.0,
    },
    "default": {},
}


def main() -> None:
    """Train with each seed in all ways, print and write a row for each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help="folder with stimulus.zarr and pos.zarr")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = resolve_device(options.device)
    field = open_field(options.path, n_frames=N_FRAMES, n_input_neurons=1736, cache_dir=None)
    rows: list[dict[str, Any]] = []
    fields = {"exact": dataclasses.replace(field, scaling=UNSCALED), "default": field}
    for seed in SEEDS:
        cfg = config(seed, **KINDS["exact"])
        rows.append({"seed": seed, "plain": plain_r2(field, cfg, device)})
        for kind, settings in KINDS.items():
            rows[-1][kind] = ours_r2(fields[kind], config(seed, **settings), device)
        print(rows[-1], flush=True)
    means = {side: sum(row[side] for row in rows) / len(rows) for side in ("plain", *KINDS)}
    for kind in KINDS:
        print(f"ours ({kind}) minus plain, mean over {len(rows)} seeds: {means[kind] - means['plain']:+.7f}")
    options.json.write_text(json.dumps({"rows": rows, "mean": means, "device": device}, indent=1) + "\n")


def config(seed: int, **settings: Any) -> TrialConfig:
    """The config of a network that learns the field well in few steps."""
    model = {"hidden_dim_nnr_f": 64, "n_layers_nnr_f": 3, "omega_f": 20, "nnr_f_T_period": 100, "nnr_f_xy_period": 16}
    training = {
        "n_training_frames": N_FRAMES,
        "learning_rate_NNR_f": 3e-4,
        "sampling": "frames",
        "lr_schedule": "constant",
        "seed": seed,
        **settings,
    }
    return trial_config({"graph_model": model, "training": training, "claude": {"total_steps": STEPS}})


def plain_r2(field: StimulusField, cfg: TrialConfig, device: str) -> float:
    """R2 over every frame and neuron after the plain loop's last step."""
    loop = PlainLoop(field, cfg, device)
    for parameter, value in zip(loop.model.parameters(), initial_model(cfg).parameters(), strict=True):
        parameter.data.copy_(value.data)
    sampler = BatchSampler(field, n_frames=8, sampling=cfg.training.sampling, seed=cfg.training.seed)
    for _ in range(STEPS):
        loop.step(sampler.draw().frame[:: field.n_unique])
    return float(r2_score(field.targets[:, field.inverse].ravel(), loop.predict().cpu().numpy().ravel()))


def ours_r2(field: StimulusField, cfg: TrialConfig, device: str) -> float:
    """R2 over every frame and neuron after our engine's last step. On a CPU it draws the same frames."""
    engine = make_engine(field, cfg, device)
    engine.advance(STEPS)
    return evaluate(engine, field, np.arange(field.n_frames)).r2


if __name__ == "__main__":
    main()
