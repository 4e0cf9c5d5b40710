"""The SIREN of Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions" (NeurIPS 2020).

The state-dict keys (`net.0.linear.weight`, ..., `net.<n>.weight`) are those that people's saved weights have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from siren_sweep.field import Scaling
from siren_sweep.train.size import IN_FEATURES, n_parameters

__all__ = ["IN_FEATURES", "Siren", "in_data_units", "n_parameters", "normalised", "spread_in_t"]

T_SPREAD = (1 / 30, 30.0)
MOST_PHASE = 2.0  # radians a frame; from pi on, a frequency looks like a lower one at whole frames (Nyquist)


class SineLayer(nn.Module):
    """A hidden layer, sin(omega * (W x + b)), section 3.1."""

    def __init__(self, in_features: int, out_features: int, omega: float) -> None:
        super().__init__()
        self.omega = omega
        self.linear = drawn(nn.Linear(in_features, out_features), math.sqrt(6 / in_features) / omega)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, in_features) to (n, out_features); omega scales the weights, of which there are fewer than phases."""
        return torch.sin(nn.functional.linear(inputs, self.omega * self.linear.weight, self.omega * self.linear.bias))


class FirstSineLayer(nn.Module):
    """The first layer: its phase is formed in float64, where omega times a large input would lose float32's bits."""

    def __init__(self, out_features: int, omega: float) -> None:
        super().__init__()
        self.omega = omega
        self.linear = drawn(nn.Linear(IN_FEATURES, out_features), 1 / IN_FEATURES)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, 3) to (n, out_features), the latter in the weights' type."""
        weight, bias = self.linear.weight.double(), self.linear.bias.double()
        phase = self.omega * nn.functional.linear(inputs.double(), weight, bias)
        turns = torch.round(phase.detach() / (2 * math.pi))
        return torch.sin((phase - turns * (2 * math.pi)).to(self.linear.weight.dtype))


class OutputLayer(nn.Linear):
    """The output, as a product with a vector, which is float32 also where products of matrices may be TF32."""

    def __init__(self, in_features: int, omega: float) -> None:
        super().__init__(in_features, 1)
        drawn(self, math.sqrt(6 / in_features) / omega)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, h) to (n,)."""
        return torch.mv(inputs, self.weight[0]) + self.bias


class Siren(nn.Module):
    """(t, x, y) to luminance: a first sine layer, `n_layers` hidden ones, and a linear output."""

    def __init__(self, hidden_dim: int, n_layers: int, omega: float) -> None:
        super().__init__()
        self.omega = omega
        hidden = (SineLayer(hidden_dim, hidden_dim, omega) for _ in range(n_layers))
        self.net = nn.Sequential(FirstSineLayer(hidden_dim, omega), *hidden, OutputLayer(hidden_dim, omega))

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalised (n, 3) inputs to (n,) luminance."""
        output: Tensor = self.net(inputs)
        return output


def in_data_units(weights: Mapping[str, Tensor], scaling: Scaling) -> dict[str, Tensor]:
    """The same networks with the values' mean and spread in their last layers, (1, hidden) and (1,): what these say is
    luminance itself, as one who loads a state dict into a class of their own expects."""
    units = {**weights}
    for key in weights:
        if key.endswith(".weight") and ".linear." not in key:  # (1, hidden) of an output layer
            bias = key.removesuffix("weight") + "bias"
            units[key] = weights[key] * scaling.spread
            units[bias] = weights[bias] * scaling.spread + scaling.mean
    return units


def drawn(linear: nn.Linear, bound: float) -> nn.Linear:
    """`linear` with its weights uniform within `bound` (section 3.2 and its supplement); biases stay PyTorch's own."""
    nn.init.uniform_(linear.weight, -bound, bound)
    return linear


def spread_in_t(model: Siren, t_step: float) -> None:
    """Multiply each first-layer unit's weight for t by a factor drawn log-uniformly within `T_SPREAD`.

    `t_step` is what the network's t grows by from frame to frame. Where a unit's phase would then grow by more than
    `MOST_PHASE` a frame, its weight is drawn again below that: a higher frequency fits whole frames as well, and
    oscillates between them.

    Drawn within one range as by Sitzmann et al., frequencies in t fit one scale of time, while video has slow drifts,
    clips, and cuts between two frames. Frequencies even in their logarithm are those of Mildenhall et al., "NeRF"
    (ECCV 2020), section 5.1; drawing them at random is that of Tancik et al., "Fourier Features Let Networks Learn
    High Frequency Functions in Low Dimensional Domains" (NeurIPS 2020), section 6.
    """
    low, high = map(math.log, T_SPREAD)
    weight = model.get_parameter("net.0.linear.weight").data
    spread = weight[:, 0] * torch.empty(len(weight)).uniform_(low, high).exp()
    most = MOST_PHASE / (model.omega * t_step)
    again = torch.sign(spread) * most * torch.rand(len(weight))
    weight[:, 0] = torch.where(spread.abs() > most, again, spread)


def normalised(values: Tensor, period: float) -> Tensor:
    """t or x, y, of any shape, in units of a period: value / (period / 2 pi), in float64."""
    return values.double() / (period / (2 * math.pi))
