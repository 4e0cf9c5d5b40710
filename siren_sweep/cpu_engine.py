"""Training steps on a CPU: the SIREN's forward and backward pass written out.

A step's points go through the network block by block, so that a block's activations stay in the caches. The matrix
products are PyTorch's, into buffers that are kept; all else is in `kernels`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siren_sweep import kernels
from siren_sweep.batches import Batch, BatchSampler
from siren_sweep.config import TrialConfig
from siren_sweep.engine import CLIP_NORM, Engine, explosion_limit, initial_model, learning_rate
from siren_sweep.field import StimulusField
from siren_sweep.siren import IN_FEATURES, normalised

BLOCK_POINTS = 512


class CpuEngine(Engine):
    """Hand-written passes over one flat buffer of parameters."""

    def __init__(self, field: StimulusField, cfg: TrialConfig) -> None:
        self.step = 0
        self._cfg = cfg
        self._limit = explosion_limit(field)
        self._omega = cfg.graph_model.omega_f
        self._sampler = BatchSampler(
            field, n_frames=cfg.training.inr_batch_size, sampling=cfg.training.sampling, seed=cfg.training.seed
        )
        self._t = normalised(torch.arange(field.n_frames), cfg.graph_model.nnr_f_T_period).numpy()
        self._xy = normalised(torch.from_numpy(np.array(field.positions)), cfg.graph_model.nnr_f_xy_period).numpy()
        weights = initial_model(cfg).state_dict()
        self._parameters = _Flat(weights)
        self._gradient, self._mean, self._square = (_Flat(weights) for _ in range(3))
        for flat in (self._gradient, self._mean, self._square):
            flat.vector.zero_()
        self._d_first = np.zeros((IN_FEATURES, cfg.graph_model.hidden_dim_nnr_f), np.float32)
        self._blocks: dict[int, _Block] = {}
        n_blocks = math.ceil(self._sampler.n_points / BLOCK_POINTS)
        self._block_points = math.ceil(self._sampler.n_points / n_blocks)

    def advance(self, n_steps: int) -> int | None:
        for _ in range(n_steps):
            loss = self._accumulate(self._sampler.draw())
            rate = learning_rate(self._cfg, self.step)
            self.step += 1
            buffers = (flat.vector.numpy() for flat in (self._parameters, self._gradient, self._mean, self._square))
            kernels.adam(*buffers, rate, self.step, CLIP_NORM)
            if not loss <= self._limit:
                return self.step
        return None

    def predict(self, frames: np.ndarray) -> Tensor:
        n_unique = len(self._xy)
        frame = np.repeat(frames, n_unique)
        position = np.tile(np.arange(n_unique), len(frames))
        output = torch.empty(len(frame))
        first = self._first_weights()
        for start in range(0, len(frame), BLOCK_POINTS):
            part = slice(start, start + BLOCK_POINTS)
            output[part] = self._forward(frame[part], position[part], first).output
        return (output + self._parameters.biases[-1]).view(len(frames), n_unique)

    def weights(self) -> dict[str, Tensor]:
        return {key: value.clone() for key, value in self._parameters.named.items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        for key, value in self._parameters.named.items():
            value.copy_(weights[key])

    def snapshot(self) -> dict[str, Any]:
        vectors = {name: flat.vector.clone() for name, flat in self._state().items()}
        return {"step": self.step, "sampler": self._sampler.state, **vectors}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self.step = snapshot["step"]
        self._sampler.state = snapshot["sampler"]
        for name, flat in self._state().items():
            flat.vector.copy_(snapshot[name])

    def _state(self) -> dict[str, _Flat]:
        return {"parameters": self._parameters, "mean": self._mean, "square": self._square}

    def _accumulate(self, batch: Batch) -> float:
        """Add the gradient of one batch's loss to the (zeroed) gradient; the loss."""
        loss, first = 0.0, self._first_weights()
        for start in range(0, len(batch.frame), self._block_points):
            part = slice(start, start + self._block_points)
            block = self._forward(batch.frame[part], batch.position[part], first)
            loss += self._backward(block, batch, part)
        self._gradient.weights[0].add_(torch.from_numpy(self._d_first).T)
        self._d_first[...] = 0
        return loss

    def _first_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """The first layer's weight (3, h) and bias (h,) in float64 and units of pi / omega."""
        unit = self._omega / math.pi
        weight, bias = self._parameters.weights[0], self._parameters.biases[0]
        return np.ascontiguousarray(weight.T.double().numpy() * unit), bias.double().numpy() * unit

    def _forward(self, frame: np.ndarray, position: np.ndarray, first: tuple[np.ndarray, np.ndarray]) -> _Block:
        """The activations of points `frame`, `position` (n,); `output` lacks its bias."""
        block = self._block(len(frame))
        omega = np.float32(self._omega)
        activations, slopes = block.activation_arrays, block.slope_arrays
        kernels.first_sine(self._t, self._xy, frame, position, *first, omega, activations[0], slopes[0])
        for layer in range(1, len(activations)):
            torch.mm(block.activations[layer - 1], self._parameters.transposed[layer], out=block.activations[layer])
            kernels.sine(activations[layer], self._parameters.bias_arrays[layer], omega, slopes[layer])
        torch.mv(block.activations[-1], self._parameters.weights[-1][0], out=block.output)
        return block

    def _backward(self, block: _Block, batch: Batch, part: slice) -> float:
        theta, gradient = self._parameters, self._gradient
        last = len(block.slopes) - 1
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
            gradient.weights[layer].addmm_(d_phase.T, block.activations[layer - 1])
            below = block.activations[layer - 1]  # read for the last time just now: its place takes the gradient
            torch.mm(d_phase, theta.weights[layer], out=below)
            d_phase = below
            if layer > 1:
                below_arrays = block.activation_arrays[layer - 1], block.slope_arrays[layer - 1]
                kernels.sine_backward(*below_arrays, gradient.bias_arrays[layer - 1])
        points = self._t, self._xy, batch.frame[part], batch.position[part]
        first = block.activation_arrays[0], block.slope_arrays[0]
        kernels.first_backward(*first, *points, self._d_first, gradient.bias_arrays[0])
        return loss

    def _block(self, n_points: int) -> _Block:
        if n_points not in self._blocks:
            model = self._cfg.graph_model
            self._blocks[n_points] = _Block(n_points, model.hidden_dim_nnr_f, model.n_layers_nnr_f + 1)
        return self._blocks[n_points]


