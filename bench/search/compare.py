"""The tables of docs/search.md, in Markdown, from a replay's results.

python bench/search/compare.py RESULTS.json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

OURS = ("ucb_tree", "ucb")
HEADS = (
    "sampler",
    "pruner",
    "repetitions",
    "median cost (95% interval)",
    "quartiles",
    "log10(1 - R2) after 12",
    "steps taken",
    "winner stopped",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    rows = json.loads(parser.parse_args().results.read_text())
    ranked = sorted(rows, key=lambda row: (_or_inf(row["median_cost"]), _or_inf(row["cost_q75"])))
    print(_line(HEADS), _line(["---"] * len(HEADS)), *(_line(_cells(row)) for row in ranked), sep="\n")
    ours = next(row for row in rows if _pair(row) == OURS)
    print(*(f"- {text}" for text in _figures(ours, ranked)), sep="\n")


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["sampler"],
        row["pruner"],
        str(row["repetitions"]),
        f"{_number(row['median_cost'])} ({' to '.join(map(_number, row['median_cost_ci']))})",
        f"{_number(row['cost_q25'])}, {_number(row['cost_q75'])}",
        f"{row['best_after_12']:.2f} ({' to '.join(f'{end:.2f}' for end in row['best_after_12_ci'])})",
        f"{100 * row['steps_share']:.0f}%",
        f"{100 * row['winner_stopped']:.1f}%",
    ]


def _figures(ours: dict[str, Any], ranked: list[dict[str, Any]]) -> list[str]:
    """The figures that the search is held to; the other pairs are those with neither our sampler nor our pruner."""
    others = [row for row in ranked if row["sampler"] != OURS[0] and row["pruner"] != OURS[1]]
    texts = []
    for row in others[:3]:
        ratio, low, high = _ratio(ours["costs"], row["costs"])
        texts.append(f"cost against {' + '.join(_pair(row))}: {ratio:.2f} ({low:.2f} to {high:.2f})")
    best = min(others, key=lambda row: row["best_after_12"])
    texts.append(
        f"after 12: {ours['best_after_12']:.2f}, best other {best['best_after_12']:.2f} ({' + '.join(_pair(best))})"
    )
    for row in ranked:
        if row["pruner"] == OURS[1]:
            saved, stopped = 1 - row["steps_share"], round(row["winner_stopped"] * row["repetitions"])
            texts.append(f"{row['sampler']} + ucb: {saved:.0%} saved, winner stopped {stopped} of {row['repetitions']}")
    return texts


def _ratio(ours: list[float | None], others: list[float | None]) -> tuple[float, float, float]:
    """The ratio of the median costs, and its 95% bootstrap interval; a search that never got there costs infinity."""
    rng, pair = np.random.default_rng(0), [np.array([_or_inf(cost) for cost in costs]) for costs in (ours, others)]
    drawn = [
        _median(rng.choice(pair[0], len(pair[0]))) / _median(rng.choice(pair[1], len(pair[1]))) for _ in range(2000)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return _median(pair[0]) / _median(pair[1]), float(low), float(high)


def _median(costs: np.ndarray) -> float:
    return float(np.quantile(costs, 0.5, method="inverted_cdf"))


def _or_inf(cost: float | None) -> float:
    return np.inf if cost is None else cost


def _number(cost: float | None) -> str:
    return "never" if cost is None else f"{cost:.1f}"


def _pair(row: dict[str, Any]) -> tuple[str, str]:
    return row["sampler"], row["pruner"]


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
