"""Batches drawn where the field lies: on a GPU, or wherever PyTorch computes. See `batches` for what they mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from siren_sweep.choices import Sampling
from siren_sweep.field import StimulusField


@dataclass(frozen=True)
class DeviceBatch:
    """A `Batch` as tensors on the device."""

    frame: Tensor  # (n_points,) int64
    position: Tensor  # (n_points,) int64
    target: Tensor  # (n_points,) float32
    weight: Tensor  # (n_points,) float32


class DeviceSampler:
    """Draws batches from a field that it keeps in the device's memory; nothing in a draw waits for the device."""

    def __init__(
        self, field: StimulusField, *, n_frames: int, sampling: Sampling, seed: int, device: torch.device
    ) -> None:
        self.generator = torch.Generator(device).manual_seed(seed)
        self._device, self._sampling, self._n_frames = device, sampling, n_frames
        self._targets = torch.from_numpy(np.array(field.targets)).to(device)  # (n_frames of the field, n_unique)
        self._inverse = torch.from_numpy(np.array(field.inverse)).to(device)  # (n_neurons,)
        share = field.multiplicity / (field.n_neurons * n_frames)
        self._frame_weight = torch.from_numpy(share.astype(np.float32)).to(device).repeat(n_frames)
        self._n_points = n_frames * field.n_unique
        self._point_weight = torch.full((self._n_points,), 1 / self._n_points, device=device)
        self._positions = torch.arange(field.n_unique, device=device).repeat(n_frames)

    def draw(self) -> DeviceBatch:
        """The next batch: whole frames without replacement, or independent points."""
        return self._draw_frames() if self._sampling == Sampling.frames else self._draw_points()

    def _draw_frames(self) -> DeviceBatch:
        lots = torch.rand(len(self._targets), generator=self.generator, device=self._device)
        frames = lots.topk(self._n_frames).indices
        frame = frames.repeat_interleave(self._targets.shape[1], output_size=self._n_points)
        return DeviceBatch(frame, self._positions, self._targets[frames].view(-1), self._frame_weight)

    def _draw_points(self) -> DeviceBatch:
        frame = self._random_integers(len(self._targets))
        position = self._inverse[self._random_integers(len(self._inverse))]
        return DeviceBatch(frame, position, self._targets[frame, position], self._point_weight)

    def _random_integers(self, high: int) -> Tensor:
        return torch.randint(high, (self._n_points,), generator=self.generator, device=self._device)
