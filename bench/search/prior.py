"""Fits what the sampler knows of a SIREN before any trial, from random runs on the embedded scene.

    nice -n 19 python bench/search/prior.py record --minutes 15     # goes on where it was stopped
    python bench/search/prior.py fit                                # writes siren_sweep/search/prior.npz

The runs differ in all that a person may set (frames, steps, batch, schedule, sampling), so that the fit holds no single
setting's optimum. The scene is made, and none of it is in the tables of real data that the replay uses.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import EXACT

from siren_sweep.config.checks import trial_config
from siren_sweep.config.choices import LrSchedule, Sampling
from siren_sweep.field import open_field
from siren_sweep.field.synthetic import write_synthetic
from siren_sweep.search.prior import FEATURES, Prior, coordinates
from siren_sweep.train.loop import train

ROOT = Path(__file__).parents[2]
RANGES = {  # log-uniform
    "omega_f": (4, 400),
    "learning_rate_NNR_f": (5e-5, 2e-2),
    "nnr_f_xy_period": (2, 64),
    "nnr_f_T_period": (0.5, 100),
    "hidden_dim_nnr_f": (24, 112),
    "n_layers_nnr_f": (1, 4.99),
    "total_steps": (200, 1000),
    "inr_batch_size": (4, 16),
}
FRAMES = (20, 60, 180, 400)
N_BROAD = 139  # runs over the whole box; after them omega times the rate stays where updates neither stall nor explode
PHASE_STEPS = (5e-4, 1e-1)  # omega times the learning rate
NOISE = -1.7  # log of the score's noise: seeds, and what a config leaves open (sampling, schedule)
WORST_SCORE = -0.2  # all that is worse than predicting the mean is alike


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("record", "fit"))
    parser.add_argument("--scene", type=Path, default=ROOT / "outputs" / "record" / "scene")
    parser.add_argument("--runs", type=Path, default=ROOT / "bench" / "search" / "tables" / "prior_runs.jsonl")
    parser.add_argument("--minutes", type=float, default=15)
    args = parser.parse_args()
    if args.what == "record":
        torch.set_num_threads(1)
        _record(args.scene, args.runs, time.monotonic() + 60 * args.minutes)
    else:
        _fit(args.runs)


def _record(scene: Path, runs: Path, deadline: float) -> None:
    if not scene.exists():
        write_synthetic(scene, n_frames=max(FRAMES))
    fields = {n: open_field(scene, n_frames=n, n_input_neurons=1736, cache_dir=scene.parent) for n in FRAMES}
    done = len(runs.read_text().splitlines()) if runs.exists() else 0
    while time.monotonic() < deadline:
        row = _drawn(np.random.default_rng([7, done]), broad=done < N_BROAD)
        result = train(fields[row["n_frames"]], _config(row))
        with runs.open("a") as out:
            out.write(json.dumps(row | {"final_r2": result.final_r2}) + "\n")
        done += 1


def _drawn(rng: np.random.Generator, *, broad: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        name: float(f"{np.exp(rng.uniform(*np.log(limits))):.4g}") for name, limits in RANGES.items()
    }
    for name in ("hidden_dim_nnr_f", "n_layers_nnr_f", "total_steps", "inr_batch_size"):
        row[name] = int(row[name])
    if not broad:
        row["learning_rate_NNR_f"] = float(f"{np.exp(rng.uniform(*np.log(PHASE_STEPS))) / row['omega_f']:.4g}")
    row["n_frames"] = int(rng.choice(FRAMES))
    row["lr_schedule"] = str(rng.choice([kind.value for kind in (LrSchedule.constant, LrSchedule.cosine)]))
    row["sampling"] = str(rng.choice([kind.value for kind in Sampling]))
    return row


def _config(row: dict[str, Any]) -> Any:
    model = ("hidden_dim_nnr_f", "n_layers_nnr_f", "omega_f", "nnr_f_xy_period", "nnr_f_T_period")
    training = ("learning_rate_NNR_f", "inr_batch_size", "lr_schedule", "sampling")
    return trial_config(
        {
            "graph_model": {name: row[name] for name in model},
            "training": {name: row[name] for name in training} | {"n_training_frames": row["n_frames"], **EXACT},
            "claude": {"total_steps": row["total_steps"]},
        }
    )


def _fit(runs: Path) -> None:
    """A Gaussian process on the final scores; its hyperparameters by maximum a posteriori, its mean is what ships."""
    rows = [json.loads(line) for line in runs.read_text().splitlines()]
    final = np.array([row["final_r2"] if row["final_r2"] is not None else -9.0 for row in rows])
    score = np.maximum(-np.log10(np.maximum(1 - final, 1e-9)), WORST_SCORE)
    logs = np.log10([[row[name] for name in FEATURES] for row in rows])
    centre, unit = logs.mean(0), logs.std(0)
    x = torch.tensor(coordinates((logs - centre) / unit))
    y = torch.tensor(score - score.mean())
    scales = torch.full((x.shape[1],), 1.0, dtype=torch.float64, requires_grad=True)
    spread = torch.tensor([0.0, NOISE], dtype=torch.float64, requires_grad=True)  # log amplitude, log noise
    optimizer = torch.optim.Adam([scales, spread], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        weights, loss = _posterior(x, y, scales, spread)
        loss = loss + 0.5 * ((scales - 1.0) ** 2).sum() + 0.5 * ((spread[1] - NOISE) / 0.03) ** 2
        torch.autograd.backward([loss])
        optimizer.step()
    with torch.no_grad():
        weights, _ = _posterior(x, y, scales, spread)
        amplitude = float(torch.exp(2 * spread[0]))
    prior = Prior(
        centre=centre,
        unit=unit,
        scales=np.exp(scales.detach().numpy()),
        points=(logs - centre) / unit,
        weights=weights.numpy() * amplitude,
        mean=score.mean(),
    )
    prior.save()
    print(f"{len(rows)} runs, noise {float(torch.exp(spread[1].detach())):.2f}, scales {np.round(prior.scales, 1)}")


def _posterior(
    x: torch.Tensor, y: torch.Tensor, scales: torch.Tensor, spread: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The weights of the mean, and the negative log marginal likelihood."""
    scaled = x / torch.exp(scales)
    squares = (scaled[:, None] - scaled[None]).square().sum(2)
    eye = torch.eye(len(y), dtype=torch.float64)
    gram = torch.exp(2 * spread[0]) * torch.exp(-0.5 * squares) + torch.exp(2 * spread[1]) * eye
    lower = torch.linalg.cholesky(gram)
    weights = torch.cholesky_solve(y[:, None], lower)[:, 0]
    return weights, 0.5 * y @ weights + lower.diagonal().log().sum()


if __name__ == "__main__":
    main()
