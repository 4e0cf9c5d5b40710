"""The SIREN of Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions" (NeurIPS 2020).

The state-dict keys (`net.0.linear.weight`, ..., `net.<n>.weight`) are those of existing files of weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from siren_sweep.field import Scaling
from siren_sweep.train.size import IN_FEATURES, n_parameters

__all__ = ["IN_FEATURES", "Siren", "in_data_units", "n_parameters", "normalised", "spread_in_t"]

T_SPREAD = (1 / 30, 30.0)  # range of the factors of `spread_in_t`
MOST_PHASE = 2.0  # radians a frame; from pi on, a frequency is an alias of a lower one at whole frames (Nyquist)


class SineLayer(nn.Module):
    """A hidden layer, sin(omega * (W x + b)): Sitzmann et al., section 3.1."""

    def __init__(self, in_features: int, out_features: int, omega: float) -> None:
        super().__init__()
        self.omega = omega
        self.linear = drawn(nn.Linear(in_features, out_features), math.sqrt(6 / in_features) / omega)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, in_features) to (n, out_features). omega multiplies the weights, which are fewer than the phases."""
        return torch.sin(nn.functional.linear(inputs, self.omega * self.linear.weight, self.omega * self.linear.bias))


class FirstSineLayer(nn.Module):
    """The first layer. Its phase is computed in float64: in float32, omega times a large input would lose digits."""

    def __init__(self, out_features: int, omega: float) -> None:
        super().__init__()
        self.omega = omega
        self.linear = drawn(nn.Linear(IN_FEATURES, out_features), 1 / IN_FEATURES)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, 3) to (n, out_features) in the weights' type."""
        weight, bias = self.linear.weight.double(), self.linear.bias.double()
        phase = self.omega * nn.functional.linear(inputs.double(), weight, bias)
        turns = torch.round(phase.detach() / (2 * math.pi))
        return torch.sin((phase - turns * (2 * math.pi)).to(self.linear.weight.dtype))


class OutputLayer(nn.Linear):
    """The output layer: a product with a vector, which is float32 even where matrix products are TF32."""

    def __init__(self, in_features: int, omega: float) -> None:
        super().__init__(in_features, 1)
        drawn(self, math.sqrt(6 / in_features) / omega)

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, h) to (n,)."""
        return torch.mv(inputs, self.weight[0]) + self.bias


class Siren(nn.Module):
    """The network (t, x, y) -> luminance, all scaled: a first sine layer, `n_layers` hidden ones, a linear output."""

    def __init__(self, hidden_dim: int, n_layers: int, omega: float) -> None:
        super().__init__()
        self.omega = omega
        hidden = (SineLayer(hidden_dim, hidden_dim, omega) for _ in range(n_layers))
        self.net = nn.Sequential(FirstSineLayer(hidden_dim, omega), *hidden, OutputLayer(hidden_dim, omega))

    def forward(self, inputs: Tensor) -> Tensor:
        """The scaled output (n,) at normalised inputs (n, 3). `Scaling.unscaled` makes luminance of it."""
        output: Tensor = self.net(inputs)
        return output


def in_data_units(weights: Mapping[str, Tensor], scaling: Scaling) -> dict[str, Tensor]:
    """The weights of the same networks with outputs in the data's unit.

    The last layers, (1, hidden) and (1,), are multiplied by the spread, and the mean is added to their biases. So a
    person can load the state dict into a class of their own and get luminance.
    """
    units = {**weights}
    for key in weights:
        if key.endswith(".weight") and ".linear." not in key:  # (1, hidden) of an output layer
            bias = key.removesuffix("weight") + "bias"
            units[key] = weights[key] * scaling.spread
            units[bias] = weights[bias] * scaling.spread + scaling.mean
    return units


def drawn(linear: nn.Linear, bound: float) -> nn.Linear:
    """`linear` with weights drawn uniformly from [-bound, bound] (Sitzmann et al., section 3.2 and supplement).

    The biases keep PyTorch's default initialisation.
    """
    nn.init.uniform_(linear.weight, -bound, bound)
    return linear


def spread_in_t(model: Siren, t_step: float) -> None:
    """Multiply the t weight of each first-layer unit by a factor drawn log-uniformly from `T_SPREAD`.

    `t_step` is the increase of the network's t from one frame to the next. Where a unit's phase would then grow by more
    than `MOST_PHASE` a frame, its weight is drawn again below that: a higher frequency would fit the whole frames just
    as well, and oscillate between them.

    The initialisation of Sitzmann et al. gives frequencies in t of one scale of time. Video has many: slow drifts,
    clips, and cuts between two frames. Frequencies spaced evenly in their logarithm: Mildenhall et al., "NeRF" (ECCV
    2020), section 5.1. Random frequencies: Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions
    in Low Dimensional Domains" (NeurIPS 2020), section 6.
    """
    low, high = map(math.log, T_SPREAD)
    weight = model.get_parameter("net.0.linear.weight").data
    spread = weight[:, 0] * torch.empty(len(weight)).uniform_(low, high).exp()
    most = MOST_PHASE / (model.omega * t_step)
    again = torch.sign(spread) * most * torch.rand(len(weight))
    weight[:, 0] = torch.where(spread.abs() > most, again, spread)


def normalised(values: Tensor, period: float) -> Tensor:
    """A coordinate t, x or y, of any shape, as the network gets it: value * 2 pi / period, in float64."""
    return values.double() / (period / (2 * math.pi))
