"""Leave-one-out validation of our search: its settings are chosen on all tables but one, and measured on that one.

    OMP_NUM_THREADS=1 nice -n 19 python bench/search/leave_one_out.py run --repetitions 8    # or goes on with a run
    python bench/search/leave_one_out.py report
    python bench/search/leave_one_out.py stock            # measures the stock pairs that are not in their file

A cell is one search: a setting, a table, names known or hidden, a seed. Settings are compared by the seeds that all of
them have. Costs are relative to those of the best stock pair on the same table (STOCK_FILE, geometric means), and 95%
intervals are over tables and seeds. Two tables are also searched as continuous spaces (surface.py). They are reported
separately, and no setting is chosen on them. The report also counts the blocks whose best config was stopped for good,
or was still paused at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import optuna
import replay
from surface import NOISE, Surface
from table import Table

from siren_sweep.search import history, sampler

ROOT = Path(__file__).parents[2]
STOCK_FILE = ROOT / "bench" / "results" / "search_stock.json"
STOCK = {  # searches
    ("random", "successive_halving"): 40,
    **{(sampler, pruner): 16 for sampler in ("tpe", "gp") for pruner in ("successive_halving", "hyperband")},
}
TABLES = ("frames_30", "frames_100", "frames_400", "frames_1000", "scene_60", "window_125", "window_250")
CONTINUOUS = ("continuous frames_100", "continuous frames_1000")
SEARCHED = (*TABLES, *CONTINUOUS)
SHIPPED, BLOCKS = "as shipped", "blocks"
SETTINGS: dict[str, dict[str, Any]] = {  # what each one changes
    SHIPPED: {},
    "pauses at 2": {"pauses": (2,)},
    "pauses at 2, 6": {"pauses": (2, 6)},
    "pauses at 1, 4, 10": {"pauses": (1, 4, 10)},
    "margins a tenth": {"_MARGINS": (0.002, 0.1)},
    "large margins": {"_MARGINS": (0.1, 1.0)},
}
NEVER = replay.LONGEST  # the cost of a search that found no top config
DRAWS = 2000
HIDDEN = (False, True)
KINDS = (("known", False), ("hidden", True))
Key = tuple[str, str, bool]  # setting, table, whether names are hidden
Cells = dict[Key, list[dict[str, Any]]]
Ratios = dict[Key, np.ndarray]  # logarithms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "report", "stock"))
    parser.add_argument("--cells", type=Path, default=ROOT / "outputs" / "search_leave_one_out.jsonl")
    parser.add_argument("--repetitions", type=int, default=8)
    parser.add_argument("--settings", nargs="*", default=[*SETTINGS, BLOCKS], help="by default all, and blocks")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if args.what == "run":
        _run(args.cells, args.repetitions, args.settings)
    elif args.what == "stock":
        rows = json.loads(STOCK_FILE.read_text()) if STOCK_FILE.exists() else []
        for name in SEARCHED:
            known = {(row["sampler"], row["pruner"]) for row in rows if row["table"] == name}
            rows += [stock_row(name, *pair, n) for pair, n in STOCK.items() if pair not in known]
        STOCK_FILE.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    else:
        print("\n".join(report(read(args.cells), stock_costs())))


def _run(file: Path, repetitions: int, settings: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    done = {(*key, cell["seed"]) for key, cells in read(file).items() for cell in cells}
    for seed, setting, name, hidden in itertools.product(range(repetitions), settings, SEARCHED, HIDDEN):
        if (setting, name, hidden, seed) not in done:
            table = load(name, hidden=hidden)
            with _set(**SETTINGS.get(setting, {})):
                figures = searched(table, seed) if setting != BLOCKS else blocked(table, seed)
            cell = {"setting": setting, "table": name, "hidden": hidden, "seed": seed, **figures}
            with file.open("a") as out:
                out.write(json.dumps(cell) + "\n")


@contextlib.contextmanager
def _set(pauses: tuple[int, ...] | None = None, **constants: Any) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if pauses:
            stack.enter_context(mock.patch.object(replay, "PAUSES", pauses))
            stack.enter_context(mock.patch.object(history, "_LOOKS", pauses))
        for name, value in constants.items():
            stack.enter_context(mock.patch.object(sampler, name, value))
        yield


def load(name: str, *, hidden: bool = False) -> Table:
    """A table by its name. A continuous one must be loaded anew for each search."""
    kind = Surface if name in CONTINUOUS else Table
    return kind.load(ROOT / "bench" / "search" / "tables" / f"{name.split()[-1]}.npz", hidden=hidden)


def stock_row(name: str, sampler_name: str, pruner_name: str, n: int) -> dict[str, Any]:
    """The figures of n searches by a stock pair: geometric mean and median of their costs, and the best at cost 12."""
    runs = [replay.repeat(load(name), sampler_name, pruner_name, seed, least=replay.BLOCK) for seed in range(n)]
    costs = [min(run.cost, NEVER) for run in runs]
    return {
        "table": name,
        "sampler": sampler_name,
        "pruner": pruner_name,
        "repetitions": n,
        "cost": round(float(np.exp(np.mean(np.log(costs)))), 3),
        "median_cost": round(float(np.median(costs)), 3),
        "best_at_12": round(float(np.median([run.best_at_block for run in runs])), 4),
    }


def searched(table: Table, seed: int) -> dict[str, Any]:
    """The figures of one search."""
    run = replay.repeat(table, *replay.FULL, seed, least=replay.BLOCK)
    return {"cost": min(run.cost, NEVER), "best_at_12": run.best_at_block}


def blocked(table: Table, seed: int) -> dict[str, Any]:
    """The figures of one block."""
    best, winner = replay.block(table, seed)
    return {
        "best": best,
        "winner_waits": not (winner.finished or winner.lost),
        "winner_lost": winner.lost,
        "winner_ahead": winner.ahead,
    }


def read(file: Path) -> Cells:
    """The cells in a file; none where there is no file."""
    cells: Cells = defaultdict(list)
    for line in file.read_text().splitlines() if file.exists() else []:
        cell = json.loads(line)
        cells[cell["setting"], cell["table"], cell["hidden"]].append(cell)
    return cells


def stock_costs() -> dict[str, dict[str, float]]:
    """For each table the lowest values of its stock pairs: `cost` (geometric mean) and `best_at_12` (median)."""
    pairs = json.loads(STOCK_FILE.read_text())
    return {
        name: {
            "cost": min(pair["cost"] for pair in pairs if pair["table"] == name),
            "best_at_12": min(pair["best_at_12"] for pair in pairs if pair["table"] == name),
        }
        for name in {pair["table"] for pair in pairs}
    }


def report(cells: Cells, stock: dict[str, dict[str, float]]) -> list[str]:
    """The tables of docs/search.md, as Markdown."""
    ratios = _ratios(cells, stock)
    settings = [one for one in SETTINGS if all((one, name, hidden) in ratios for name in TABLES for hidden in HIDDEN)]
    paired = _ratios(_paired(cells, settings), stock)
    chosen = {name: min(settings, key=lambda one: _mean(paired, one, set(TABLES) - {name})) for name in TABLES}
    lines = [
        "| table | as shipped | best at cost 12 | chosen on the others | with that |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in [name for name in SEARCHED if (SHIPPED, name, False) in ratios]:
        shipped = [np.exp(ratios[SHIPPED, name, hidden].mean()) for hidden in HIDDEN]
        bests = [_median(cells[SHIPPED, name, hidden]) - stock[name]["best_at_12"] for hidden in HIDDEN]
        other = [np.exp(ratios[chosen[name], name, hidden].mean()) for hidden in HIDDEN] if name in chosen else []
        row = [f"`{name}`", _pair(shipped), _pair(bests, "+.2f"), chosen.get(name, ""), _pair(other)]
        lines.append(f"| {' | '.join(row)} |")
    for title, choice in ((SHIPPED, dict.fromkeys(TABLES, SHIPPED)), ("left out", chosen)):
        lines += [_summary(f"{title}, names {kind}", ratios, choice, hidden) for kind, hidden in KINDS]
    if (SHIPPED, CONTINUOUS[0], False) in ratios:
        choice = dict.fromkeys(CONTINUOUS, SHIPPED)
        lines += [_summary(f"{SHIPPED}, continuous, names {kind}", ratios, choice, hidden) for kind, hidden in KINDS]
    for one in settings:
        both = [np.exp(_mean(paired, one, set(TABLES), (hidden,))) for hidden in HIDDEN]
        n = sum(len(paired[one, name, hidden]) for name in TABLES for hidden in HIDDEN)
        lines.append(f"- {one}: {_pair(both)} (n = {n})")
    blocks = [cell for name in TABLES for hidden in HIDDEN for cell in cells[BLOCKS, name, hidden]]
    return [*lines, *_winners(blocks)]


def _ratios(cells: Cells, stock: dict[str, dict[str, float]]) -> Ratios:
    return {
        key: np.log([cell["cost"] / stock[key[1]]["cost"] for cell in found])
        for key, found in cells.items()
        if key[0] != BLOCKS
    }


def _paired(cells: Cells, settings: list[str]) -> Cells:
    """The searches of tables from seeds that all settings have: what is compared starts alike."""
    paired: Cells = {}
    for name, hidden in itertools.product(TABLES, HIDDEN):
        shared = set.intersection(*({cell["seed"] for cell in cells[one, name, hidden]} for one in settings))
        for one in settings:
            paired[one, name, hidden] = [cell for cell in cells[one, name, hidden] if cell["seed"] in shared]
    return paired


def _winners(blocks: list[dict[str, Any]]) -> list[str]:
    """How often the config that would have won its block was lost to the pruner's bound or was still paused at the
    end, and by how many decades those were ahead of the best finished one."""
    lines = []
    for title, key in (("lost to the bound", "winner_lost"), ("paused at its block's end", "winner_waits")):
        ahead = [block["winner_ahead"] for block in blocks if block[key]]
        lines.append(f"- winner {title}: {len(ahead)} of {len(blocks)}")
        if ahead:
            more = sum(one > NOISE for one in ahead)
            lines[-1] += f", ahead by {np.median(ahead):.2f} (median) to {max(ahead):.2f}; {more} by more than {NOISE}"
    return lines


def _summary(title: str, ratios: Ratios, choice: dict[str, str], hidden: bool) -> str:
    """A line with the geometric mean over tables, its interval, and the worst; `choice` has each table's setting."""
    parts = [ratios[setting, name, hidden] for name, setting in choice.items()]
    low, high = _interval(parts)
    mean, worst = (np.exp(of([part.mean() for part in parts])) for of in (np.mean, np.max))
    return f"- {title}: {mean:.2f} ({low:.2f} to {high:.2f}), worst {worst:.2f}"


def _mean(ratios: Ratios, setting: str, names: set[str], hidden: tuple[bool, ...] = HIDDEN) -> float:
    return float(np.mean([ratios[setting, name, at].mean() for name in names for at in hidden]))


def _interval(parts: list[np.ndarray]) -> tuple[float, float]:
    """The 95% bootstrap interval of the geometric mean: tables are drawn anew, and searches within each."""
    rng = np.random.default_rng(0)
    drawn = [
        np.mean([rng.choice(parts[at], len(parts[at])).mean() for at in rng.integers(len(parts), size=len(parts))])
        for _ in range(DRAWS)
    ]
    low, high = np.exp(np.quantile(drawn, (0.025, 0.975)))
    return float(low), float(high)


def _median(cells: list[dict[str, Any]]) -> float:
    return float(np.median([cell["best_at_12"] for cell in cells]))


def _pair(values: list[Any], form: str = ".2f") -> str:
    return ", ".join(f"{value:{form}}" for value in values)


if __name__ == "__main__":
    main()
