"""Several SIRENs of one shape, computed together: their parameters are stacked, and their products are batched.

The layers are those of `Siren`. omega multiplies the weights, since these are fewer than the phases. The first layer's
phase is computed in float64. The output layer is float32, also where other matrix products are TF32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from siren_sweep.train.engine.precision import hidden_products

Stacked = Mapping[str, Tensor]  # under the keys of `Siren`, in its order, each (n_networks, *shape)


def rows(networks: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """The parameters (n_networks, n_parameters) of `Siren`s of one shape, each network's in the order of its keys."""
    return torch.stack([torch.cat([value.flatten() for value in network.values()]) for network in networks])


def named(of: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Views of `of` (n_networks, n_parameters) for each key of `like`, a network's weights: (n_networks, *shape)."""
    parts = of.split([value.numel() for value in like.values()], dim=1)
    return {key: part.unflatten(1, value.shape) for (key, value), part in zip(like.items(), parts, strict=True)}


def forward(parameters: Stacked, inputs: Tensor, omega: float) -> Tensor:
    """Each network's outputs (n_networks, n_points) float32 at its inputs (n_networks, n_points, 3) float64."""
    values = list(parameters.values())
    layers = list(zip(values[::2], values[1::2], strict=True))
    hidden = _first_sine(*layers[0], inputs, omega)
    for weight, bias in layers[1:-1]:
        phase = torch.baddbmm((omega * bias)[:, None], hidden, (omega * weight).transpose(1, 2))
        hidden = torch.sin(phase)
    weight, bias = layers[-1]
    output: Tensor = _Output.apply(hidden, weight[:, 0])
    return output + bias


def activation_bytes(n_points: int, hidden_dim: int, n_layers: int) -> int:
    """About how many bytes the forward and backward pass of one network take at their peak.

    The phase and activation of each sine layer stay for the backward pass, in float32. Another 40 bytes a unit are
    temporary, most of them in the first layer's float64.
    """
    return n_points * hidden_dim * (8 * (n_layers + 1) + 40)


def _first_sine(weight: Tensor, bias: Tensor, inputs: Tensor, omega: float) -> Tensor:
    """(n, n_points, 3) to (n, n_points, h). Whole turns of a phase are subtracted in float64; the rest is float32."""
    unit = omega / (2 * math.pi)
    turns = torch.baddbmm((unit * bias.double())[:, None], inputs, (unit * weight.double()).transpose(1, 2))
    part = turns - torch.round(turns.detach())
    return torch.sin(part.to(weight.dtype) * (2 * math.pi))


class _Output(torch.autograd.Function):
    """The products (n, n_points) of hidden (n, n_points, h) and weight (n, h), float32 forward and backward."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        with hidden_products(False, hidden.device):
            return torch.bmm(hidden, weight[:, :, None]).squeeze(2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,), (hidden, weight) = gradients, ctx.saved_tensors
        with hidden_products(False, hidden.device):
            d_weight = torch.bmm(gradient[:, None], hidden).squeeze(1)
        return gradient[:, :, None] * weight[:, None], d_weight
