"""Over how many of its windows a trial's R2 is, also for a trial without metrics: stopped, failed or running."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from siren_sweep.config.parameters import WINDOW
from siren_sweep.study.records import Trial
from siren_sweep.train.size import n_networks


def part(trial: Trial, settings: Mapping[str, Any]) -> str:
    """`over 16 of 512 windows` where a trial's last R2 is over some of its windows; else empty.

    `settings` are the settings of its block.
    """
    if trial.outcome is not None and trial.outcome.succeeded:
        return trial.part
    n_frames, own = trial.plan.n_training_frames, {WINDOW: trial.plan.config.get(WINDOW) or 0}
    n_trained, n_windows = (n_networks(n_frames, own, n) for n in (settings.get("claude.search_windows") or 0, 0))
    return f"over {n_trained} of {n_windows} windows" if n_trained < n_windows else ""
