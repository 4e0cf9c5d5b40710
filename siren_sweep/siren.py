"""The SIREN of Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions" (NeurIPS 2020).

The state-dict keys (`net.0.linear.weight`, ..., `net.<n>.weight`) are those that people's saved weights have.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

IN_FEATURES = 3  # t, x, y


class SineLayer(nn.Module):
    """sin(omega * (W x + b)), section 3.1; weights drawn as in section 3.2, biases as PyTorch draws them."""

    def __init__(self, in_features: int, out_features: int, omega: float, *, is_first: bool) -> None:
        super().__init__()
        self.omega = omega
        self.linear = nn.Linear(in_features, out_features)
        bound = 1 / in_features if is_first else math.sqrt(6 / in_features) / omega
        nn.init.uniform_(self.linear.weight, -bound, bound)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, in_features) to (n, out_features); omega scales the weights, of which there are fewer than phases."""
        return torch.sin(nn.functional.linear(inputs, self.omega * self.linear.weight, self.omega * self.linear.bias))


class FirstSineLayer(SineLayer):
    """The first layer: its phase is formed in float64, where omega times a large input would lose float32's bits."""

    def __init__(self, out_features: int, omega: float) -> None:
        super().__init__(IN_FEATURES, out_features, omega, is_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, 3) float64 to (n, out_features) float32."""
        weight, bias = self.linear.weight.double(), self.linear.bias.double()
        phase = self.omega * nn.functional.linear(inputs.double(), weight, bias)
        turns = torch.round(phase.detach() / (2 * math.pi))
        return torch.sin((phase - turns * (2 * math.pi)).to(self.linear.weight.dtype))


class Siren(nn.Module):
    """(t, x, y) to luminance: a first sine layer, `n_layers` hidden ones, and a linear output."""

    def __init__(self, hidden_dim: int, n_layers: int, omega: float) -> None:
        super().__init__()
        hidden = (SineLayer(hidden_dim, hidden_dim, omega, is_first=False) for _ in range(n_layers))
        last = nn.Linear(hidden_dim, 1)
        bound = math.sqrt(6 / hidden_dim) / omega
        nn.init.uniform_(last.weight, -bound, bound)
        self.net = nn.Sequential(FirstSineLayer(hidden_dim, omega), *hidden, last)

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised (n, 3) inputs to (n,) luminance."""
        *sine_layers, last = self.net
        hidden = inputs
        for layer in sine_layers:
            hidden = layer(hidden)
        return torch.mv(hidden, last.weight[0]) + last.bias  # unlike a product of matrices, mv is never TF32


def n_parameters(hidden_dim: int, n_layers: int) -> int:
    """Weights and biases of a `Siren`."""
    return (IN_FEATURES + 1) * hidden_dim + n_layers * (hidden_dim + 1) * hidden_dim + hidden_dim + 1


def normalised(values: Tensor, period: float) -> Tensor:
    """t or x, y in units of a period: value / (period / 2 pi), in float64."""
    return values.double() / (period / (2 * math.pi))
