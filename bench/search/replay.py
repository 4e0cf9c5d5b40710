"""Replays searches over a table of recorded learning curves: our search, and what a person would use otherwise.

    python bench/search/replay.py --table FILE --repetitions N --json FILE [--pairs ours|all]

The trials of a batch of four advance together, report by report, and the pruner may stop a trial at each, as in a
sweep. With `ucb_tree` and `ucb` the trial is then paused, and may be resumed in a later batch; with all others it ends.
A config that has run does not run again: the nearest one that has not run takes its place. Cost is training steps x
network parameters (x batch size, where that varies), in units of the table's median full trial. With --hidden the
parameters have names that tell samplers and pruners nothing.
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
from siren_sweep.study.records import Outcome, Stop, TrialPlan
from siren_sweep.study.stored_trials import trial_values
from siren_sweep.train.report import Status

BATCH, BLOCK, LONG = 4, 12, 48  # trials of a batch, full trials of a block, full trials that figures are over
LONGEST = 60.0  # the cost at which every search ends
PAUSES = (1, 4)  # as conf/sampler/ucb_tree.yaml has it
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
SLOW = {"tpe": 8, "tpe_univariate": 8, "cmaes": 8, "gp": 20, "ucb_tree": 8}  # divisor of the number of repetitions
FULL = ("ucb_tree", "ucb")  # the pair with all repetitions


@dataclass(frozen=True)
class Winner:
    """What became of the config that would end best of those that a search began."""

    finished: bool
    lost: bool  # it has ended for good; otherwise it has finished, or may still go on
    ahead: float  # of the best finished one, in decades of 1 - R2; 0 where it is that one


@dataclass
class Run:
    """The figures of one search."""

    cost: float  # until a top config had finished; infinite where none did
    best_after_block: float  # log10(1 - R2) of the best finished, after so many trials
    best_at_block: float  # the same at the cost of so many median full trials; 0 where none has finished
    steps_share: float  # of the steps that the first LONG trials would have taken in full
    winner: Winner  # of the first LONG trials
    path: list[tuple[float, float]]  # cost, and log10(1 - R2) of the best finished, after each batch
    stops: list[int]  # the reports at which trials were stopped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--pairs", choices=("ours", "all"), default="all")
    parser.add_argument("--hidden", action="store_true", help="hide the parameters' names")
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
    """One search. It ends when a top config has finished, and at least `least` full trials were planned."""
    sampler = SAMPLERS[sampler_name](seed)
    pruner = UCBPruner(pauses_at=PAUSES) if (sampler_name, pruner_name) == FULL else PRUNERS[pruner_name]()
    study = optuna.create_study(study_name=f"replay {seed}", direction="maximize", sampler=sampler, pruner=pruner)
    replayed = _Replayed(table, study, goes_on=isinstance(sampler, UCBTreeSampler))
    while replayed.cost < LONGEST or replayed.planned < least:
        if not replayed.goes_on and replayed.planned + BATCH > len(table.final):
            break
        if replayed.planned >= least and np.isfinite(replayed.cost_to_top):
            break
        if not isinstance(sampler, UCBTreeSampler):
            replayed.batch([replayed.start(study.ask(table.positions()), positions=True) for _ in range(BATCH)])
        elif slots := _planned(study, sampler, table, replayed):
            replayed.batch(slots)
        else:
            break
    return replayed.result()


def block(table: Table, seed: int) -> tuple[float, Winner]:
    """One block of ours, of the steps of BLOCK full trials: log10(1 - R2) of the best finished, 0 where none has, and
    what became of the config that would have won it."""
    sampler = UCBTreeSampler(seed)
    study = optuna.create_study(
        study_name=f"block {seed}", direction="maximize", sampler=sampler, pruner=UCBPruner(pauses_at=PAUSES)
    )
    replayed = _Replayed(table, study, goes_on=True)
    while slots := _planned(study, sampler, table, replayed, BLOCK - replayed.planned):
        replayed.batch(slots)
    return replayed.logged, replayed.winner


def _planned(
    study: optuna.Study, sampler: UCBTreeSampler, table: Table, replayed: _Replayed, left: float = np.inf
) -> list[_Slot]:
    """A batch of our search that fits into `left` full trials, where each trial counts until it next pauses.

    Configs that are not in the table are not proposed, as long as there are others.
    """
    slots: list[_Slot] = []
    for proposal in sampler.propose(study, table.values(), BATCH, pending=table.holes, left=left):
        reached = 0 if proposal.goes_on is None else replayed.slots[proposal.goes_on].reached
        needs = (next((at for at in PAUSES if at > reached), N_REPORTS) - reached) / N_REPORTS
        if needs > left + 1e-9:
            continue
        left -= needs
        if proposal.goes_on is not None:
            slots.append(replayed.slots[proposal.goes_on])
        elif not replayed.seen.all():
            row = table.nearest_unseen(proposal.params, replayed.seen, positions=False)
            study.enqueue_trial(table.params(row), user_attrs={"parent": proposal.parent})
            slots.append(replayed.start(study.ask(table.values()), positions=False))
    return slots


@dataclass
class _Slot:
    """A trial, its row in the table, and the report that it has reached."""

    trial: optuna.Trial
    row: int
    reached: int = 0
    finished: bool = False


class _Replayed:
    """Runs trials of a study with the curves of a table, and counts their cost.

    A trial that is stopped ends, or, with `goes_on`, is paused: then it is not told, and is stored as a paused trial of
    a sweep.
    """

    def __init__(self, table: Table, study: optuna.Study, *, goes_on: bool) -> None:
        self._table, self._study, self.goes_on = table, study, goes_on
        self.slots: dict[int, _Slot] = {}  # by trial number
        self.seen = np.zeros(len(table.final), bool)
        self.planned = 0.0  # full trials; with `goes_on` a trial counts by the part that it has run
        self.cost_to_top = np.inf
        self.cost, self._best = 0.0, -np.inf
        self._best_after_block: float | None = None
        self._long: tuple[float, Winner] | None = None
        self._path: list[tuple[float, float]] = []
        self._stops: list[int] = []

    def start(self, trial: optuna.Trial, *, positions: bool) -> _Slot:
        """Start a trial at the row nearest to its config that has not run."""
        row = self._table.nearest_unseen(trial.params, self.seen, positions=positions)
        self.seen[row] = True
        self.slots[trial.number] = _Slot(trial, row)
        return self.slots[trial.number]

    def batch(self, slots: list[_Slot]) -> None:
        """Run the trials of a batch together. The study is told at the end of the batch, as in a sweep."""
        before = [slot.reached for slot in slots]
        states = dict(self._run(slots))
        for slot, start in zip(slots, before, strict=True):
            self.cost += self._table.cost[slot.row] * (slot.reached - start) / N_REPORTS
            self.planned += (slot.reached - start) / N_REPORTS if self.goes_on else 1
        for slot in slots:
            self._tell(slot, states[slot.trial.number])
        self._account(slots)

    def _run(self, slots: list[_Slot]) -> Iterable[tuple[int, TrialState]]:
        """Yields each trial's number and the state in which it ends."""
        alive = list(slots)
        for report in range(1, N_REPORTS + 1):
            for slot in [slot for slot in alive if slot.reached < report]:
                value = self._table.curves[slot.row, report - 1]
                slot.reached, state = report, None
                if np.isnan(value):
                    state = TrialState.FAIL
                else:
                    slot.trial.report(value, report)
                    if report < N_REPORTS and slot.trial.should_prune():
                        state = TrialState.PRUNED
                if state is not None:
                    alive.remove(slot)
                    yield slot.trial.number, state
        yield from ((slot.trial.number, TrialState.COMPLETE) for slot in alive)

    def _tell(self, slot: _Slot, state: TrialState) -> None:
        slot.finished = state is TrialState.COMPLETE
        if state is TrialState.PRUNED:
            self._stops += [slot.reached] if self.planned <= LONG else []
            if self.goes_on:
                attributes = slot.trial.user_attrs
                plan = TrialPlan(slot.trial.number, {}, parent=attributes["parent"])
                r2 = float(self._table.curves[slot.row, slot.reached - 1])
                stop = Stop(slot.reached / N_REPORTS, r2, attributes.get("bound"), attributes.get("best"))
                for name, value in trial_values(plan, Outcome(1, Status.stopped), attempt=1, stop=stop).items():
                    slot.trial.set_user_attr(name, value)
                return
        self._study.tell(slot.trial, self._table.final[slot.row] if slot.finished else None, state=state)

    def _account(self, slots: list[_Slot]) -> None:
        finished = [slot.row for slot in slots if slot.finished]
        self._best = max([self._best, *self._table.final[finished]])
        if self._table.is_top[finished].any():
            self.cost_to_top = min(self.cost_to_top, self.cost)
        self._path.append((self.cost, self.logged))
        if self._best_after_block is None and self.planned >= BLOCK:
            self._best_after_block = self.logged
        if self._long is None and self.planned >= LONG:
            self._long = self._at_end()

    @property
    def logged(self) -> float:
        """log10(1 - R2) of the best finished, 0 where none has."""
        return _logged(self._best)

    @property
    def winner(self) -> Winner:
        """What has become of the one that would be best. Where trials may go on, only the pruner's bound ends one."""
        slot = max(self.slots.values(), key=lambda slot: float(self._table.final[slot.row]))
        ended = not self.goes_on or "bound" in slot.trial.user_attrs
        ahead = self.logged - _logged(float(self._table.final[slot.row]))
        return Winner(slot.finished, ended and not slot.finished, ahead)

    def _at_end(self) -> tuple[float, Winner]:
        """The share of all trials' steps that were run, and what became of the one that would be best."""
        slots = list(self.slots.values())
        return sum(slot.reached for slot in slots) / (N_REPORTS * len(slots)), self.winner

    def result(self) -> Run:
        steps_share, winner = self._long or self._at_end()
        at_block = [best for cost, best in self._path if cost <= BLOCK]
        return Run(
            self.cost_to_top,
            self._path[-1][1] if self._best_after_block is None else self._best_after_block,
            at_block[-1] if at_block else 0.0,
            steps_share,
            winner,
            self._path,
            self._stops,
        )


