"""A sweep as data frames: its trials, their learning curves, and its best configs. The studies are only read.

sweep = open_sweep("outputs/demo")
sweep.trials.groupby("block").r2.max()
compare(["outputs/a", "outputs/b"])
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from optuna.trial import TrialState

from siren_sweep.config.config_file import plain, read_config
from siren_sweep.config.parameters import BATCH_SIZE, HIDDEN_DIM, N_LAYERS, PARAMETERS, TOTAL_STEPS, defaults, grouped
from siren_sweep.errors import ConfigError
from siren_sweep.paths import SweepPaths
from siren_sweep.study.log_format import OLD_R2
from siren_sweep.study.records import Block, Trial, finite
from siren_sweep.study.studies import Winner, read_folder
from siren_sweep.train.size import arithmetic, n_networks
from siren_sweep.views.best import best_entry
from siren_sweep.views.blocks import BlockView, read_blocks
from siren_sweep.views.sampled import part

if TYPE_CHECKING:
    from siren_sweep.train.model import Model

_TRIAL: dict[str, str] = {
    "block": "int64",
    "number": "int64",
    "iteration": "int64",
    "batch": "int64",
    "slot": "int64",
    "state": "object",
    "r2": "float64",
    "part": "object",
    "status": "object",
    "reason": "object",
    "minutes": "float64",
    "parent": "Int64",
    "mutation": "object",
    "seed": "Int64",
}
_RAN_ON = ("siren_sweep", "commit", "python", "torch", "numpy", "device", "cpu", "precision")
_CURVE = {
    "block": "int64",
    "number": "int64",
    "step": "int64",
    "r2": "float64",
    "mse": "float64",
    "learning_rate": "float64",
    "elapsed_s": "float64",
}
_ROUNDING = 1e-9  # relative rounding error of a sum of costs
_COMPARED = {
    "sweep": "object",
    "proposer": "object",
    "block": "int64",
    "n_training_frames": "int64",
    "final_r2": "float64",
    "measure": "object",
    "r2_at_equal_cost": "float64",
    "cost": "float64",
    "minutes": "float64",
    "n_trials": "int64",
}


class Sweep:
    """A sweep as it was when it was opened. Open it again to see later trials."""

    folder: Path
    blocks: list[Block]  # those that have begun, in order

    def __init__(self, folder: str | PathLike[str]) -> None:
        """`folder` is `outputs/NAME`. Raises OutputError where it holds no sweep, or none that can be read."""
        with read_folder(Path(folder)) as (paths, studies, validations):
            self._read = {block.number: block for block in read_blocks(studies, validations)}
        self._best = {number: _best(paths, block, block.winner) for number, block in self._read.items() if block.winner}
        self.folder = Path(folder)
        self.blocks = [read.block for read in self._read.values()]

    @property
    def name(self) -> str:
        """The sweep's name, which is its folder's."""
        return self.folder.absolute().name

    @functools.cached_property
    def trials(self) -> pd.DataFrame:
        """One row for each trial, in the order in which they were planned.

        `state` is waiting, running, paused, complete, pruned or fail. `r2` is the final R2 of a complete trial, and the
        last reported R2 of any other. `part` says over which windows that R2 is; it is empty where it is over all
        frames. `status` and `reason` say how the run ended, `minutes` how long it trained. `parent` is the number of a
        trial of the same block. Each explorable parameter has a column with the last part of its name. The last columns
        are the provenance: data hash, the sweep's command, versions, commit, device and precision. A value that is not
        known, as in an imported log, is missing.
        """
        return trials_frame((read.block, trial) for read in self._read.values() for trial in read.trials)

    @functools.cached_property
    def curves(self) -> pd.DataFrame:
        """One row for each report: block, number, step, r2, mse, learning_rate, elapsed_s (seconds of training)."""
        rows = [
            {"block": read.block.number, "number": trial.number, **vars(report)}
            for read in self._read.values()
            for trial in read.trials
            for report in trial.reports
        ]
        return _frame(rows, _CURVE)

    def best(self, block: int) -> dict[str, Any] | None:
        """A block's best config: its entry in `best.json` without provenance, and its `config` by group.

        None before a trial has finished. In an imported log, whose runs left no config files, `config` has only the
        explorable parameters. Raises ConfigError where the sweep has not begun such a block.
        """
        if block not in self._read:
            known = ", ".join(map(str, self._read)) or "none"
            raise ConfigError(f"block must be one that the sweep has begun ({known}), got {block!r}")
        found = self._best.get(block)
        return dict(found) if found is not None else None

    def load(self, block: int, *, device: str = "cpu") -> Model:
        """The exported model of a block, as `siren_sweep.load` returns it."""
        from siren_sweep.train.model import load

        return load(self.folder, block=block, device=device)

    def best_by_cost(self, block: int) -> list[tuple[float, float]]:
        """How a block's search went: pairs of its cost so far, as `compare` counts it, and the best R2 so far."""
        return list(_best_by_cost(self._read[block]))

    def of_data(self, hashes: Mapping[int, str]) -> Sweep | None:
        """The sweep with only those blocks whose data have one of these hashes, by number of frames.

        None where there is no such block.
        """
        own = copy.copy(self)
        own._read = {
            number: read
            for number, read in self._read.items()
            if read.block.data_hash and hashes.get(read.block.n_training_frames) == read.block.data_hash
        }
        own.blocks = [read.block for read in own._read.values()]
        return own if own.blocks else None

    def __repr__(self) -> str:
        n_trials = sum(len(read.trials) for read in self._read.values())
        return f"Sweep({str(self.folder)!r}, blocks={len(self.blocks)}, trials={n_trials})"


