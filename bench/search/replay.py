"""Replays searches over a table of recorded learning curves: ours against what a person would use otherwise.

    python bench/search/replay.py --table FILE --repetitions N --json FILE [--pairs ours|all]

Batches of four advance together, report by report; a trial may be stopped at each, as the pruner would in a sweep. A
config that has run does not run again: the nearest one that has not takes its place. Cost is training steps times
network parameters (times batch size, where that varies) in units of the table's median full trial.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState
from table import Table

from siren_sweep.search.pruner import UCBPruner
from siren_sweep.search.sampler import UCBTreeSampler

BATCH, BLOCK, LONG, LONGEST = 4, 12, 48, 96  # trials: at once, of a block, for the pruner's figures, before giving up
N_REPORTS = 20
SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "ucb_tree": lambda seed: UCBTreeSampler(seed),
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed),
    "tpe_univariate": lambda seed: TPESampler(seed=seed, multivariate=False, constant_liar=False),
    "gp": lambda seed: GPSampler(seed=seed),
    "cmaes": lambda seed: CmaEsSampler(seed=seed),
}
PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "ucb": UCBPruner,
    "none": NopPruner,
    "median": MedianPruner,
    "hyperband": lambda: HyperbandPruner(min_resource=1, max_resource=N_REPORTS),
    "successive_halving": SuccessiveHalvingPruner,
}
OURS = [
    ("ucb_tree", "ucb"),
    ("random", "ucb"),
    ("tpe", "ucb"),
    ("ucb_tree", "none"),
    ("ucb_tree", "successive_halving"),
]
STOCK = [
    (sampler, pruner)
    for sampler in ("random", "tpe", "tpe_univariate", "gp", "cmaes")
    for pruner in ("none", "median", "hyperband", "successive_halving")
]
SLOW = {"tpe": 8, "tpe_univariate": 8, "cmaes": 8, "gp": 20, "ucb_tree": 8}  # repetitions are divided by this
FULL = ("ucb_tree", "ucb")  # this pair has them all


@dataclass
class Run:
    """One repetition."""

    cost: float  # until a top config had finished; infinite where none did
    best_after_block: float  # log10(1 - R2)
    steps_share: float  # of the steps that the first LONG trials would have taken in full
    winner_stopped: bool
    path: list[tuple[float, float]]  # cost, and log10(1 - R2) of the best finished, after each batch
    stops: list[int]  # the reports at which trials were stopped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--pairs", choices=("ours", "all"), default="all")
    parser.add_argument("--hidden", action="store_true", help="hide the parameters' names from samplers")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    table = Table.load(args.table, hidden=args.hidden)
    rows = []
    for sampler, pruner in OURS + (STOCK if args.pairs == "all" else []):
        n = args.repetitions if (sampler, pruner) == FULL else max(2, args.repetitions // SLOW.get(sampler, 1))
        started = time.monotonic()
        rows.append(summary(sampler, pruner, [repeat(table, sampler, pruner, seed) for seed in range(n)]))
        args.json.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
        print(line(rows[-1]), f"{(time.monotonic() - started) / n:.2f} s each", flush=True)


def repeat(table: Table, sampler_name: str, pruner_name: str, seed: int, least: int = LONG) -> Run:
    """One search, until a top config has finished and at least so many trials have run."""
    sampler = SAMPLERS[sampler_name](seed)
    study = optuna.create_study(
        study_name=f"replay {seed}", direction="maximize", sampler=sampler, pruner=PRUNERS[pruner_name]()
    )
    seen, replayed = np.zeros(len(table.final), bool), _Replayed(table, study)
    while len(replayed.rows) + BATCH <= min(LONGEST, len(table.final)):
        if len(replayed.rows) >= least and np.isfinite(replayed.cost_to_top):
            break
        if isinstance(sampler, UCBTreeSampler):
            trials = [study.ask(table.values()) for _ in _enqueued(study, sampler, table, seen)]
        else:
            trials = [study.ask(table.positions()) for _ in range(BATCH)]
        rows = []
        for trial in trials:
            positions = not isinstance(sampler, UCBTreeSampler)
            rows.append(table.nearest_unseen(trial.params, seen, positions=positions))
            seen[rows[-1]] = True
        replayed.batch(trials, rows)
    return replayed.result()


def _enqueued(study: optuna.Study, sampler: UCBTreeSampler, table: Table, seen: np.ndarray) -> Iterable[None]:
    """Plan a batch of ours and enqueue it; what a table of a part of its grid lacks is not proposed while it can be
    helped."""
    taken = seen.copy()
    for proposal in sampler.propose(study, table.values(), BATCH, pending=table.holes):
        row = table.nearest_unseen(proposal.params, taken, positions=False)
        taken[row] = True
        study.enqueue_trial(table.params(row), user_attrs={"parent": proposal.parent})
        yield


class _Replayed:
    """Feeds the table's curves to a study, and keeps the account."""

    def __init__(self, table: Table, study: optuna.Study) -> None:
        self._table, self._study = table, study
        self.rows: list[int] = []
        self._stopped_at: list[int | None] = []
        self._steps: list[int] = []
        self._cost, self._best, self._best_after_block = 0.0, -np.inf, -np.inf
        self.cost_to_top = np.inf
        self._path: list[tuple[float, float]] = []

    def batch(self, trials: list[optuna.Trial], rows: list[int]) -> None:
        """Run a batch in step; the study is told at its end, as in a sweep."""
        alive, first = dict(enumerate(trials)), len(self.rows)
        self.rows += rows
        self._stopped_at += [None] * len(rows)
        self._steps += [0] * len(rows)
        states: dict[int, TrialState] = {}
        for report in range(1, N_REPORTS + 1):
            for slot, trial in list(alive.items()):
                value = self._table.curves[rows[slot], report - 1]
                self._steps[first + slot] = report
                if np.isnan(value):
                    states[slot] = TrialState.FAIL
                    del alive[slot]
                    continue
                trial.report(value, report)
                if report < N_REPORTS and trial.should_prune():
                    states[slot] = TrialState.PRUNED
                    self._stopped_at[first + slot] = report
                    del alive[slot]
        self._account(rows, first, set(alive))
        for slot, trial in enumerate(trials):
            if slot in alive:
                self._study.tell(trial, self._table.final[rows[slot]])
            else:
                self._study.tell(trial, state=states[slot])

    def result(self) -> Run:
        rows, steps = np.array(self.rows[:LONG]), self._steps[:LONG]
        winner = int(np.argmax(self._table.final[rows]))
        return Run(
            self.cost_to_top,
            self._best_after_block,
            sum(steps) / (N_REPORTS * len(steps)),
            self._stopped_at[winner] is not None,
            self._path,
            [report for report in self._stopped_at[:LONG] if report is not None],
        )

    def _account(self, rows: list[int], first: int, finished: set[int]) -> None:
        self._cost += sum(
            self._table.cost[row] * self._steps[first + slot] / N_REPORTS for slot, row in enumerate(rows)
        )
        self._best = max([self._best] + [self._table.final[rows[slot]] for slot in finished])
        if any(self._table.is_top[rows[slot]] for slot in finished):
            self.cost_to_top = min(self.cost_to_top, self._cost)
        logged = float(np.log10(max(1 - self._best, 1e-12)))
        self._path.append((self._cost, logged))
        if first + len(rows) == BLOCK:
            self._best_after_block = logged


