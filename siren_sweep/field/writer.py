"""Writes a stimulus field, in the layout of real data sets, to a folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from siren_sweep.errors import OutputError

CHUNK_FRAMES = 2000


class FieldWriter:
    """Writes a stimulus frame by frame; it keeps up to `CHUNK_FRAMES` frames in memory.

    `lowest` and `highest` are the extremes of all values so far.
    """

    def __init__(self, folder: Path, positions: np.ndarray) -> None:
        """positions: (n_neurons, 2) float32; `pos.zarr` is written at once."""
        _array(folder / "pos.zarr", positions.shape, len(positions))[...] = positions
        self._path = folder / "stimulus.zarr"
        # One array for all: many small ones would fragment the memory, and the buffers of a video's frames need more.
        self._kept = np.empty((CHUNK_FRAMES, len(positions)), np.float32)
        self._n_kept, self._n_written = 0, 0
        self._stimulus: Any = None
        self.lowest, self.highest = np.inf, -np.inf

    @property
    def n_frames(self) -> int:
        """How many frames were added."""
        return self._n_written + self._n_kept

    def add(self, frames: np.ndarray) -> None:
        """Add the next n frames, (n, n_neurons) float32."""
        self.lowest, self.highest = min(self.lowest, float(frames.min())), max(self.highest, float(frames.max()))
        while len(frames):
            free = self._kept[self._n_kept :][: len(frames)]
            free[...] = frames[: len(free)]
            self._n_kept += len(free)
            frames = frames[len(free) :]
            if self._n_kept == CHUNK_FRAMES:
                self._flush()

    def close(self) -> None:
        """Write the frames that are still in memory."""
        if self._n_kept:
            self._flush()

    def stretch(self) -> None:
        """Rescale all values, so that the lowest is 0 and the highest 1. It is called after `close`."""
        for start in range(0, self._n_written, CHUNK_FRAMES):
            rows = slice(start, start + CHUNK_FRAMES)
            self._stimulus[rows] = (self._stimulus[rows] - self.lowest) / (self.highest - self.lowest)

    def _flush(self) -> None:
        kept = self._kept[: self._n_kept]
        shape = (self._n_written + len(kept), kept.shape[1])
        if self._stimulus is None:
            self._stimulus = _array(self._path, shape, len(kept))
        self._stimulus.resize(shape)
        self._stimulus[self._n_written :] = kept
        self._n_written, self._n_kept = shape[0], 0


@contextmanager
def new_field(folder: Path, positions: np.ndarray, what: str) -> Iterator[FieldWriter]:
    """A writer of the field in `folder`, with positions (n_neurons, 2) float32.

    The folder appears, by a rename, when the `with` block has ended without an error. Where several processes make it
    at once, the first one's folder stays, and the others go on without an error. Raises OutputError, whose message
    calls the field `what`, where the folder cannot be written or is not empty.
    """
    folder = folder.absolute()
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    try:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise OutputError(f"{what} needs a folder that is new or empty, got {folder}")
        unfinished.mkdir(parents=True)
        writer = FieldWriter(unfinished, positions)
        yield writer
        writer.close()
        try:
            os.rename(unfinished, folder)
        except OSError:
            if not (folder / "stimulus.zarr").is_dir():  # there if another process was first
                raise
    except OSError as error:
        raise OutputError(f"{what} must be writable, got {folder}: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


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
