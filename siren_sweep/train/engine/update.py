"""Updates the parameters from their gradients in PyTorch's engine: clipping, the step's rate, Adam, and its limit."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from siren_sweep.config.schema import TrialConfig
from siren_sweep.train.engine.base import CLIP_NORM, learning_rate
from siren_sweep.train.siren import IN_FEATURES


class Update:
    """The optimizer of parameters (n_networks, n_parameters), whose gradients lie in `gradient`.

    Everything is computed on the parameters' device, and the host waits for nothing. Each network is one row, in the
    order of `Siren`: a GPU needs a kernel for each tensor, however small.
    """

    def __init__(self, parameters: Tensor, cfg: TrialConfig) -> None:
        """parameters: (n_networks, n_parameters) float32; `gradient` is of the same shape."""
        self.gradient = parameters.grad = torch.zeros_like(parameters)  # the caller of `step` fills it
        device, peak = parameters.device, cfg.training.learning_rate_NNR_f
        rates = torch.tensor([learning_rate(cfg, step) for step in range(cfg.claude.total_steps)], dtype=torch.float64)
        self._rates = rates.to(device)  # (total_steps,)
        self._rate = torch.tensor(peak, device=device)
        betas = (0.9, cfg.training.adam_beta2)
        self._adam = torch.optim.Adam(
            [parameters], lr=self._rate, betas=betas, fused=True, capturable=device.type == "cuda"
        )
        self._limit = cfg.training.turn_limit / cfg.graph_model.omega_f / peak  # see `update_limit`
        width, n_layers = cfg.graph_model.hidden_dim_nnr_f, cfg.graph_model.n_layers_nnr_f
        self._n_weights, size = width**2, width**2 + width  # of a hidden layer: its weights, then its biases
        first = (IN_FEATURES + 1) * width
        self._hidden = parameters[:, first : first + n_layers * size].unflatten(1, (n_layers, size))

    @torch.no_grad()
    def step(self, steps_done: Tensor) -> None:
        """Take one step. `steps_done` () int64 is the number of steps before it."""
        self._clip()
        rate = self._rates.take(steps_done)  # indexing would wait for the device
        self._rate.copy_(rate)
        if not self._limit:
            self._adam.step()
            return
        before = self._hidden.clone()
        self._adam.step()
        self._shorten(before, self._limit * rate)

    def _shorten(self, before: Tensor, limit: Tensor) -> None:
        """Keep the change of each hidden layer's weights and biases within the limit; see `update_limit`."""
        change = (self._hidden - before)[:, :, : self._n_weights]
        norm = torch.linalg.vector_norm(change, dim=2, keepdim=True)  # (n_networks, n_layers, 1)
        share = torch.where(norm > limit, limit / norm, 1.0).to(norm.dtype)
        shorter = torch.lerp(before, self._hidden, share)
        self._hidden.copy_(torch.where(share < 1, shorter, self._hidden))

    def _clip(self) -> None:
        """Scale each network's gradient to a norm of at most `CLIP_NORM`."""
        norms = torch.linalg.vector_norm(self.gradient, dim=1, keepdim=True)
        self.gradient.mul_((CLIP_NORM / (norms + 1e-6)).clamp(max=1))

    def snapshot(self) -> dict[str, Any]:
        """A copy of the optimizer's state, for `restore`. It is on the CPU: a GPU may have no room for a copy."""
        whole = self._adam.state_dict()
        moments = {
            key: {name: value.cpu().clone() if isinstance(value, Tensor) else value for name, value in own.items()}
            for key, own in whole["state"].items()
        }
        return {"state": moments, "param_groups": copy.deepcopy(whole["param_groups"])}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a `snapshot`. The optimizer's state is then in new tensors."""
        self._adam.load_state_dict(snapshot)
        for group in self._adam.param_groups:
            group["lr"] = self._rate
