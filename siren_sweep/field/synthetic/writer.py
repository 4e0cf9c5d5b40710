"""Writes the embedded stimulus as a real data set: `stimulus.zarr` and `pos.zarr` in a folder that appears whole."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from siren_sweep.errors import OutputError
from siren_sweep.field.synthetic.lattice import N_TYPES, hexagonal_lattice
from siren_sweep.field.synthetic.scene import Scene

CHUNK_FRAMES = 2000
_LEVELS = 2**12 - 1  # steps of luminance: takes rounding that differs between machines away, and packs well


def write_synthetic(
    folder: Path, *, n_frames: int = 64_000, seed: int = 0, on_progress: Callable[[int, int], None] | None = None
) -> None:
    """Write the synthetic scene: `stimulus.zarr` (n_frames, 1736) float32 in [0, 1], `pos.zarr` (1736, 2) float32.

    The same seed gives the same values, and a shorter field is the beginning of a longer one. `on_progress` is called
    with the frames written and n_frames. The folder appears by a rename when all is in it; of several processes that
    make it at once one wins, and the others return. OutputError where it cannot be written or already holds something.
    """
    folder = folder.absolute()
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise OutputError(f"the synthetic stimulus needs a folder that is new or empty, got {folder}")
        unfinished.mkdir(parents=True)
        _write(unfinished, n_frames, seed, on_progress or (lambda done, total: None))
        try:
            os.rename(unfinished, folder)
        except OSError:
            if not (folder / "stimulus.zarr").is_dir():  # there if another process was first
                raise
    except OSError as error:
        raise OutputError(f"the synthetic stimulus must be writable, got {folder}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(folder: Path, n_frames: int, seed: int, on_progress: Callable[[int, int], None]) -> None:
    columns = hexagonal_lattice()
    positions = np.tile(columns, (N_TYPES, 1))
    _array(folder / "pos.zarr", positions.shape, len(positions))[...] = positions
    stimulus = _array(folder / "stimulus.zarr", (n_frames, len(positions)), min(CHUNK_FRAMES, n_frames))
    for start, chunk in _chunks(Scene(columns, seed), n_frames):
        stimulus[start : start + len(chunk)] = np.tile(np.rint(chunk * _LEVELS) / np.float32(_LEVELS), (1, N_TYPES))
        on_progress(start + len(chunk), n_frames)


def _chunks(scene: Scene, n_frames: int) -> Iterator[tuple[int, np.ndarray]]:
    """The first frame and the values, (up to CHUNK_FRAMES, n_columns), of each chunk of the scene's clips."""
    clips = (scene.clip(number) for number in count())
    kept = next(clips)
    for start in range(0, n_frames, CHUNK_FRAMES):
        n_wanted, parts = min(CHUNK_FRAMES, n_frames - start), [kept]
        while sum(map(len, parts)) < n_wanted:
            parts.append(next(clips))
        joined = np.concatenate(parts)
        yield start, joined[:n_wanted]
        kept = joined[n_wanted:]


def _array(path: Path, shape: tuple[int, ...], chunk_rows: int) -> Any:
    import zarr
    from zarr.codecs import ZstdCodec

    return zarr.create_array(
        store=path,
        shape=shape,
        dtype="float32",
        chunks=(chunk_rows, *shape[1:]),
        compressors=ZstdCodec(level=1),
        config={"write_empty_chunks": True},
    )