def summary(sampler: str, pruner: str, runs: list[Run]) -> dict[str, Any]:
    """One row of the results; `*_ci` are 95% bootstrap intervals, costs that were never reached are null."""
    costs = np.array([run.cost for run in runs])
    logs = np.array([run.best_after_block for run in runs])
    share = np.array([run.steps_share for run in runs])
    stopped = np.array([run.winner_stopped for run in runs], float)
    q25, median, q75 = (_finite(np.quantile(costs, q, method="inverted_cdf")) for q in (0.25, 0.5, 0.75))
    return {
        "sampler": sampler,
        "pruner": pruner,
        "repetitions": len(runs),
        "median_cost": median,
        "costs": [_finite(cost) for cost in costs],
        "cost_q25": q25,
        "cost_q75": q75,
        "best_after_12": float(np.median(logs)),
        "steps_share": float(share.mean()),
        "winner_stopped": float(stopped.mean()),
        "median_cost_ci": _interval(costs, _median),
        "best_after_12_ci": _interval(logs, np.median),
        "steps_share_ci": _interval(share, np.mean),
        "winner_stopped_ci": _interval(stopped, np.mean),
        "never": float(np.isinf(costs).mean()),
        "regret": _paths(runs),
        "stops": np.bincount([report for run in runs for report in run.stops], minlength=N_REPORTS).tolist(),
    }


def line(row: dict[str, Any]) -> str:
    """One row, to read."""
    cost = "never" if row["median_cost"] is None else f"{row['median_cost']:6.2f}"
    return (
        f"{row['sampler']:>14} {row['pruner']:<18} n={row['repetitions']:<4} cost {cost} {row['median_cost_ci']} "
        f"after 12 {row['best_after_12']:.3f} steps {row['steps_share']:.3f} winner stopped {row['winner_stopped']:.4f}"
    )


def _median(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.5, method="inverted_cdf"))


def _interval(values: np.ndarray, statistic: Callable[[np.ndarray], Any]) -> list[float | None]:
    rng = np.random.default_rng(0)
    drawn = [float(statistic(rng.choice(values, len(values)))) for _ in range(1000)]
    return [_finite(np.quantile(drawn, q, method="inverted_cdf")) for q in (0.025, 0.975)]


def _paths(runs: list[Run]) -> dict[str, list[float | None]]:
    """Median log10(1 - R2) of the best finished config by cost spent."""
    grid = np.arange(1, 61)
    found = np.full((len(runs), len(grid)), np.inf)  # infinite until a first trial has finished
    for row, run in zip(found, runs, strict=True):
        for cost, best in run.path:
            row[grid >= cost] = best
    medians = np.array([_median(column) for column in found.T])
    started = np.isfinite(medians)
    return {"cost": grid[started].tolist(), "log10_error": medians[started].round(4).tolist()}


def _finite(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None


if __name__ == "__main__":
    main()
