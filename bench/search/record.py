"""Records tables of real learning curves for the replay: trains every config of a grid, exact R2 at each twentieth.

    nice -n 19 python bench/search/record.py frames_100 --data PATH

Finished rows go to a JSON-lines file at once, so a stopped recording goes on where it was. The grid is visited in a
shuffled order, so that a part of a table is a fair sample of it. `--seeds` trains a few configs with other seeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from siren_sweep.config import N_REPORTS, TrialConfig, trial_config
from siren_sweep.engine import evaluate
from siren_sweep.field import StimulusField, open_field
from siren_sweep.train import train

HERE = Path(__file__).parent
SEED = 42
SUBSET_SEEDS = (42, 43, 44)
# As all runs so far had it, of the tables and of the prior.
EXACT = {
    "first_layer_init": "plain",
    "first_layer_rate": "plain",
    "hidden_precision": "float32",
    "adam_beta2": 0.999,
    "turn_limit": 0.0,
}


@dataclass(frozen=True)
class Table:
    """One grid: the values of each parameter by dotted name, the frames and the steps."""

    n_frames: int
    steps: int
    values: dict[str, tuple[float, ...]]
    n_seeded: int  # configs that are trained with each of SUBSET_SEEDS


TABLES = {
    "frames_100": Table(
        n_frames=100,
        steps=500,
        n_seeded=16,
        values={
            "graph_model.omega_f": (5, 12, 30, 80, 200),
            "training.learning_rate_NNR_f": (1e-4, 5e-4, 2.5e-3, 1e-2),
            "graph_model.hidden_dim_nnr_f": (32, 64, 96),
            "graph_model.n_layers_nnr_f": (2, 3),
            "graph_model.nnr_f_xy_period": (5, 14, 40),
            "graph_model.nnr_f_T_period": (2, 15),
        },
    ),
    "frames_1000": Table(
        n_frames=1000,
        steps=1500,
        n_seeded=0,
        values={
            "graph_model.omega_f": (10, 30, 90, 270),
            "training.learning_rate_NNR_f": (2e-4, 1e-3, 5e-3),
            "graph_model.hidden_dim_nnr_f": (32, 64),
            "graph_model.n_layers_nnr_f": (2,),
            "graph_model.nnr_f_xy_period": (6, 16, 40),
            "graph_model.nnr_f_T_period": (1, 4, 16),
        },
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=sorted(TABLES))
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared" / "data" / "natural_a")
    parser.add_argument("--rows", type=Path, help="JSON lines of finished rows (default: outputs/record/TABLE.jsonl)")
    parser.add_argument("--seeds", action="store_true", help="record the seeds' subset instead of the grid")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no more rows after this long")
    args = parser.parse_args()
    torch.set_num_threads(1)
    evaluate.EVALUATION_SHARE = 1e6  # every report looks at all frames: the curves are exact
    name = f"{args.table}_seeds" if args.seeds else args.table
    rows_file = args.rows or HERE.parents[1] / "outputs" / "record" / f"{name}.jsonl"
    rows_file.parent.mkdir(parents=True, exist_ok=True)
    table = TABLES[args.table]
    field = open_field(args.data, n_frames=table.n_frames, n_input_neurons=1736, cache_dir=rows_file.parent)
    jobs = _jobs(table, SUBSET_SEEDS if args.seeds else (SEED,), table.n_seeded if args.seeds else None)
    _record(field, table, jobs, rows_file, time.monotonic() + 60 * args.minutes)
    _save(table, rows_file, HERE / "tables" / f"{name}.npz", with_seed=args.seeds)


def _jobs(table: Table, seeds: tuple[int, ...], limit: int | None) -> list[tuple[tuple[float, ...], int]]:
    """(config, seed) in the order of training."""
    grid = list(itertools.product(*table.values.values()))
    order = np.random.default_rng(0).permutation(len(grid))[:limit]
    return [(grid[index], seed) for index in order for seed in seeds]


def _record(field: StimulusField, table: Table, jobs: list[Any], rows_file: Path, deadline: float) -> None:
    done = {(tuple(row["config"]), row["seed"]) for row in _rows(rows_file)}
    for index, (config, seed) in enumerate(jobs):
        if (config, seed) in done:
            continue
        if time.monotonic() > deadline:
            return
        started = time.process_time()
        result = train(field, _trial(table, config, seed))
        curve: list[float | None] = [None] * N_REPORTS
        for report in result.reports:
            curve[report.index - 1] = report.r2 if np.isfinite(report.r2) else None
        row = {
            "config": config,
            "seed": seed,
            "curve": curve,
            "status": result.status,
            "cpu_s": time.process_time() - started,
        }
        with rows_file.open("a") as out:
            out.write("\n" * _cut_off(rows_file) + json.dumps(row) + "\n")
        print(
            f"{index + 1}/{len(jobs)} {config} seed {seed}: {result.status} {curve[-1]} {row['cpu_s']:.1f} s",
            flush=True,
        )


def _trial(table: Table, config: tuple[float, ...], seed: int) -> TrialConfig:
    values: dict[str, dict[str, Any]] = {
        "graph_model": {},
        "training": {
            "n_training_frames": table.n_frames,
            "inr_batch_size": 8,
            "seed": seed,
            "lr_schedule": "cosine",
            **EXACT,
        },
        "claude": {"total_steps": table.steps},
    }
    for dotted, value in zip(table.values, config, strict=True):
        group, leaf = dotted.split(".")
        values[group][leaf] = value
    return trial_config(values)


def _cut_off(rows_file: Path) -> bool:
    """Whether a kill left the last line without its end."""
    return rows_file.stat().st_size > 0 and not rows_file.read_bytes().endswith(b"\n")


def _rows(rows_file: Path) -> list[dict[str, Any]]:
    """The finished rows; a last line that was cut off by a kill is left out."""
    rows = []
    for line in rows_file.read_text().splitlines() if rows_file.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def _save(table: Table, rows_file: Path, target: Path, *, with_seed: bool) -> None:
    rows = sorted(_rows(rows_file), key=lambda row: (row["config"], row["seed"]))
    arrays: dict[str, Any] = {
        "names": np.array(list(table.values)),
        "configs": np.array([row["config"] for row in rows], np.float64),
        "curves": np.array([row["curve"] for row in rows], np.float32),
    }
    if with_seed:
        arrays["seeds"] = np.array([row["seed"] for row in rows])
    target.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(target, **arrays)
    print(f"{target}: {len(rows)} rows")


if __name__ == "__main__":
    main()
