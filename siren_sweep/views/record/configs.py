"""A trial's config as a file that runs: `python -m siren_sweep --config-dir FOLDER --config-name NAME`."""

from __future__ import annotations

import dataclasses
from typing import Any

from siren_sweep.config.parameters import grouped, leaf
from siren_sweep.config.schema import TrialConfig
from siren_sweep.config.written import yaml_text
from siren_sweep.text import one_line
from siren_sweep.views.blocks import BlockView, TrialView


def config_text(trial: TrialView, block: BlockView) -> str:
    """The YAML of one trial: the sweep's settings of what a training run reads, and the trial's own values."""
    settings, values = grouped(block.settings), dict[str, dict[str, Any]]()
    for group in dataclasses.fields(TrialConfig):
        known = {item.name for item in dataclasses.fields(getattr(TrialConfig(), group.name))}
        values[group.name] = {key: value for key, value in settings.get(group.name, {}).items() if key in known}
    values["dataset"] |= {**block.block.dataset, "generate": False}
    values["training"] |= {"n_training_frames": trial.plan.n_training_frames, "seed": trial.plan.seed}
    for name, own in grouped(trial.config).items():
        values[name] |= own
    values = {name: {key: value for key, value in own.items() if value is not None} for name, own in values.items()}
    unknown = [leaf(name) for name, value in trial.config.items() if value is None]
    what = one_line(trial.plan.mutation) or "a start of its own"
    head = f"# Iteration {trial.plan.iteration}, slot {trial.plan.slot}: {what}.\n"
    origin = {"data_hash": block.block.data_hash, "command": block.block.command}
    head += "".join(f"# {name}: {one_line(value)}\n" for name, value in origin.items() if value)
    if unknown:
        head += f"# Not known, and left to its default: {', '.join(unknown)}.\n"
    return yaml_text(values, head)
