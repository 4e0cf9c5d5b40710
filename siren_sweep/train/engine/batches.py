"""Draws the (frame, position) points of a training step, with the weight of each in the loss.

The loss is the mean squared error over every drawn (frame, neuron). Neurons at one position have the same prediction f,
so

    sum over neurons (f - value)^2 = sum over positions multiplicity * (f - mean value)^2 + a constant,

where the constant does not depend on the network's weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from siren_sweep.config.choices import Sampling
from siren_sweep.field import StimulusField


@dataclass(frozen=True)
class Batch:
    """The points of one step. The loss is sum(weight * (prediction - target)^2); the weights sum to 1."""

    frame: np.ndarray  # (n_points,) int64
    position: np.ndarray  # (n_points,) int64
    target: np.ndarray  # (n_points,) float32, in the network's units; see `Scaling.scaled`
    weight: np.ndarray  # (n_points,) float32


class BatchSampler:
    """Draws batches. Its state is plain values, so that a resumed run draws the same batches as one without a break."""

    def __init__(self, field: StimulusField, *, n_frames: int, sampling: Sampling, seed: int) -> None:
        self._field = field
        self._n_frames = n_frames
        self._sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(seed))
        self.n_points = n_frames * field.n_unique
        share = field.multiplicity / (field.n_neurons * n_frames)
        self._frame_weight = np.tile(share.astype(np.float32), n_frames)
        self._point_weight = np.full(self.n_points, 1 / self.n_points, np.float32)
        self._positions = np.tile(np.arange(field.n_unique), n_frames)

    def draw(self) -> Batch:
        """The next batch: whole frames without replacement, or independent points."""
        return self._draw_frames() if self._sampling == Sampling.frames else self._draw_points()

    def _draw_frames(self) -> Batch:
        frames = self._random.choice(self._field.n_frames, self._n_frames, replace=False)
        target = self._learned(self._field.targets[frames]).reshape(-1)
        return Batch(np.repeat(frames, self._field.n_unique), self._positions, target, self._frame_weight)

    def _draw_points(self) -> Batch:
        frame = self._random.integers(self._field.n_frames, size=self.n_points)
        # The position of a random neuron: a position is drawn in proportion to its neurons, and all weights are equal.
        position = self._field.inverse[self._random.integers(self._field.n_neurons, size=self.n_points)]
        target = self._learned(self._field.targets[frame, position])
        return Batch(frame, position, target, self._point_weight)

    def _learned(self, targets: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self._field.scaling.scaled(targets))

    @property
    def state(self) -> dict[str, Any]:
        """The random state, as plain values."""
        return dict(self._random.bit_generator.state)

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._random.bit_generator.state = state
