"""Chooses the engine for a device."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import torch

from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField, Window, cut
from siren_sweep.train.engine.base import Engine


def make_engine(field: StimulusField, cfg: TrialConfig, device: str, windows: Sequence[Window] | None = None) -> Engine:
    """An engine on `device` ("cpu" or "cuda:N"; see `resolve_device`) that trains `windows`, by default all of them."""
    if windows is None:
        windows = cut(field.n_frames, cfg.graph_model.window_frames)
    if device == "cpu" and importlib.util.find_spec("numba"):
        from siren_sweep.train.engine.cpu import CpuEngine

        return CpuEngine(field, cfg, windows)
    from siren_sweep.train.engine.autograd import TorchEngine

    return TorchEngine(field, cfg, torch.device(device), windows)
