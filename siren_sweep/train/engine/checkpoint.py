"""A training run's state on disk: written whole or not at all, and read only where it is this run's own."""

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
NOT_THE_RUN = {  # what may differ between the run that wrote a checkpoint and the one that goes on from it
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
    """What makes two runs the same one: the config's training part, the data, the kind of engine, and how many windows
    are trained; not the rest of a sweep's config, such as which attempt it is."""
    values: dict[str, Any] = {
        item.name: dataclasses.asdict(getattr(cfg, item.name)) for item in dataclasses.fields(TrialConfig)
    }
    for group, names in NOT_THE_RUN.items():
        for name in names:
            del values[group][name]
    return json.dumps([FORMAT, values, data_hash, engine, n_windows], sort_keys=True)


def save(file: Path, state: dict[str, Any], identity: str) -> None:
    """Write `state` (tensors and plain values) to `file` by way of a temporary name.

    Where that cannot be done there is a warning: the run itself is well.
    """
    try:
        with replacing(file) as temporary:
            torch.save({"fingerprint": identity, "state": state}, temporary)
    except (OutputError, RuntimeError) as error:
        warnings.warn(f"training goes on without the checkpoint {file}: {error}", RuntimeWarning, stacklevel=2)


def load(file: Path, identity: str) -> dict[str, Any] | None:
    """The state in `file`, or None, with a warning where it is damaged or another run's."""
    if not file.exists():
        return None
    try:
        content = torch.load(file, weights_only=True, map_location="cpu")
        if content["fingerprint"] == identity:
            return dict(content["state"])
        reason = "it is of another run"
    except Exception as error:  # a damaged file raises whatever its bytes happen to mean
        reason = f"it cannot be read ({type(error).__name__})"
    warnings.warn(f"starting again, without the checkpoint {file}: {reason}", RuntimeWarning, stacklevel=2)
    return None


def discard(file: Path, status: Status) -> None:
    """Take away the checkpoint of a run whose result is kept; one that was stopped or truncated can go on."""
    if status not in (Status.stopped, Status.truncated):
        with contextlib.suppress(OSError):
            file.unlink()
