"""A sweep as data frames: what was tried, how it went, and what won; read from its studies, which stay as they are.

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

from siren_sweep.config.parameters import BATCH_SIZE, HIDDEN_DIM, N_LAYERS, PARAMETERS, TOTAL_STEPS, defaults, grouped
from siren_sweep.config.written import plain, read_config
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
_ROUNDING = 1e-9  # relative, of a sum of costs
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
    """A sweep as it stood when it was opened. Open it again to see what has come since."""

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
        """A row a trial, in the order in which they were planned.

        `state` is waiting, running, paused, complete, pruned or fail. `r2` is a complete trial's R2, and the last that
        was seen of any other; `part` says over which windows it is, and is empty where it is over all frames. `status`
        and `reason` say how the run ended, `minutes` how long it trained. `parent` is a number of the same block. A
        column a parameter follows, by the last part of its name; then where it comes from: the data's hash, the command
        that began the sweep, versions, commit, device and precision. What is not known is missing, as of an imported
        log.
        """
        return trials_frame((read.block, trial) for read in self._read.values() for trial in read.trials)

    @functools.cached_property
    def curves(self) -> pd.DataFrame:
        """A row a report of a trial: block, number, step, r2, mse, learning_rate, elapsed_s (seconds of training)."""
        rows = [
            {"block": read.block.number, "number": trial.number, **vars(report)}
            for read in self._read.values()
            for trial in read.trials
            for report in trial.reports
        ]
        return _frame(rows, _CURVE)

    def best(self, block: int) -> dict[str, Any] | None:
        """What the export says of a block's best config, but for where it comes from, and its `config`, group by group;
        None before a trial has finished. Of an imported log, whose runs left no config, that is the explorable
        parameters alone.

        Raises ConfigError where the sweep has no such block.
        """
        if block not in self._read:
            known = ", ".join(map(str, self._read)) or "none"
            raise ConfigError(f"block must be one that the sweep has begun ({known}), got {block!r}")
        found = self._best.get(block)
        return dict(found) if found is not None else None

    def load(self, block: int, *, device: str = "cpu") -> Model:
        """The model that a block exported, as `siren_sweep.load` gives it."""
        from siren_sweep.train.model import load

        return load(self.folder, block=block, device=device)

    def best_by_cost(self, block: int) -> list[tuple[float, float]]:
        """As a curve: (what a block's search had cost, as `compare` counts it; the best R2 until then)."""
        return list(_best_by_cost(self._read[block]))

    def of_data(self, hashes: Mapping[int, str]) -> Sweep | None:
        """The part of the sweep whose blocks learned data of these hashes, by number of frames; None where that is
        nothing."""
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
    """A sweep's folder, `outputs/NAME`, as it stands now: its blocks, its trials and their curves, and what won.

    Nothing is written, and a sweep that runs is not disturbed. Raises OutputError where there is none.
    """
    return Sweep(folder)


def compare(folders: Iterable[str | PathLike[str]]) -> pd.DataFrame:
    """A row a sweep and block: n_training_frames, the best config's final_r2 and parameters, and what the search cost.

    `measure` says what final_r2 is: R2, or what an imported log calls so. `cost` is the arithmetic of all the block's
    trials (steps times frames a step times weights), `r2_at_equal_cost` the best R2 that a trial had when the search
    had cost no more than the cheapest of the sweeps with as many frames: by that two proposers are compared. `minutes`
    is the training time of all the block's trials, `n_trials` how many there are. The sweep's name is its folder's, or
    the path as given where two have the same. What is not known, or before a trial has finished, is missing.
    """
    return compared([Sweep(folder) for folder in ([folders] if isinstance(folders, (str, PathLike)) else folders)])


def compared(sweeps: Sequence[Sweep]) -> pd.DataFrame:
    """As `compare`, of sweeps that are open."""
    names = [sweep.name for sweep in sweeps]
    least: dict[int, float] = {}
    for read in (read for sweep in sweeps for read in sweep._read.values()):
        frames = read.block.n_training_frames
        if (cost := sum(_costs(read))) > 0:  # it is known
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
    """A row a trial of a block, as `Sweep.trials` has them."""
    rows = [_trial_row(block, trial) for block, trial in trials]
    kinds = _TRIAL | {item.leaf: f"{item.kind.__name__}64" for item in PARAMETERS.values()}
    kinds |= dict.fromkeys(("data_hash", "command", *_RAN_ON), "object")
    lacking = {name for row in rows for name, value in row.items() if value is None}
    return _frame(
        rows, {name: "Int64" if kind == "int64" and name in lacking else kind for name, kind in kinds.items()}
    )


def _best(paths: SweepPaths, block: BlockView, best: Winner) -> dict[str, Any]:
    """What the export says of a block's winner, and its config; where its run left none, the explorable parameters."""
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
    """How long it trained: what the run says itself, or its last report."""
    own = finite(trial.metrics.get("training_time_min")) if trial.state.is_finished() or trial.current else None
    return trial.reports[-1].elapsed_s / 60 if own is None and trial.reports else own


def _costs(read: BlockView) -> list[float]:
    """What each trial of a block took, of the windows that its sweep trains; NaN where it is not known."""
    n_windows = read.block.settings.get("claude.search_windows") or 0
    return [_cost(trial, n_windows) for trial in read.trials]


def _cost(trial: Trial, n_windows: int) -> float:
    config = defaults() | dict(trial.plan.config)
    if None in (config[HIDDEN_DIM], config[N_LAYERS], config[BATCH_SIZE], config[TOTAL_STEPS]):
        return math.nan
    ended = trial.outcome.stop_step if trial.outcome else 0
    steps = max(ended, trial.reports[-1].step if trial.reports else 0)  # a failed one tells no step
    return arithmetic(config, n_networks(trial.plan.n_training_frames, config, n_windows), steps)


def _best_by_cost(read: BlockView) -> Iterator[tuple[float, float]]:
    """What the search had cost after each trial that ran to its end, in its order, and the best R2 until then."""
    best = -math.inf
    for trial, spent in zip(read.trials, itertools.accumulate(_costs(read)), strict=True):
        value = finite(trial.value) if trial.state is TrialState.COMPLETE else None
        if value is not None and math.isfinite(spent):
            best = max(best, value)
            yield spent, best


def _proposer(block: Block) -> str | None:
    """Who proposed a sweep's configs: `agent`, or the class of its sampler; None of an imported log."""
    named = block.settings.get("proposer") or block.settings.get("sampler._target_")
    return str(named).rpartition(".")[2] if named else None


def _parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every explorable parameter by the last part of its name; one that was not yet there then, at its default."""
    return {item.leaf: config.get(name, item.default) for name, item in PARAMETERS.items()}


def _frame(rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
