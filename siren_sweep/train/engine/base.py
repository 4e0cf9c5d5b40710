"""The interface of an engine, which runs training steps on one device. `train.loop` drives it and takes decisions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siren_sweep.config.choices import FirstLayerInit, LrSchedule
from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField, Window
from siren_sweep.field.source import BLOCK_FRAMES
from siren_sweep.train.siren import Siren, normalised, spread_in_t

CLIP_NORM = 1.0
WARM_UP_SHARE = 0.1  # share of the steps during which the learning rate rises
EXPLOSION = 100.0  # times the loss of predicting zero, near which a SIREN starts


class Engine(ABC):
    """A model, its optimizer and its source of batches.

    An engine owns the parameters and the random state. Its caller says only how many steps to run. The result depends
    neither on the clock nor on how the steps are divided into calls.
    """

    step: int  # steps done; the same for every network
    device: torch.device
    chunks_at_once = 1  # chunks of an evaluation in one call of `predict`
    windows: tuple[Window, ...]  # each with a network of its own; one window of all frames is the plain case

    @abstractmethod
    def advance(self, n_steps: int) -> int | None:
        """Run `n_steps` steps. Returns the number of the first step whose loss was not finite or exploded, or None."""

    @abstractmethod
    def predict(self, frames: np.ndarray) -> Tensor:
        """The networks' outputs (n, n_unique) float32, on the engine's device, at every position of `frames` (n,).

        The frames must lie in the engine's windows. `Scaling.unscaled` converts outputs to luminance.
        """

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """A copy of the parameters in the CPU's memory: each layer's weight (out, in) and bias (out,), float32.

        The keys are those of `Siren`, each after its window's `key_prefix`.
        """

    def _owners(self, frames: np.ndarray) -> np.ndarray:
        """For each of the frames (n,), the index in `windows` of its window."""
        return np.searchsorted([window.start for window in self.windows], frames, side="right") - 1

    @abstractmethod
    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Set the parameters to `weights`, in the form of `weights()`. The optimizer's state stays as it is."""

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """The whole state, as tensors and plain values: after `restore`, training goes on bit for bit as without."""

    @abstractmethod
    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a `snapshot`."""


def key_prefix(window: Window) -> str:
    """The prefix of the keys of a window's weights, such as `window_0012.`; empty where there is only one window."""
    return "" if window.alone else f"window_{window.index:04d}."


def window_seed(cfg: TrialConfig, window: Window) -> int:
    """The seed of a window's network and batches. It depends on the config's seed and the window's index alone."""
    if window.alone:
        return cfg.training.seed
    return int(np.random.SeedSequence([cfg.training.seed, window.index]).generate_state(1)[0])


def initial_model(cfg: TrialConfig, seed: int | None = None) -> Siren:
    """The untrained `Siren` of a config. Its weights are drawn on the CPU from `seed`, by default the config's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.training.seed if seed is None else seed)
        model = Siren(cfg.graph_model.hidden_dim_nnr_f, cfg.graph_model.n_layers_nnr_f, cfg.graph_model.omega_f)
        if cfg.training.first_layer_init == FirstLayerInit.multiscale:
            spread_in_t(model, float(normalised(torch.ones(()), cfg.graph_model.nnr_f_T_period)))
    return model


def learning_rate(cfg: TrialConfig, step: int) -> float:
    """The learning rate of `step` 0, 1, ..., total_steps - 1.

    Adam's first steps move every weight by the whole rate, and all in one direction: the phases of the hidden layers
    turn by about a radian, which destroys the initialisation. A linear rise of the rate prevents this (Goyal et al.,
    "Accurate, Large Minibatch SGD", 2017, section 2.2; for Adam: Ma and Yarats, "On the adequacy of untuned warmup for
    adaptive optimization", AAAI 2021).
    """
    peak, total = cfg.training.learning_rate_NNR_f, cfg.claude.total_steps
    if cfg.training.lr_schedule == LrSchedule.constant:
        return peak
    falling = peak * 0.5 * (1 + math.cos(math.pi * step / total))
    if cfg.training.lr_schedule == LrSchedule.cosine:
        return falling
    return falling * min(1.0, (step + 1) / (WARM_UP_SHARE * total))


def update_limit(cfg: TrialConfig, step: int) -> float:
    """The highest Frobenius norm of a hidden layer's weight update, at `step` 0, 1, ..., total_steps - 1.

    An update dW turns the phases by omega dW a, where a are the activations of the layer below. These are sines of mean
    square 1/2, so the norm of a layer's turns is about omega |dW| / sqrt(2), for any width. Where every step turns a
    phase by more than some hundredths of a radian, a SIREN does not learn. That bound does not depend on the data; the
    learning rate at which Adam reaches it does. The limit falls with the schedule, as the rate does. Compare the update
    clipping of Shazeer and Stern, "Adafactor" (ICML 2018), section 6, and the trust ratio of You et al., "LARS" (2017),
    section 4.
    """
    if not cfg.training.turn_limit:
        return math.inf
    schedule = learning_rate(cfg, step) / cfg.training.learning_rate_NNR_f
    return cfg.training.turn_limit * schedule / cfg.graph_model.omega_f


def explosion_limit(field: StimulusField) -> float:
    """The loss above which a run has diverged: `EXPLOSION` times the loss of predicting zero, at its worst frame.

    The worst frame is taken, since a window or a batch may hold only such frames, as a flash in the dark.
    """
    share, highest = field.multiplicity / field.n_neurons, 0.0
    for start in range(0, field.n_frames, BLOCK_FRAMES):
        learned = field.scaling.scaled(field.targets[start : start + BLOCK_FRAMES])
        highest = max(highest, float((np.square(learned, dtype=np.float64) @ share).max()))
    return EXPLOSION * highest
