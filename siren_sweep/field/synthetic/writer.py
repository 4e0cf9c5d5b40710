"""Writes the embedded stimulus as a real data set."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

from siren_sweep.field.lattice import N_TYPES, hexagonal_lattice
from siren_sweep.field.synthetic.scene import Scene
from siren_sweep.field.writer import new_field

_LEVELS = 2**12 - 1  # steps of luminance; they hide rounding that differs between machines, and compress well


def write_synthetic(
    folder: Path, *, n_frames: int = 64_000, seed: int = 0, on_progress: Callable[[int, int], None] | None = None
) -> None:
    """Write the synthetic scene: `stimulus.zarr` (n_frames, 1736) float32 in [0, 1], `pos.zarr` (1736, 2) float32.

    The same seed gives the same values, and a shorter field is the beginning of a longer one. `on_progress` is called
    with the frames made and n_frames. The folder appears whole, or not at all. Raises OutputError; see `new_field`.
    """
    columns = hexagonal_lattice()
    scene = Scene(columns, seed)
    with new_field(folder, np.tile(columns, (N_TYPES, 1)), "the synthetic stimulus") as writer:
        for number in count():
            clip = scene.clip(number)[: n_frames - writer.n_frames]
            writer.add(np.tile(np.rint(clip * _LEVELS) / np.float32(_LEVELS), N_TYPES))
            if on_progress:
                on_progress(writer.n_frames, n_frames)
            if writer.n_frames == n_frames:
                return
