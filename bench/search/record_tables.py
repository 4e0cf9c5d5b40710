"""Records tables of real learning curves for `replay.py`: trains every config of a grid, with exact R2 at 20 reports.

    nice -n 19 python bench/search/record_tables.py frames_100 --data PATH

Each finished row is written to a JSON-lines file at once, so that a stopped recording goes on where it was. Configs are
trained in random order, so that a part of a table is a fair sample of it. `--seeds` trains a few configs with other
seeds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from siren_sweep.config.checks import trial_config
from siren_sweep.config.schema import N_REPORTS, TrialConfig
from siren_sweep.field import StimulusField, open_field
from siren_sweep.field.synthetic import write_synthetic
from siren_sweep.train.engine import evaluate
from siren_sweep.train.loop import train

HERE = Path(__file__).parent
SEED = 42
SUBSET_SEEDS = (42, 43, 44)
# The settings of the first two tables. The others have those of siren_sweep.
EXACT = {
    "first_layer_init": "plain",
    "first_layer_rate": "plain",
    "hidden_precision": "float32",
    "adam_beta2": 0.999,
    "turn_limit": 0.0,
    "lr_schedule": "cosine",
}


@dataclass(frozen=True)
class Table:
    """One grid: the values of each parameter by dotted name, the frames and the steps of a trial."""

    n_frames: int
    steps: int
    values: dict[str, tuple[float, ...]]
    first_frame: int = 0
    synthetic: bool = False  # whether it is of the embedded scene, and not of the real video
    n_configs: int | None = None  # configs of the grid that are trained, drawn at random; None: all
    n_seeded: int = 0  # configs that are trained with each of SUBSET_SEEDS
    training: dict[str, Any] = field(default_factory=dict)  # settings in place of the product's
    fixed: dict[str, float] = field(default_factory=dict)  # parameters that do not vary, by dotted name


TABLES = {
    "frames_100": Table(
        n_frames=100,
        steps=500,
        n_seeded=16,
        training=EXACT,
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
        training=EXACT,
        values={
            "graph_model.omega_f": (10, 30, 90, 270),
            "training.learning_rate_NNR_f": (2e-4, 1e-3, 5e-3),
            "graph_model.hidden_dim_nnr_f": (32, 64),
            "graph_model.n_layers_nnr_f": (2,),
            "graph_model.nnr_f_xy_period": (6, 16, 40),
            "graph_model.nnr_f_T_period": (1, 4, 16),
        },
    ),
    "scene_60": Table(
        first_frame=600,
        n_frames=60,
        steps=400,
        synthetic=True,
        n_configs=140,
        values={
            "graph_model.omega_f": (8, 20, 50, 125),
            "training.learning_rate_NNR_f": (3e-4, 1e-3, 4e-3, 1.5e-2),
            "graph_model.hidden_dim_nnr_f": (32, 64),
            "graph_model.n_layers_nnr_f": (2, 3),
            "graph_model.nnr_f_xy_period": (6, 16, 40),
            "graph_model.nnr_f_T_period": (4, 15, 60),
        },
    ),
    "window_125": Table(
        first_frame=5000,
        n_frames=125,
        steps=500,
        n_configs=120,
        values={
            "graph_model.omega_f": (5, 12, 30, 80),
            "training.learning_rate_NNR_f": (2e-4, 7e-4, 2.5e-3, 8e-3),
            "graph_model.hidden_dim_nnr_f": (48, 96, 144),
            "graph_model.n_layers_nnr_f": (2, 3, 4),
            "graph_model.nnr_f_xy_period": (8, 16),
            "graph_model.nnr_f_T_period": (20, 60, 250),
        },
    ),
    "window_250": Table(
        first_frame=12000,
        n_frames=250,
        steps=500,
        n_configs=120,
        values={
            "graph_model.omega_f": (8, 25, 75),
            "training.learning_rate_NNR_f": (5e-4, 2e-3, 8e-3),
            "graph_model.hidden_dim_nnr_f": (32, 64, 128),
            "graph_model.nnr_f_T_period": (10, 40, 125, 500),
            "graph_model.nnr_f_xy_period": (8, 24),
            "training.inr_batch_size": (4, 8, 16),
        },
    ),
    "frames_400": Table(
        first_frame=17000,
        n_frames=400,
        steps=600,
        n_configs=110,
        fixed={"graph_model.nnr_f_xy_period": 12},
        values={
            "graph_model.omega_f": (15, 40, 100),
            "training.learning_rate_NNR_f": (1e-4, 4e-4, 1.6e-3, 6e-3),
            "graph_model.hidden_dim_nnr_f": (32, 64, 128),
            "graph_model.n_layers_nnr_f": (2, 4),
            "graph_model.nnr_f_T_period": (20, 80, 320),
            "claude.total_steps": (300, 600, 1200),
        },
    ),
    "frames_30": Table(
        first_frame=20000,
        n_frames=30,
        steps=300,
        n_configs=160,
        fixed={"graph_model.nnr_f_T_period": 30},
        values={
            "graph_model.omega_f": (6, 15, 40, 100, 250),
            "training.learning_rate_NNR_f": (1e-4, 5e-4, 2e-3, 1e-2),
            "graph_model.hidden_dim_nnr_f": (32, 64, 96),
            "graph_model.n_layers_nnr_f": (1, 3),
            "graph_model.nnr_f_xy_period": (2, 8, 32),
        },
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=sorted(TABLES))
    parser.add_argument("--data", type=Path, default=HERE.parents[2] / "shared" / "data" / "natural_a")
    parser.add_argument("--rows", type=Path, help="JSON lines of finished rows (default: outputs/record/TABLE.jsonl)")
    parser.add_argument("--seeds", action="store_true", help="train a few configs with several seeds, not the grid")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no row after so many minutes")
    args = parser.parse_args()
    torch.set_num_threads(1)
    evaluate.EVALUATION_SHARE = 1e6  # every report is over all frames, so that the curves are exact
    name = f"{args.table}_seeds" if args.seeds else args.table
    rows_file = args.rows or HERE.parents[1] / "outputs" / "record" / f"{name}.jsonl"
    rows_file.parent.mkdir(parents=True, exist_ok=True)
    table = TABLES[args.table]
    stimulus = _stimulus(table, args.data, rows_file.parent)
    jobs = _jobs(table, SUBSET_SEEDS if args.seeds else (SEED,), table.n_seeded if args.seeds else table.n_configs)
    _record(stimulus, table, jobs, rows_file, time.monotonic() + 60 * args.minutes)
    _save(table, rows_file, HERE / "tables" / f"{name}.npz", with_seed=args.seeds)


def _stimulus(table: Table, data: Path, cache_dir: Path) -> StimulusField:
    """The frames of a table, from the folder `data` or from the embedded scene."""
    last = table.first_frame + table.n_frames
    if table.synthetic:
        data = cache_dir / f"scene_{last}"
        if not data.exists():
            write_synthetic(data, n_frames=last)
    whole = open_field(data, n_frames=last, n_input_neurons=1736, cache_dir=cache_dir)
    return whole.part(slice(table.first_frame, last)) if table.first_frame else whole


def _jobs(table: Table, seeds: tuple[int, ...], limit: int | None) -> list[tuple[tuple[float, ...], int]]:
    """The pairs (config, seed) in the order in which they are trained."""
    grid = list(itertools.product(*table.values.values()))
    order = np.random.default_rng(0).permutation(len(grid))[:limit]
    return [(grid[index], seed) for index in order for seed in seeds]


def _record(stimulus: StimulusField, table: Table, jobs: list[Any], rows_file: Path, deadline: float) -> None:
    done = {(tuple(row["config"]), row["seed"]) for row in _rows(rows_file)}
    for index, (config, seed) in enumerate(jobs):
        if (config, seed) in done:
            continue
        if time.monotonic() > deadline:
            return
        started = time.process_time()
        result = train(stimulus, _trial(table, config, seed))
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
        "training": {"n_training_frames": table.n_frames, "inr_batch_size": 8, "seed": seed, **table.training},
        "claude": {"total_steps": table.steps},
    }
    for dotted, value in [*table.fixed.items(), *zip(table.values, config, strict=True)]:
        group, leaf = dotted.split(".")
        values[group][leaf] = value
    return trial_config(values)


def _cut_off(rows_file: Path) -> bool:
    """Whether the last line has no end, since a recording was killed."""
    return rows_file.stat().st_size > 0 and not rows_file.read_bytes().endswith(b"\n")


def _rows(rows_file: Path) -> list[dict[str, Any]]:
    """The finished rows, without a last line that was cut off."""
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
