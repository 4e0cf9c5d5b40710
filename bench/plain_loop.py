"""The plain training loop with which ours is compared: each neuron is a point of its own; eager or compiled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField


class Sine(torch.nn.Module):
    """A layer sin(omega * (W x + b))."""

    def __init__(self, in_features: int, out_features: int, omega: float, bound: float) -> None:
        super().__init__()
        self.omega = omega
        self.linear = torch.nn.Linear(in_features, out_features)
        torch.nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, in_features) to (n, out_features)."""
        return torch.sin(self.omega * self.linear(inputs))


def plain_siren(hidden: int, n_layers: int, omega: float) -> torch.nn.Sequential:
    """A SIREN of a first sine layer, `n_layers` hidden ones and a linear output, in float32.

    Weights start as in Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions", NeurIPS
    2020, section 3.2.
    """
    bound = (6 / hidden) ** 0.5 / omega
    last = torch.nn.Linear(hidden, 1)
    torch.nn.init.uniform_(last.weight, -bound, bound)
    middle = (Sine(hidden, hidden, omega, bound) for _ in range(n_layers))
    return torch.nn.Sequential(Sine(3, hidden, omega, 1 / 3), *middle, last)


class PlainLoop:
    """Trains a plain SIREN. A step draws `inr_batch_size` frames without replacement, and uses all neurons of each.

    The loss is the mean squared error, which is read after every step. The gradient's norm is clipped at 1; Adam has a
    constant learning rate.
    """

    def __init__(self, field: StimulusField, cfg: TrialConfig, device: str, compiled: bool = False) -> None:
        self._batch_size = cfg.training.inr_batch_size
        torch.manual_seed(cfg.training.seed)
        self._random = np.random.RandomState(cfg.training.seed)
        graph_model = cfg.graph_model
        model = plain_siren(graph_model.hidden_dim_nnr_f, graph_model.n_layers_nnr_f, graph_model.omega_f)
        self.model = model.to(device)
        self._trained = torch.compile(self.model) if compiled else self.model
        self._optimizer = torch.optim.Adam(self.model.parameters(), lr=cfg.training.learning_rate_NNR_f)
        two_pi = 2 * np.pi
        self._values = torch.tensor(field.targets[:, field.inverse], device=device)  # (n_frames, n_neurons)
        xy = torch.tensor(field.positions[field.inverse], device=device)
        self._xy = xy / (graph_model.nnr_f_xy_period / two_pi)
        self._t = torch.arange(field.n_frames, device=device) / (graph_model.nnr_f_T_period / two_pi)

    def run(self, n_steps: int) -> float:
        """Carry out `n_steps` steps; returns the last loss."""
        loss = float("nan")
        for _ in range(n_steps):
            loss = self.step(self._random.choice(len(self._t), self._batch_size, replace=False))
        return loss

    def step(self, drawn: np.ndarray) -> float:
        """Carry out one step on the frames `drawn`; returns its loss."""
        frames = torch.from_numpy(drawn).to(self._t.device)
        loss = torch.nn.functional.mse_loss(self._trained(self._inputs(frames)), self._values[frames].view(-1, 1))
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        return loss.item()

    @torch.no_grad()
    def predict(self, frames: Sequence[int] | None = None) -> torch.Tensor:
        """Predictions (n_frames, n_neurons) at some frames, or at all, computed frame by frame."""
        return torch.stack([self._frame(frame) for frame in (range(len(self._t)) if frames is None else frames)])

    @torch.no_grad()
    def r2(self, frames: Sequence[int] | None = None) -> float:
        """1 - SSE / SST over all neurons of some frames, or of all, with sums in float64."""
        n, sse, total, total_sq = 0, 0.0, 0.0, 0.0
        for frame in range(len(self._t)) if frames is None else frames:
            truth = self._values[frame].double()
            n += len(truth)
            sse += (self._frame(frame).double() - truth).square().sum().item()
            total += truth.sum().item()
            total_sq += truth.square().sum().item()
        return 1 - sse / (total_sq - total * total / n)

    def _frame(self, frame: int) -> torch.Tensor:
        """The prediction (n_neurons,) at a frame."""
        values: torch.Tensor = self.model(self._inputs(torch.tensor([frame], device=self._t.device))).squeeze(1)
        return values

    def _inputs(self, frames: torch.Tensor) -> torch.Tensor:
        """The points (len(frames) * n_neurons, 3) of some frames."""
        t = self._t[frames].repeat_interleave(len(self._xy))[:, None]
        return torch.cat([t, self._xy.repeat(len(frames), 1)], dim=1)
