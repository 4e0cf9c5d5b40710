"""Pictures of a replay's results: regret against cost, and when trials were stopped.

python bench/search/plots.py RESULTS.json NAME        # writes docs/search_NAME_*.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PICTURES = Path(__file__).parents[2] / "docs"
OURS = ("ucb_tree", "ucb")
SHOWN = {  # pair: line colour
    OURS: "#c0392b",
    ("random", "successive_halving"): "#2c3e50",
    ("tpe", "successive_halving"): "#1abc9c",
    ("gp", "successive_halving"): "#8e44ad",
    ("tpe", "hyperband"): "#2980b9",
    ("tpe", "none"): "#7fb3d5",
    ("tpe_univariate", "none"): "#27ae60",
    ("gp", "none"): "#c39bd3",
    ("cmaes", "none"): "#d68910",
    ("random", "none"): "#95a5a6",
}
STOPS = [OURS, ("random", "ucb"), ("random", "median"), ("random", "hyperband"), ("random", "successive_halving")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("name")
    args = parser.parse_args()
    rows = {(row["sampler"], row["pruner"]): row for row in json.loads(args.results.read_text())}
    _regret(rows, PICTURES / f"search_{args.name}_regret.png")
    _stops(rows, PICTURES / f"search_{args.name}_stops.png")


def _regret(rows: dict[tuple[str, str], dict[str, Any]], file: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.8), layout="constrained")
    for pair, colour in SHOWN.items():
        if pair in rows:
            path = rows[pair]["regret"]
            axes.step(
                path["cost"],
                [10**value for value in path["log10_error"]],
                where="post",
                color=colour,
                linewidth=2.5 if pair == OURS else 1.4,
                label=f"{pair[0]} + {pair[1]} ({rows[pair]['repetitions']} repetitions)",
            )
    axes.set(
        yscale="log",
        xlim=(0, 60),
        xlabel="cost, in full trials of the table's median size",
        ylabel="1 - R2 of the best finished trial (median)",
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _stops(rows: dict[tuple[str, str], dict[str, Any]], file: Path) -> None:
    shown = [pair for pair in STOPS if pair in rows]
    figure, axes = plt.subplots(
        1, len(shown), figsize=(2.6 * len(shown), 3.4), sharey=True, layout="constrained", squeeze=False
    )
    for axis, pair in zip(axes[0], shown, strict=True):
        row = rows[pair]
        n_trials = 48 * row["repetitions"]
        axis.bar(range(20), [100 * count / n_trials for count in row["stops"]], color=SHOWN.get(pair, "#7f8c8d"))
        axis.set(title=f"{pair[0]} + {pair[1]}", xlabel="report of 20")
        axis.title.set_fontsize(9)
        saved, winner = 100 * (1 - row["steps_share"]), 100 * row["winner_stopped"]
        axis.text(
            0.97,
            0.95,
            f"{saved:.0f}% of steps saved\nwinner stopped {winner:.1f}%",
            transform=axis.transAxes,
            ha="right",
            va="top",
            fontsize=8,
        )
    axes[0][0].set_ylabel("trials stopped, %")
    figure.savefig(file, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
