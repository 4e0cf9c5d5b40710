"""What carries out training steps on one device; `train` drives it and decides."""

from __future__ import annotations

import importlib.util
import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siren_sweep.choices import FirstLayerInit, LrSchedule
from siren_sweep.config import TrialConfig
from siren_sweep.errors import ConfigError
from siren_sweep.field import StimulusField
from siren_sweep.siren import Siren, spread_in_t

CLIP_NORM = 1.0
EXPLOSION = 100.0  # times the loss of predicting zero everywhere; a SIREN starts near 1


class Engine(ABC):
    """A model, its optimizer and its source of batches.

    An engine owns the parameters and the random state; what it is told is how far to go. Nothing it does depends on
    the clock or on how its steps are cut into calls.
    """

    step: int  # steps done
    device: torch.device

    @abstractmethod
    def advance(self, n_steps: int) -> int | None:
        """Carry out `n_steps` steps; the number of the first one whose loss was no number or exploded, or None."""

    @abstractmethod
    def predict(self, frames: np.ndarray) -> Tensor:
        """Luminance at every position of `frames` (n,): (n, n_unique) float32 on the engine's device."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """A copy of the parameters in the CPU's memory, under the keys of `Siren`."""

    @abstractmethod
    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take the parameters of `weights`; the optimizer stays as it is."""

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """All that a later `restore` needs to go on bit for bit: tensors and plain values."""

    @abstractmethod
    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a `snapshot`."""


def make_engine(field: StimulusField, cfg: TrialConfig, device: str) -> Engine:
    """The engine for `device`, as `resolve_device` gives it."""
    if device == "cpu" and importlib.util.find_spec("numba"):
        from siren_sweep.engine.cpu import CpuEngine

        return CpuEngine(field, cfg)
    from siren_sweep.engine.autograd import TorchEngine

    return TorchEngine(field, cfg, torch.device(device))


def n_gpus(device: str) -> int:
    """GPUs that `training.device` lets a sweep use."""
    if device == "cpu":
        return 0
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return min(count, 1) if ":" in device else count


def resolve_device(device: str, slot: int = 0) -> str:
    """ "cpu" or "cuda:N" for what a person writes.

    `auto` and `cuda` become the slot's GPU, slot mod their number, where there is one; `auto` falls back to the CPU.
    Raises ConfigError where there is no such device.
    """
    count = n_gpus("cuda")
    if device == "auto":
        device = "cuda" if count else "cpu"
    if device == "cuda" and count:
        device = f"cuda:{slot % count}"
    known = ["cpu", *(f"cuda:{index}" for index in range(count))]
    if device not in known:
        raise ConfigError(
            f"training.device must be auto or one that this machine has ({', '.join(known)}), got {device!r}"
        )
    return device


def initial_model(cfg: TrialConfig) -> Siren:
    """The `Siren` that a config describes, its weights drawn on the CPU from the config's seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.training.seed)
        model = Siren(cfg.graph_model.hidden_dim_nnr_f, cfg.graph_model.n_layers_nnr_f, cfg.graph_model.omega_f)
        if cfg.training.first_layer_init == FirstLayerInit.multiscale:
            spread_in_t(model)
    return model


def learning_rate(cfg: TrialConfig, step: int) -> float:
    """The rate of step 0, 1, ..., total_steps - 1."""
    peak = cfg.training.learning_rate_NNR_f
    if cfg.training.lr_schedule == LrSchedule.constant:
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * step / cfg.claude.total_steps))


def explosion_limit(field: StimulusField) -> float:
    """The loss above which a run has left the data behind for good."""
    return EXPLOSION * field.total_sq / (field.n_frames * field.n_neurons)
