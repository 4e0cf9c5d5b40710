"""Training steps by PyTorch's autograd: for any device, and for a CPU without numba."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from siren_sweep.batches import BatchSampler
from siren_sweep.config import TrialConfig
from siren_sweep.engine import CLIP_NORM, Engine, explosion_limit, initial_model, learning_rate
from siren_sweep.field import StimulusField
from siren_sweep.siren import normalised


class TorchEngine(Engine):
    """Autograd over the module, with PyTorch's fused Adam."""

    def __init__(self, field: StimulusField, cfg: TrialConfig, device: torch.device) -> None:
        self.step = 0
        self._cfg = cfg
        self._device = device
        self._limit = explosion_limit(field)
        self._model = initial_model(cfg).to(device)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=cfg.training.learning_rate_NNR_f, fused=True)
        self._sampler = BatchSampler(
            field, n_frames=cfg.training.inr_batch_size, sampling=cfg.training.sampling, seed=cfg.training.seed
        )
        periods = cfg.graph_model.nnr_f_T_period, cfg.graph_model.nnr_f_xy_period
        self._t = normalised(torch.arange(field.n_frames), periods[0]).to(device)  # (n_frames,)
        self._xy = normalised(torch.from_numpy(np.array(field.positions)), periods[1]).to(device)  # (n_unique, 2)

    def advance(self, n_steps: int) -> int | None:
        for _ in range(n_steps):
            loss = self._one_step()
            self.step += 1
            if not loss <= self._limit:
                return self.step
        return None

    def _one_step(self) -> float:
        batch = self._sampler.draw()
        frame, position, target, weight = (
            torch.from_numpy(part).to(self._device)
            for part in (batch.frame, batch.position, batch.target, batch.weight)
        )
        inputs = torch.cat([self._t[frame, None], self._xy[position]], dim=1)  # (n_points, 3)
        loss = (weight * (self._model(inputs) - target).square()).sum()
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), CLIP_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._cfg, self.step)
        self._optimizer.step()
        return float(loss.detach())

    @torch.no_grad()
    def predict(self, frames: np.ndarray) -> Tensor:
        n_frames, n_unique = len(frames), len(self._xy)
        t = self._t[torch.from_numpy(frames).to(self._device)]
        inputs = torch.cat([t.repeat_interleave(n_unique)[:, None], self._xy.repeat(n_frames, 1)], dim=1)
        output: Tensor = self._model(inputs)
        return output.view(n_frames, n_unique)

    def weights(self) -> dict[str, Tensor]:
        return {key: value.detach().cpu().clone() for key, value in self._model.state_dict().items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        self._model.load_state_dict(weights)

    def snapshot(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "model": self.weights(),
            "optimizer": self._optimizer.state_dict(),
            "sampler": self._sampler.state,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        self.step = snapshot["step"]
        self._model.load_state_dict(snapshot["model"])
        self._optimizer.load_state_dict(snapshot["optimizer"])
        self._sampler.state = snapshot["sampler"]
