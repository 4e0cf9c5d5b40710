"""How far the figures hang on the table: the cost to the best 2% on random halves of both, ours and the best other.

    python bench/search/halves.py --json FILE

A half has another best 2%, and holes, where the nearest config that is there takes the place of the one proposed.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import optuna
from replay import BLOCK, repeat
from table import Table

TABLES = Path(__file__).with_name("tables")
PAIRS = [("ucb_tree", "ucb"), ("tpe", "successive_halving")]
HALVES, REPETITIONS = 5, 20
MOST = 60.0  # a search that never got there counts as this in the mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    rows, ratios = [], []
    for name in ("frames_100", "frames_1000"):
        for half in range(HALVES):
            table, means = _half(TABLES / f"{name}.npz", half), []
            for pair in PAIRS:
                costs = [min(repeat(table, *pair, seed, least=BLOCK).cost, MOST) for seed in range(REPETITIONS)]
                means.append(float(np.exp(np.log(costs).mean())))
            ratios.append(means[0] / means[1])
            rows.append({"table": name, "half": half, "ours": means[0], "other": means[1]})
            args.json.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
            print(f"{name} half {half}: {means[0]:.1f} against {means[1]:.1f}", flush=True)
    print(f"ratio {min(ratios):.2f} to {max(ratios):.2f}, geometric mean {np.exp(np.log(ratios).mean()):.2f}")


def _half(file: Path, seed: int) -> Table:
    with np.load(file) as arrays:
        n = len(arrays["configs"])
        kept = np.sort(np.random.default_rng(seed).permutation(n)[: n // 2])
        return Table([str(name) for name in arrays["names"]], arrays["configs"][kept], arrays["curves"][kept])


if __name__ == "__main__":
    main()