class _Flat:
    """One float32 vector with a view for each weight and bias, as PyTorch tensors and as numpy arrays."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.vector = torch.cat([value.reshape(-1) for value in weights.values()])
        parts = self.vector.split([value.numel() for value in weights.values()])
        self.named = {key: part.view_as(value) for (key, value), part in zip(weights.items(), parts, strict=True)}
        self.weights = [value for key, value in self.named.items() if key.endswith("weight")]
        self.biases = [value for key, value in self.named.items() if key.endswith("bias")]
        self.transposed = [weight.T for weight in self.weights]
        self.weight_arrays = [weight.numpy() for weight in self.weights]
        self.bias_arrays = [bias.numpy() for bias in self.biases]


class _Block:
    """Buffers for `n_points` points: activations and slopes (n_points, hidden) of each sine layer, output (n_points,)."""

    def __init__(self, n_points: int, hidden: int, n_sine_layers: int) -> None:
        self.activations = [torch.empty(n_points, hidden) for _ in range(n_sine_layers)]
        self.slopes = [torch.empty(n_points, hidden) for _ in range(n_sine_layers)]
        self.output = torch.empty(n_points)
        self.activation_arrays = [activation.numpy() for activation in self.activations]
        self.slope_arrays = [slope.numpy() for slope in self.slopes]
        self.output_array = self.output.numpy()
