"""The SIREN's forward and backward pass on a CPU, without autograd.

Points go through the network in blocks, so that the activations of a block stay in the caches. The matrix products are
PyTorch's, into buffers that are reused; all else is in `kernels`. The caller sets the precision of the products by
`precision.hidden_products`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from siren_sweep.train.engine import kernels
from siren_sweep.train.engine.batches import Batch
from siren_sweep.train.siren import IN_FEATURES


class Workspace:
    """Buffers for each block size and network shape, which networks that are trained in turn share."""

    def __init__(self) -> None:
        self.blocks: dict[tuple[int, ...], _Block] = {}

    def block(self, n_points: int, hidden: Sequence[int]) -> _Block:
        """The buffers for `n_points` points of a network with sine layers of these widths."""
        key = (n_points, *hidden)
        if key not in self.blocks:
            self.blocks[key] = _Block(n_points, hidden)
        return self.blocks[key]


class FlatParameters:
    """All parameters in one float32 vector, with a view of each weight and bias, as a tensor and as a numpy array.

    A row of `hidden` (n_layers, 3) has the offsets at which a hidden layer's weights begin, its biases begin, and these
    end.
    """

    def __init__(self, vector: Tensor, like: dict[str, Tensor]) -> None:
        self.vector = vector
        self.array = vector.numpy()
        parts = torch.split(vector, [value.numel() for value in like.values()])
        self.named = {key: part.view_as(value) for (key, value), part in zip(like.items(), parts, strict=True)}
        self.weights = [value for key, value in self.named.items() if key.endswith("weight")]
        self.biases = [value for key, value in self.named.items() if key.endswith("bias")]
        self.weight_arrays = [weight.numpy() for weight in self.weights]
        self.bias_arrays = [bias.numpy() for bias in self.biases]
        ends = np.cumsum([part.numel() for part in parts])
        self.hidden = np.array([ends[i - 1 : i + 2] for i in range(2, len(parts) - 2, 2)], np.int64).reshape(-1, 3)


class SirenPasses:
    """A SIREN over the points of a field: `parameters`, and the `gradient` that `accumulate` adds to."""

    def __init__(
        self,
        weights: dict[str, Tensor],
        omega: float,
        t: np.ndarray,
        xy: np.ndarray,
        reduced: bool = False,
        workspace: Workspace | None = None,
        vector: Tensor | None = None,
    ) -> None:
        """`weights` are (out, in) and (out,), under the keys of `Siren`; t (n_frames,) and xy (n_unique, 2) are
        normalised, float64.

        `reduced` says that the products will be bfloat16, for which another block size is best. Networks that are
        trained in turn share a `workspace`. `vector` (n_parameters,) float32 is the memory for the parameters.
        """
        flat = torch.cat([value.reshape(-1) for value in weights.values()])
        self.parameters = FlatParameters(flat if vector is None else vector.copy_(flat), weights)
        self.gradient = FlatParameters(torch.zeros_like(flat), weights)
        self._transposed = [weight.T for weight in self.parameters.weights]
        self._omega, self._t, self._xy = omega, t, xy
        self._block_points = block_points(len(self.parameters.biases[0]), reduced)
        self._d_first = np.zeros((IN_FEATURES, len(self.parameters.biases[0])), np.float32)
        self._hidden = [len(bias) for bias in self.parameters.biases[:-1]]
        self._workspace = workspace or Workspace()

    def predict(self, frame: np.ndarray, position: np.ndarray) -> Tensor:
        """The network's output (n,) float32 at points `frame`, `position` (n,) int64."""
        output, first = torch.empty(len(frame)), self._first_layer()
        for start in range(0, len(frame), self._block_points):
            part = slice(start, start + self._block_points)
            output[part] = self._forward(frame[part], position[part], first).output
        return output.add_(self.parameters.biases[-1])

    def accumulate(self, batch: Batch) -> float:
        """Add the gradient of the batch's loss to `gradient`; returns the loss."""
        n_points = len(batch.frame)
        size = math.ceil(n_points / math.ceil(n_points / self._block_points))  # equal blocks
        loss, first = 0.0, self._first_layer()
        for start in range(0, n_points, size):
            part = slice(start, start + size)
            block = self._forward(batch.frame[part], batch.position[part], first)
            loss += self._backward(block, batch, part)
        self.gradient.weights[0].add_(torch.from_numpy(self._d_first).T)
        self._d_first[...] = 0
        return loss

    def _first_layer(self) -> tuple[np.ndarray, np.ndarray]:
        """The first layer's weight (3, h) and bias (h,) in float64, multiplied by omega / 2 pi: phases are in turns."""
        unit = self._omega / (2 * math.pi)
        weight, bias = self.parameters.weight_arrays[0], self.parameters.bias_arrays[0]
        return np.ascontiguousarray(weight.T.astype(np.float64) * unit), bias.astype(np.float64) * unit

    def _forward(self, frame: np.ndarray, position: np.ndarray, first: tuple[np.ndarray, np.ndarray]) -> _Block:
        """Buffers with activations, slopes and the output, without its bias, of points `frame`, `position` (n,)."""
        block, omega = self._workspace.block(len(frame), self._hidden), np.float32(self._omega)
        activations, slopes = block.activation_arrays, block.slope_arrays
        kernels.first_sine(self._t, self._xy, frame, position, *first, omega, activations[0], slopes[0])
        for layer in range(1, len(activations)):
            torch.mm(block.activations[layer - 1], self._transposed[layer], out=block.activations[layer])
            kernels.sine(activations[layer], self.parameters.bias_arrays[layer], omega, slopes[layer])
        torch.mv(block.activations[-1], self.parameters.weights[-1][0], out=block.output)
        return block

    def _backward(self, block: _Block, batch: Batch, part: slice) -> float:
        """Add the gradient of a block's part of the loss, and return that part. The block's buffers are overwritten."""
        theta, gradient, last = self.parameters, self.gradient, len(block.slopes) - 1
        loss: float = kernels.output_backward(
            block.output_array,
            theta.bias_arrays[-1],
            batch.target[part],
            batch.weight[part],
            theta.weight_arrays[-1][0],
            block.activation_arrays[last],
            block.slope_arrays[last],
            gradient.weight_arrays[-1][0],
            gradient.bias_arrays[-1],
            gradient.bias_arrays[last],
        )
        d_phase = block.slopes[last]
        for layer in range(last, 0, -1):
            below = block.activations[layer - 1]
            gradient.weights[layer].addmm_(d_phase.T, below)
            torch.mm(d_phase, theta.weights[layer], out=below)  # its activation is needed no more
            d_phase = below
            if layer > 1:
                arrays = block.activation_arrays[layer - 1], block.slope_arrays[layer - 1]
                kernels.sine_backward(*arrays, gradient.bias_arrays[layer - 1])
        points = self._t, self._xy, batch.frame[part], batch.position[part]
        first = block.activation_arrays[0], block.slope_arrays[0]
        kernels.first_backward(*first, *points, self._d_first, gradient.bias_arrays[0])
        return loss


class _Block:
    """Buffers for `n_points` points: activations and slopes (n_points, h) of each sine layer, output (n_points,)."""

    def __init__(self, n_points: int, hidden: Sequence[int]) -> None:
        self.activations = [torch.empty(n_points, h) for h in hidden]
        self.slopes = [torch.empty(n_points, h) for h in hidden]
        self.output = torch.empty(n_points)
        self.activation_arrays = [activation.numpy() for activation in self.activations]
        self.slope_arrays = [slope.numpy() for slope in self.slopes]
        self.output_array = self.output.numpy()


def block_points(hidden: int, reduced: bool) -> int:
    """The number of points in a block, as measured to be fastest for a hidden width.

    A narrow layer's activations should fit into a core's cache. A wide layer's do not fit at any size, and its products
    gain from more points. With products in bfloat16, more points fit.
    """
    if reduced:
        return 1024
    return 2048 if hidden >= 512 else min(2048, max(256, 65536 // hidden))
