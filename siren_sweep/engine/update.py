"""What a step makes of the gradients where PyTorch computes: clipping, the rate of the step, and Adam."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from siren_sweep.choices import LrSchedule
from siren_sweep.config import TrialConfig
from siren_sweep.engine.base import CLIP_NORM


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
        self._adam = torch.optim.Adam(parameters, lr=self._rate, fused=True, capturable=device.type == "cuda")

    @torch.no_grad()
    def step(self, steps_done: Tensor) -> None:
        """One step, of which `steps_done` () int64 went before."""
        self._clip()
        if self._training.lr_schedule == LrSchedule.cosine:
            half_turn = torch.cos(steps_done.double() * (math.pi / self._total_steps))
            self._rate.copy_(self._training.learning_rate_NNR_f * 0.5 * (1 + half_turn))
        self._adam.step()

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
