"""The plain training loop that ours is measured against: eager, every neuron a point of its own."""

from __future__ import annotations

import numpy as np
import torch

from siren_sweep.config import TrialConfig
from siren_sweep.field import StimulusField
from siren_sweep.siren import Siren


class PlainLoop:
    """A step draws `inr_batch_size` frames without replacement and expands each to all neurons; mean squared error,
    gradient norm clipped at 1, Adam at a constant rate, and the loss read after every step."""

    def __init__(self, field: StimulusField, cfg: TrialConfig, device: str) -> None:
        self._batch_size = cfg.training.inr_batch_size
        torch.manual_seed(cfg.training.seed)
        self._random = np.random.RandomState(cfg.training.seed)
        graph_model = cfg.graph_model
        self.model = Siren(graph_model.hidden_dim_nnr_f, graph_model.n_layers_nnr_f, graph_model.omega_f).to(device)
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=cfg.training.learning_rate_NNR_f)
        two_pi = 2 * np.pi
        self._values = torch.tensor(field.targets[:, field.inverse], device=device)  # (n_frames, n_neurons)
        xy = torch.tensor(field.positions[field.inverse], device=device)
        self._xy = xy / (graph_model.nnr_f_xy_period / two_pi)
        self._t = torch.arange(field.n_frames, device=device) / (graph_model.nnr_f_T_period / two_pi)

    def run(self, n_steps: int) -> float:
        """Carry out `n_steps` steps; the last loss."""
        loss_value = float("nan")
        for _ in range(n_steps):
            frames = torch.from_numpy(self._random.choice(len(self._t), self._batch_size, replace=False))
            frames = frames.to(self._t.device)
            loss = torch.nn.functional.mse_loss(self.model(self._inputs(frames)), self._values[frames].view(-1))
            self._optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self._optimizer.step()
            loss_value = loss.item()
        return loss_value

    @torch.no_grad()
    def predict(self) -> torch.Tensor:
        """(n_frames, n_neurons), a frame at a time."""
        frames = torch.arange(len(self._t), device=self._t.device)
        return torch.stack([self.model(self._inputs(frame[None])) for frame in frames])

    def _inputs(self, frames: torch.Tensor) -> torch.Tensor:
        """(len(frames) * n_neurons, 3)"""
        t = self._t[frames].repeat_interleave(len(self._xy))[:, None]
        return torch.cat([t, self._xy.repeat(len(frames), 1)], dim=1)
