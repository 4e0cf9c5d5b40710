"""Draws batches on the device that holds the field, for PyTorch's engine. `batches` says what a batch is.

The random numbers come from a counter. A window's batch at a step depends on the window's seed and the step's number
alone, not on the device or on the other windows, and there is no random state to store. Each element of a window's draw
has a random start value, drawn once; each step adds an odd constant to it. The constants and the mixing function are
those of SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from siren_sweep.config.choices import Sampling
from siren_sweep.field import StimulusField, Window

STRIDE, FIRST_FACTOR, SECOND_FACTOR = (  # of SplitMix64, as signed numbers
    int(np.uint64(value).astype(np.int64)) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
LOW_BITS = (1 << 31) - 1


@dataclass(frozen=True)
class DeviceBatch:
    """A `Batch` of each window, in tensors (n_windows, n_points) on the device.

    A frame is counted from the first that its window sees.
    """

    frame: Tensor  # int64
    position: Tensor  # int64
    target: Tensor  # float32
    weight: Tensor  # float32


class DeviceSampler:
    """Draws batches from the frames that the windows see. It keeps these frames, each once, in the device's memory."""

    def __init__(
        self,
        field: StimulusField,
        windows: Sequence[Window],
        seeds: Sequence[int],
        *,
        n_frames: int,
        sampling: Sampling,
        device: torch.device,
    ) -> None:
        self._sampling, self._n_frames, self._n_unique = sampling, n_frames, field.n_unique
        self._keep_targets(field, windows, device)
        self._n_points = n_frames * field.n_unique
        lengths = np.array([window.seen.stop - window.seen.start for window in windows])
        self._lengths = torch.from_numpy(lengths)[:, None].to(device)  # (n_windows, 1)
        n_places = self._n_points if sampling == Sampling.points else int(lengths.max())
        starts = [np.random.Generator(np.random.PCG64(seed)).bytes(8 * n_places) for seed in seeds]
        flat = np.frombuffer(b"".join(starts), "<i8").reshape(len(windows), n_places)
        self._starts = torch.from_numpy(flat.astype(np.int64)).to(device)  # (n_windows, n_places)
        self._beyond = torch.arange(int(lengths.max()), device=device) >= self._lengths  # (n_windows, longest)
        share = torch.from_numpy((field.multiplicity / (field.n_neurons * n_frames)).astype(np.float32))
        self._frame_weight = share.to(device).repeat(n_frames).expand(len(windows), -1)
        self._point_weight = torch.full((1, 1), 1 / self._n_points, device=device).expand(len(windows), self._n_points)
        self._positions = torch.arange(field.n_unique, device=device).repeat(n_frames).expand(len(windows), -1)

    def _keep_targets(self, field: StimulusField, windows: Sequence[Window], device: torch.device) -> None:
        """Set the targets (n_rows, n_unique) of all frames that a window sees, and each window's first row."""
        rows = np.unique(np.concatenate([np.arange(window.seen.start, window.seen.stop) for window in windows]))
        self._targets = torch.from_numpy(np.array(field.scaling.scaled(field.targets[rows]))).to(device)
        firsts = np.searchsorted(rows, [window.seen.start for window in windows])
        self._first_row = torch.from_numpy(firsts)[:, None].to(device)
        self._inverse = torch.from_numpy(np.array(field.inverse)).to(device)  # (n_neurons,)

    def draw(self, step: Tensor) -> DeviceBatch:
        """The batch of `step` () int64: whole frames without replacement, or independent points."""
        numbers = self._random(step)
        return self._frames(numbers) if self._sampling == Sampling.frames else self._points(numbers)

    def _frames(self, numbers: Tensor) -> DeviceBatch:
        lots = (numbers & LOW_BITS).masked_fill_(self._beyond, -1)
        frames = lots.topk(self._n_frames, dim=1).indices  # (n_windows, n_frames)
        target = self._targets[self._first_row + frames].view(len(frames), self._n_points)
        frame = frames[:, :, None].expand(-1, -1, self._n_unique).reshape(len(frames), self._n_points)
        return DeviceBatch(frame, self._positions, target, self._frame_weight)

    def _points(self, numbers: Tensor) -> DeviceBatch:
        frame = ((numbers >> 32) & LOW_BITS) % self._lengths
        position = self._inverse[(numbers & LOW_BITS) % len(self._inverse)]
        return DeviceBatch(frame, position, self._targets[self._first_row + frame, position], self._point_weight)

    def _random(self, step: Tensor) -> Tensor:
        """Random numbers (n_windows, n_places) int64; the lower 63 bits of each are random.

        The top bit is not, since these shifts are arithmetic and those of SplitMix64 are logical.
        """
        mixed = self._starts + step * STRIDE
        mixed = mixed.bitwise_xor_(mixed >> 30).mul_(FIRST_FACTOR)
        mixed = mixed.bitwise_xor_(mixed >> 27).mul_(SECOND_FACTOR)
        return mixed.bitwise_xor_(mixed >> 31)
