"""The checkpoint of a training run: a file that is written whole or not at all, and read only by the same run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import torch

from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import OutputError
from siren_sweep.paths import replacing
from siren_sweep.train.report import Status

FORMAT = 4
NOT_THE_RUN = {  # may differ between the run that wrote a checkpoint and the one that reads it
    "dataset": ("name", "path", "generate"),
    "training": ("device", "n_threads", "checkpoint_every_s"),
    "claude": (
        "n_parallel",
        "n_iter_block",
        "ucb_c",
        "time_budget_min",
        "strategy",
        "n_validation_seeds",
        "search_windows",
        "solved_r2",
    ),
}


def fingerprint(cfg: TrialConfig, data_hash: str, engine: str, n_windows: int) -> str:
    """A text that is equal for two attempts at the same run: its config, its data, its engine, its number of windows.

    Settings in `NOT_THE_RUN`, and those of the sweep, such as the attempt, are left out.
    """
    values: dict[str, Any] = {
        item.name: dataclasses.asdict(getattr(cfg, item.name)) for item in dataclasses.fields(TrialConfig)
    }
    for group, names in NOT_THE_RUN.items():
        for name in names:
            del values[group][name]
    return json.dumps([FORMAT, values, data_hash, engine, n_windows], sort_keys=True)


def save(file: Path, state: dict[str, Any], identity: str) -> None:
    """Write `state` (tensors and plain values) to `file`. Where that fails, it warns, and the run goes on."""
    try:
        with replacing(file) as temporary:
            torch.save({"fingerprint": identity, "state": state}, temporary)
    except (OutputError, RuntimeError) as error:
        warnings.warn(f"training goes on without the checkpoint {file}: {error}", RuntimeWarning, stacklevel=2)


def load(file: Path, identity: str) -> dict[str, Any] | None:
    """The state in `file`; None where there is no file, or, with a warning, where it is damaged or of another run."""
    if not file.exists():
        return None
    try:
        content = torch.load(file, weights_only=True, map_location="cpu")
        if content["fingerprint"] == identity:
            return dict(content["state"])
        reason = "it is of another run"
    except Exception as error:  # a damaged file may raise anything
        reason = f"it cannot be read ({type(error).__name__})"
    warnings.warn(f"starting again, without the checkpoint {file}: {reason}", RuntimeWarning, stacklevel=2)
    return None


def discard(file: Path, status: Status) -> None:
    """Delete the checkpoint of a run that has ended, unless it was stopped or truncated: such a run can go on."""
    if status not in (Status.stopped, Status.truncated):
        with contextlib.suppress(OSError):
            file.unlink()
