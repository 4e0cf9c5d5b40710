"""Which (frame, position) points a training step sees, and what each weighs in the loss.

The loss is the mean squared error over every drawn (frame, neuron). Neurons that share a position share the network's
input, so their errors differ by what no weight can change, and

    sum over neurons (f - value)^2 = sum over positions multiplicity * (f - mean value)^2 + constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from siren_sweep.config.choices import Sampling
from siren_sweep.field import StimulusField


@dataclass(frozen=True)
class Batch:
    """Points of one step. The loss is sum(weight * (prediction - target)^2); the weights sum to one."""

    frame: np.ndarray  # (n_points,) int64
    position: np.ndarray  # (n_points,) int64
    target: np.ndarray  # (n_points,) float32, scaled as the network learns it
    weight: np.ndarray  # (n_points,) float32


class BatchSampler:
    """Draws batches; its state is plain values, so that a resumed run draws what the whole one would have."""

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
        # A random neuron's position: positions come up in proportion to their neurons, so all points weigh the same.
        position = self._field.inverse[self._random.integers(self._field.n_neurons, size=self.n_points)]
        target = self._learned(self._field.targets[frame, position])
        return Batch(frame, position, target, self._point_weight)

    def _learned(self, targets: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self._field.scaling.learned(targets))

    @property
    def state(self) -> dict[str, Any]:
        """The random state, as plain values."""
        return dict(self._random.bit_generator.state)

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._random.bit_generator.state = state
