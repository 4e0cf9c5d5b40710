"""Runs one training and writes its config and weights to a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from siren_sweep.config.config_file import plain, yaml_text
from siren_sweep.config.schema import METRICS, SAMPLE_NAMES, TrialConfig
from siren_sweep.field import StimulusField
from siren_sweep.paths import TrialPaths, replacing
from siren_sweep.train.loop import train
from siren_sweep.train.machine import n_threads, resolve_device
from siren_sweep.train.provenance import provenance
from siren_sweep.train.report import Report, TrainResult
from siren_sweep.train.weights_file import describe, saved_bytes


def run_training(
    cfg: TrialConfig,
    field: StimulusField,
    paths: TrialPaths,
    *,
    slot: int = 0,
    on_report: Callable[[Report], str | None] | None = None,
    on_step: Callable[[int], None] | None = None,
    on_resume: Callable[[Sequence[Report]], None] | None = None,
    n_windows: int = 0,
) -> tuple[TrainResult, dict[str, Any]]:
    """Train one config, and write the config and the weights to `paths`; returns the result and its metrics.

    Of more than `n_windows` windows only so many are trained, and the metrics are then those of `SAMPLE_NAMES`; 0: all.
    `on_report`, `on_step` and `on_resume` are those of `train`. Raises ConfigError where the device of `slot` does not
    exist, and OutputError where a file cannot be written.
    """
    torch.set_num_threads(n_threads(cfg))
    paths.root.mkdir(parents=True, exist_ok=True)
    with replacing(paths.config) as file:
        file.write_text(yaml_text(plain(cfg)), encoding="utf-8")
    device = resolve_device(cfg.training.device, slot)
    result = train(
        field,
        cfg,
        device=device,
        on_report=on_report,
        on_step=on_step,
        on_resume=on_resume,
        checkpoint=paths.checkpoint,
        n_windows=n_windows,
    )
    if result.final_r2 is not None:
        with replacing(paths.weights) as file:
            description = describe(cfg, field, result.final_r2, provenance(cfg, device))
            file.write_bytes(saved_bytes(result.state_dict, description))
    return result, metrics_of(result, field)


def metrics_of(result: TrainResult, field: StimulusField) -> dict[str, Any]:
    """The metrics of a run: those of `METRICS`, and `border_jump` where there are several windows.

    Of a sample of the windows, the metrics of `SAMPLE_NAMES` take the place of those that begin with `final_`.
    """
    values = {item.name: getattr(result, item.name) for item in dataclasses.fields(result)}
    values |= {name: getattr(field, name) for name in ("r2_ceiling", "rank_90", "rank_99")}
    values["params_per_value"] = result.total_params / (field.n_frames * field.n_unique)
    metrics = {name: values[name] for name in METRICS}
    if result.border_jump is not None:
        metrics["border_jump"] = result.border_jump
    if result.sample is None:
        return metrics
    own = {name: value for name, value in metrics.items() if not name.startswith("final_")}
    return {**{SAMPLE_NAMES[name]: value for name, value in vars(result.sample).items()}, **own}
