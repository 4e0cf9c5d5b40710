"""Shared by the scripts that train single configs: arguments, data, configs, and how they write results."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from siren_sweep.config.checks import trial_config
from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField, open_field


def arguments(doc: str | None, frames: str = "") -> argparse.Namespace:
    """The command line: `path` of the stimulus, and `json`, the file for the results. PyTorch gets one thread."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help=f"folder with stimulus.zarr and pos.zarr{frames}")
    parser.add_argument("--json", type=Path, required=True)
    torch.set_num_threads(1)
    return parser.parse_args()


def opened(path: Path, n_frames: int) -> StimulusField:
    """The first `n_frames` frames of the stimulus, with 1736 neurons."""
    return open_field(path, n_frames=n_frames, n_input_neurons=1736, cache_dir=None)


def config(
    size: tuple[int, int],
    *,
    omega: float,
    t_period: float,
    frames: int,
    rate: float,
    steps: int,
    window: int = 0,
    minutes: float | None = None,
    **training: Any,
) -> TrialConfig:
    """The config of one run: `size` is the width and the number of hidden layers; `training` are more of its settings.

    `minutes` is the time limit, the default one where it is None.
    """
    model = {
        "hidden_dim_nnr_f": size[0],
        "n_layers_nnr_f": size[1],
        "omega_f": omega,
        "nnr_f_T_period": t_period,
        "nnr_f_xy_period": 16,
        "window_frames": window,
    }
    training = {"n_training_frames": frames, "learning_rate_NNR_f": rate, **training}
    claude = {"total_steps": steps} | ({} if minutes is None else {"time_budget_min": minutes})
    return trial_config({"graph_model": model, "training": training, "claude": claude})


def write(rows: Sequence[Any], file: Path) -> None:
    """Write all rows of results to a file."""
    file.write_text(json.dumps(rows, indent=1) + "\n")