def summary(sampler: str, pruner: str, runs: list[Run]) -> dict[str, Any]:
    """One row of the results; `*_ci` are 95% bootstrap intervals, costs that were never reached are null.

    Of the config that would be best of the first LONG trials: `winner_stopped`, how often it has not finished;
    `winner_lost`, how often it has ended for good; `winner_ahead`, by how many decades the unfinished ones are ahead
    of the best finished one, the median and the most.
    """
    costs = np.array([run.cost for run in runs])
    logs = np.array([run.best_after_block for run in runs])
    share = np.array([run.steps_share for run in runs])
    stopped = np.array([not run.winner.finished for run in runs], float)
    ahead = [run.winner.ahead for run in runs if not run.winner.finished]
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
        "best_at_cost_12": float(np.median([run.best_at_block for run in runs])),
        "steps_share": float(share.mean()),
        "winner_stopped": float(stopped.mean()),
        "winner_lost": float(np.mean([run.winner.lost for run in runs])),
        "winner_ahead": [round(float(of(ahead)), 4) for of in (np.median, np.max)] if ahead else None,
        "median_cost_ci": _interval(costs, _median),
        "best_after_12_ci": _interval(logs, np.median),
        "steps_share_ci": _interval(share, np.mean),
        "winner_stopped_ci": _interval(stopped, np.mean),
        "never": float(np.isinf(costs).mean()),
        "regret": _paths(runs),
        "stops": np.bincount([report for run in runs for report in run.stops], minlength=N_REPORTS).tolist(),
    }


def line(row: dict[str, Any]) -> str:
    """A row of the results as a line of text."""
    cost = "never" if row["median_cost"] is None else f"{row['median_cost']:6.2f}"
    return (
        f"{row['sampler']:>14} {row['pruner']:<18} n={row['repetitions']:<4} cost {cost} {row['median_cost_ci']} "
        f"after 12 {row['best_after_12']:.3f} steps {row['steps_share']:.3f} winner stopped {row['winner_stopped']:.4f}"
        f" lost {row['winner_lost']:.4f}"
    )


def _logged(r2: float) -> float:
    return float(np.log10(max(1 - r2, 1e-12))) if np.isfinite(r2) else 0.0


def _median(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.5, method="inverted_cdf"))


def _interval(values: np.ndarray, statistic: Callable[[np.ndarray], Any]) -> list[float | None]:
    rng = np.random.default_rng(0)
    drawn = [float(statistic(rng.choice(values, len(values)))) for _ in range(1000)]
    return [_finite(np.quantile(drawn, q, method="inverted_cdf")) for q in (0.025, 0.975)]


def _paths(runs: list[Run]) -> dict[str, list[float | None]]:
    """The median log10(1 - R2) of the best finished config, by the cost so far."""
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
