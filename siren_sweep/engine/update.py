"""What a step makes of the gradients where PyTorch computes: clipping, the rate of the step, Adam, and its limit."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from siren_sweep.choices import LrSchedule
from siren_sweep.config import TrialConfig
from siren_sweep.engine.base import CLIP_NORM, WARM_UP_SHARE


class Update:
    """Changes stacked parameters, each (n_networks, *shape), by what lies in `gradients`, each network by its own.

    Everything happens on the parameters' device, and nothing waits for it.
    """

    def __init__(self, parameters: Sequence[Tensor], cfg: TrialConfig) -> None:
        self.gradients = [torch.zeros_like(parameter) for parameter in parameters]  # whoever calls `step` fills them
        for parameter, gradient in zip(parameters, self.gradients, strict=True):
            parameter.grad = gradient
        self._training, self._total_steps = cfg.training, cfg.claude.total_steps
        device = parameters[0].device
        self._rate = torch.tensor(cfg.training.learning_rate_NNR_f, device=device)
        betas = (0.9, cfg.training.adam_beta2)
        self._adam = torch.optim.Adam(
            parameters, lr=self._rate, betas=betas, fused=True, capturable=device.type == "cuda"
        )
        self._limit = cfg.training.turn_limit / cfg.graph_model.omega_f
        self._hidden = list(zip(parameters[2:-2:2], parameters[3:-2:2], strict=True)) if self._limit else []

    @torch.no_grad()
    def step(self, steps_done: Tensor) -> None:
        """One step, of which `steps_done` () int64 went before."""
        self._clip()
        schedule = self._schedule(steps_done.double())
        self._rate.copy_(self._training.learning_rate_NNR_f * schedule)
        before = [(weight.clone(), bias.clone()) for weight, bias in self._hidden]
        self._adam.step()
        for new, old in zip(self._hidden, before, strict=True):
            self._shorten(new, old, self._limit * schedule)

    def _schedule(self, steps_done: Tensor) -> Tensor:
        """The rate of a step as a share of the peak; see `learning_rate`."""
        if self._training.lr_schedule == LrSchedule.constant:
            return torch.ones_like(steps_done)
        falling = 0.5 * (1 + torch.cos(steps_done * (math.pi / self._total_steps)))
        if self._training.lr_schedule == LrSchedule.cosine:
            return falling
        return falling * ((steps_done + 1) / (WARM_UP_SHARE * self._total_steps)).clamp(max=1)

    def _shorten(self, new: tuple[Tensor, Tensor], old: tuple[Tensor, Tensor], limit: Tensor) -> None:
        """Keep the change of a hidden layer's weight and bias within the limit; see `update_limit`."""
        norm = torch.linalg.vector_norm((new[0] - old[0]).flatten(1), dim=1)  # (n_networks,)
        share = torch.where(norm > limit, limit / norm, 1.0).to(norm.dtype)
        for value, before in zip(new, old, strict=True):
            kept = share.view(-1, *[1] * (value.dim() - 1))
            value.copy_(torch.where(kept < 1, torch.lerp(before, value, kept.expand_as(value)), value))

    def _clip(self) -> None:
        """Scale each network's gradient to a norm of at most `CLIP_NORM`."""
        parts = [torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in self.gradients]
        norms = torch.linalg.vector_norm(torch.stack(parts), dim=0)  # (n_networks,)
        scale = (CLIP_NORM / (norms + 1e-6)).clamp(max=1)
        for gradient in self.gradients:
            gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))

    def snapshot(self) -> dict[str, Any]:
        """All that a later `restore` needs, in tensors that later steps do not write to."""
        return copy.deepcopy(self._adam.state_dict())

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a `snapshot`; the tensors that held the optimizer's state are replaced."""
        self._adam.load_state_dict(snapshot)
        for group in self._adam.param_groups:
            group["lr"] = self._rate