def open_sweep(folder: str | PathLike[str]) -> Sweep:
    """Open the folder of a sweep, `outputs/NAME`: its blocks, trials, learning curves and best configs as they are now.

    Nothing is written, and a running sweep is not disturbed. Raises OutputError where there is no sweep.
    """
    return Sweep(folder)


def compare(folders: Iterable[str | PathLike[str]]) -> pd.DataFrame:
    """One row for each sweep and block: n_training_frames, the best config's final_r2 and parameters, and the cost.

    `measure` says what final_r2 is: R2, or the measure of an imported log. `cost` is the arithmetic of all trials of
    the block: steps x frames a step x weights. `r2_at_equal_cost` compares proposers: it is the best R2 that a complete
    trial had reached when the search had cost no more than the cheapest search of as many frames. `minutes` is the
    training time of all trials of the block, `n_trials` their number. `sweep` is the name of the sweep's folder, or the
    given path where two folders have one name. A value that is not known is missing.
    """
    return compared([Sweep(folder) for folder in ([folders] if isinstance(folders, (str, PathLike)) else folders)])


def compared(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """As `compare`, for sweeps that are open already."""
    names = [sweep.name for sweep in sweeps]
    least: dict[int, float] = {}
    for read in (read for sweep in sweeps for read in sweep._read.values()):
        frames = read.block.n_training_frames
        if (cost := sum(_costs(read))) > 0:  # NaN where it is not known
            least[frames] = min(cost, least.get(frames, math.inf))
    rows = []
    for sweep in sweeps:
        name = sweep.name if names.count(sweep.name) == 1 else str(sweep.folder)
        for read in sweep._read.values():
            minutes = [value for value in map(_minutes, read.trials) if value is not None]
            row = {"sweep": name, "block": read.block.number, "n_training_frames": read.block.n_training_frames}
            row |= {"minutes": sum(minutes), "n_trials": len(read.trials), "proposer": _proposer(read.block)}
            row["measure"] = "R2" if read.block.imported is None else OLD_R2
            row["cost"] = sum(_costs(read))
            cost = least.get(read.block.n_training_frames, 0.0) * (1 + _ROUNDING)
            row["r2_at_equal_cost"] = max((r2 for spent, r2 in _best_by_cost(read) if spent <= cost), default=None)
            if (best := sweep._best.get(read.number)) is not None:
                row |= {"final_r2": best["final_r2"], **_parameters(best["parameters"])}
            rows.append(row)
    kinds = {item.leaf: "Int64" if item.kind is int else "float64" for item in PARAMETERS.values()}
    return _frame(rows, _COMPARED | kinds)


def trials_frame(trials: Iterable[tuple[Block, Trial]]) -> pd.DataFrame:
    """One row for each pair of a block and its trial, with the columns of `Sweep.trials`."""
    rows = [_trial_row(block, trial) for block, trial in trials]
    kinds = _TRIAL | {item.leaf: f"{item.kind.__name__}64" for item in PARAMETERS.values()}
    kinds |= dict.fromkeys(("data_hash", "command", *_RAN_ON), "object")
    lacking = {name for row in rows for name, value in row.items() if value is None}
    return _frame(
        rows, {name: "Int64" if kind == "int64" and name in lacking else kind for name, kind in kinds.items()}
    )


def _best(paths: SweepPaths, block: BlockView, best: Winner) -> dict[str, Any]:
    """A block's winner, as `Sweep.best` returns it."""
    file = paths.trial(best.study, best.run.number).config
    config = plain(read_config(file)) if file.is_file() else grouped(best.run.plan.config)
    return {**best_entry(block, best), "config": config}


def _trial_row(block: Block, trial: Trial) -> dict[str, Any]:
    plan, outcome = trial.plan, trial.outcome if trial.state.is_finished() else trial.current
    return {
        "block": block.number,
        "number": trial.number,
        **{name: getattr(plan, name) for name in ("iteration", "parent", "mutation", "seed")},
        **{name: getattr(plan, name) if block.imported is None else None for name in ("batch", "slot")},
        "state": "paused" if trial.paused else trial.state.name.lower(),
        "r2": trial.last_r2,
        "part": part(trial, block.settings),
        "status": outcome.status if outcome else None,
        "reason": outcome.reason if outcome else None,
        "minutes": _minutes(trial),
        **_parameters(plan.config),
        "data_hash": block.data_hash or None,
        "command": block.command or None,
        **{name: outcome.provenance.get(name) if outcome else None for name in _RAN_ON},
    }


def _minutes(trial: Trial) -> float | None:
    """The minutes that a trial trained: from its metrics, or else from its last report."""
    own = finite(trial.metrics.get("training_time_min")) if trial.state.is_finished() or trial.current else None
    return trial.reports[-1].elapsed_s / 60 if own is None and trial.reports else own


def _costs(read: BlockView) -> list[float]:
    """The cost of each trial of a block, in the windows that its sweep trains; NaN where it is not known."""
    n_windows = read.block.settings.get("claude.search_windows") or 0
    return [_cost(trial, n_windows) for trial in read.trials]


def _cost(trial: Trial, n_windows: int) -> float:
    config = defaults() | dict(trial.plan.config)
    if None in (config[HIDDEN_DIM], config[N_LAYERS], config[BATCH_SIZE], config[TOTAL_STEPS]):
        return math.nan
    ended = trial.outcome.stop_step if trial.outcome else 0
    steps = max(ended, trial.reports[-1].step if trial.reports else 0)  # a failed trial has no stop_step
    return arithmetic(config, n_networks(trial.plan.n_training_frames, config, n_windows), steps)


def _best_by_cost(read: BlockView) -> Iterator[tuple[float, float]]:
    """The cost of the search and the best R2 so far, after each complete trial, in the trials' order."""
    best = -math.inf
    for trial, spent in zip(read.trials, itertools.accumulate(_costs(read)), strict=True):
        value = finite(trial.value) if trial.state is TrialState.COMPLETE else None
        if value is not None and math.isfinite(spent):
            best = max(best, value)
            yield spent, best


def _proposer(block: Block) -> str | None:
    """What proposed a sweep's configs: `agent`, or the class of its sampler; None for an imported log."""
    named = block.settings.get("proposer") or block.settings.get("sampler._target_")
    return str(named).rpartition(".")[2] if named else None


def _parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every explorable parameter by the last part of its name. One that `config` does not have is at its default."""
    return {item.leaf: config.get(name, item.default) for name, item in PARAMETERS.items()}


def _frame(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
