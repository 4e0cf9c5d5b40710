"""What carries out training steps on one device; `train` drives it and decides."""

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
WARM_UP_SHARE = 0.1  # of the steps, in which the rate rises
EXPLOSION = 100.0  # times the loss of predicting zero; a SIREN starts near 1


class Engine(ABC):
    """A model, its optimizer and its source of batches.

    An engine owns the parameters and the random state; what it is told is how far to go. Nothing it does depends on
    the clock or on how its steps are cut into calls.
    """

    step: int  # steps done, of every network
    device: torch.device
    chunks_at_once = 1  # of an evaluation that one call of `predict` is given
    windows: tuple[Window, ...]  # each with a network of its own; a single one of all frames is the plain case

    @abstractmethod
    def advance(self, n_steps: int) -> int | None:
        """Carry out `n_steps` steps; the number of the first one whose loss was no number or exploded, or None."""

    @abstractmethod
    def predict(self, frames: np.ndarray) -> Tensor:
        """What the networks say at every position of `frames` (n,) of the windows: (n, n_unique) float32 on the
        engine's device. `Scaling.told` makes luminance of it."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """A copy of the parameters in the CPU's memory, under the keys of `Siren`, after `key_prefix` of the window:
        each layer's weight (out, in) and bias (out,), float32."""

    def _owners(self, frames: np.ndarray) -> np.ndarray:
        """For each of the frames (n,), the place in `windows` of the one that answers for it."""
        return np.searchsorted([window.start for window in self.windows], frames, side="right") - 1

    @abstractmethod
    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Take the parameters of `weights`, in the form that `weights()` gives; the optimizer stays as it is."""

    @abstractmethod
    def snapshot(self) -> dict[str, Any]:
        """All that a later `restore` needs to go on bit for bit: tensors and plain values."""

    @abstractmethod
    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a `snapshot`."""


def key_prefix(window: Window) -> str:
    """What stands before the names of a window's weights: `window_0012.`, and nothing where there is one window."""
    return "" if window.alone else f"window_{window.index:04d}."


def window_seed(cfg: TrialConfig, window: Window) -> int:
    """The seed of a window's network and batches: its own, whichever windows are trained beside it."""
    if window.alone:
        return cfg.training.seed
    return int(np.random.SeedSequence([cfg.training.seed, window.index]).generate_state(1)[0])


def initial_model(cfg: TrialConfig, seed: int | None = None) -> Siren:
    """The `Siren` that a config describes, its weights drawn on the CPU from a seed alone, by default the config's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.training.seed if seed is None else seed)
        model = Siren(cfg.graph_model.hidden_dim_nnr_f, cfg.graph_model.n_layers_nnr_f, cfg.graph_model.omega_f)
        if cfg.training.first_layer_init == FirstLayerInit.multiscale:
            spread_in_t(model, float(normalised(torch.ones(()), cfg.graph_model.nnr_f_T_period)))
    return model


def learning_rate(cfg: TrialConfig, step: int) -> float:
    """The rate of step 0, 1, ..., total_steps - 1.

    Adam's first steps move every weight by the whole rate and all in one direction: hidden layers' phases turn by a
    radian, and what the start is good for is lost. With a linear rise they do not (Goyal et al., "Accurate, Large
    Minibatch SGD", 2017, section 2.2; for Adam: Ma and Yarats, "On the adequacy of untuned warmup for adaptive
    optimization", AAAI 2021).
    """
    peak, total = cfg.training.learning_rate_NNR_f, cfg.claude.total_steps
    if cfg.training.lr_schedule == LrSchedule.constant:
        return peak
    falling = peak * 0.5 * (1 + math.cos(math.pi * step / total))
    if cfg.training.lr_schedule == LrSchedule.cosine:
        return falling
    return falling * min(1.0, (step + 1) / (WARM_UP_SHARE * total))


def update_limit(cfg: TrialConfig, step: int) -> float:
    """What the Frobenius norm of a hidden layer's update is at most, at step 0, 1, ..., total_steps - 1.

    An update dW turns the phases by omega dW a, where a are the activations of the layer below: by the root of half its
    squared norm where these are sines of mean square one half, whatever the width. Beyond some hundredths of a radian a
    step, kept up, a SIREN learns nothing any more; that bound does not depend on the data, while the rate at which Adam
    reaches it does. It falls with the schedule, like the rate. Compare the update clipping of Shazeer and Stern,
    "Adafactor" (ICML 2018), section 6, and the trust ratio of You et al., "LARS" (2017), section 4.
    """
    if not cfg.training.turn_limit:
        return math.inf
    schedule = learning_rate(cfg, step) / cfg.training.learning_rate_NNR_f
    return cfg.training.turn_limit * schedule / cfg.graph_model.omega_f


def explosion_limit(field: StimulusField) -> float:
    """The loss above which a run has diverged: `EXPLOSION` times that of predicting zero, in the worst of the frames.

    A flash in the dark is far from the mean of all frames, and a window or a batch may hold nothing else.
    """
    share, highest = field.multiplicity / field.n_neurons, 0.0
    for start in range(0, field.n_frames, BLOCK_FRAMES):
        learned = field.scaling.learned(field.targets[start : start + BLOCK_FRAMES])
        highest = max(highest, float((np.square(learned, dtype=np.float64) @ share).max()))
    return EXPLOSION * highest
