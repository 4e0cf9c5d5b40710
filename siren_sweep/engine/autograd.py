"""Training steps by PyTorch's autograd: on a GPU, and on a CPU without numba.

On a GPU the field lies in its memory, batches are drawn there, the rate and the check for explosion are computed there,
and all of a step is one CUDA graph: nothing in the loop waits for the device. The hidden layers' products may be TF32;
the first layer's phase is float64 as everywhere, and predictions, from which all metrics come, are plain float32.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siren_sweep.choices import LrSchedule
from siren_sweep.config import TrialConfig
from siren_sweep.engine.base import CLIP_NORM, WARM_UP_SHARE, Engine, explosion_limit, initial_model
from siren_sweep.engine.coordinates import coordinates
from siren_sweep.engine.device_batches import DeviceBatch, DeviceSampler
from siren_sweep.engine.precision import hidden_products, is_reduced
from siren_sweep.field import StimulusField, Window

EAGER_STEPS = 3  # before a graph is captured: libraries set themselves up on their first calls


class TorchEngine(Engine):
    """Autograd over the module, with PyTorch's fused Adam."""

    def __init__(self, field: StimulusField, cfg: TrialConfig, device: torch.device, windows: Sequence[Window]) -> None:
        self.step, self.device, self.windows = 0, device, tuple(windows)
        self._training, self._total_steps = cfg.training, cfg.claude.total_steps
        self._limit = explosion_limit(field)
        self._coordinates = coordinates(np.arange(field.n_frames), field.positions, cfg)
        self._model = initial_model(cfg).to(device)
        self.load_weights(self._model.state_dict())
        self._rate = torch.tensor(cfg.training.learning_rate_NNR_f, device=device)
        on_gpu = device.type == "cuda"
        self._reduced = on_gpu and is_reduced(cfg.training.hidden_precision, device)
        betas = (0.9, cfg.training.adam_beta2)
        self._optimizer = torch.optim.Adam(
            self._model.parameters(), lr=self._rate, betas=betas, fused=True, capturable=on_gpu
        )
        self._sampler = DeviceSampler(
            field,
            n_frames=cfg.training.inr_batch_size,
            sampling=cfg.training.sampling,
            seed=cfg.training.seed,
            device=device,
        )
        self._t = self._coordinates.t.to(device)  # (n_frames,)
        self._xy = self._coordinates.xy.to(device)  # (n_unique, 2)
        self._steps_done = torch.zeros((), dtype=torch.float64, device=device)
        self._exploded_at = torch.zeros((), dtype=torch.float64, device=device)  # 0: has not
        self._graph: torch.cuda.CUDAGraph | None = None
        self._eager_steps = 0

    def advance(self, n_steps: int) -> int | None:
        with torch.cuda.device_of(self._rate):  # a graph is captured on the current device; on a CPU this does nothing
            for _ in range(n_steps):
                self._advance_once()
        self.step += n_steps
        if exploded_at := int(self._exploded_at):  # the one wait for the device
            self.step = exploded_at
            return exploded_at
        return None

    def _advance_once(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        elif self._eager_steps < EAGER_STEPS or self.device.type != "cuda":
            self.train_on(self._sampler.draw())
            self._eager_steps += 1
        else:
            self._graph = self._captured()
            self._graph.replay()

    def _captured(self) -> torch.cuda.CUDAGraph:
        """A step as a CUDA graph; capturing carries nothing out."""
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._sampler.generator)
        self._optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph, stream=torch.cuda.Stream(self.device)):  # PyTorch's own is the first device's
            self.train_on(self._sampler.draw())
        return graph

    def train_on(self, batch: DeviceBatch) -> None:
        """One step on `batch`, without a look at any value."""
        self._optimizer.zero_grad(set_to_none=True)
        inputs = torch.cat([self._t[batch.frame, None], self._xy[batch.position]], dim=1)  # (n_points, 3)
        with hidden_products(self._reduced, self.device):
            loss = (batch.weight * (self._model(inputs) - batch.target).square()).sum()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), CLIP_NORM, foreach=True)
        if self._training.lr_schedule != LrSchedule.constant:
            half_turn = torch.cos(self._steps_done * (math.pi / self._total_steps))
            rate = self._training.learning_rate_NNR_f * 0.5 * (1 + half_turn)
            if self._training.lr_schedule == LrSchedule.warm_cosine:
                rate *= torch.clamp((self._steps_done + 1) / (WARM_UP_SHARE * self._total_steps), max=1)
            self._rate.copy_(rate)
        self._optimizer.step()
        self._steps_done += 1
        first_bad = (self._exploded_at == 0) & ~(loss.detach() <= self._limit)
        self._exploded_at.copy_(torch.where(first_bad, self._steps_done, self._exploded_at))

    @torch.no_grad()
    def predict(self, frames: np.ndarray) -> Tensor:
        n_frames, n_unique = len(frames), len(self._xy)
        t = self._t[torch.from_numpy(frames).to(self.device)]
        inputs = torch.cat([t.repeat_interleave(n_unique)[:, None], self._xy.repeat(n_frames, 1)], dim=1)
        with hidden_products(False, self.device):
            output: Tensor = self._model(inputs)
        return output.view(n_frames, n_unique)

    def weights(self) -> dict[str, Tensor]:
        learned = {key: value.detach().cpu().clone() for key, value in self._model.state_dict().items()}
        return self._coordinates.handed_out(learned)

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        self._model.load_state_dict(self._coordinates.learned(weights))

    def snapshot(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "model": self.weights(),
            "optimizer": copy.deepcopy(self._optimizer.state_dict()),  # which holds the tensors that steps write to
            "generator": self._sampler.generator.get_state(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        self._graph, self._eager_steps = None, 0  # the graph knows the tensors that are replaced here
        self.step = snapshot["step"]
        self._steps_done.fill_(self.step)
        self._exploded_at.zero_()
        self.load_weights(snapshot["model"])
        self._optimizer.load_state_dict(snapshot["optimizer"])
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate
        self._sampler.generator.set_state(snapshot["generator"])
