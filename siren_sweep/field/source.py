"""A stimulus field as it lies on disk: what is wrong with it, its fingerprint, and its values frame by frame."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from siren_sweep.errors import DataError
from siren_sweep.field.layout import ArrayLayout, ChunkStat, read_layout

BLOCK_FRAMES = 1000  # frames handled at once: bounds the memory of all that streams
_NUMBERS = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
# Which setting rules how many there must be.
_RULED_BY = {
    "frames": "; training.n_training_frames says how many, and in a sweep n_training_frames of blocks.schedule",
    "columns": "; dataset.n_input_neurons says how many",
    "positions": "; dataset.n_input_neurons says how many",
    "coordinates": "",
}
_N_TOLD = 3  # names told of many missing chunks


class FieldSource:
    """The first `n_frames` frames and `n_neurons` columns of `stimulus.zarr`, and their positions in `pos.zarr`.

    Opening it reads no values; it raises one DataError with every fault that can be seen without them. `fingerprint`
    changes whenever a chunk file in use is written again: it covers names, sizes, times of change, and the metadata.
    """

    def __init__(self, path: Path, n_frames: int, n_neurons: int) -> None:
        _check_folder(path)
        self.n_frames, self.n_neurons = n_frames, n_neurons
        stimulus, stimulus_chunks, faults = _inspect(path / "stimulus.zarr", n_frames, n_neurons, "frames", "columns")
        pos, pos_chunks, pos_faults = _inspect(path / "pos.zarr", n_neurons, 2, "positions", "coordinates")
        faults += pos_faults
        if stimulus and pos and pos.shape[:1] != stimulus.shape[1:2]:
            faults.append(
                f"{pos.path} must have one row for each column of stimulus.zarr, {stimulus.shape}, got {pos.shape}"
            )
        if stimulus is None or pos is None or faults:
            raise _told(path, faults)
        self._stimulus, self._pos = stimulus, pos
        said = [n_frames, n_neurons, stimulus.metadata.decode(), stimulus_chunks, pos.metadata.decode(), pos_chunks]
        self.fingerprint = hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def positions(self) -> np.ndarray:
        """(n_neurons, 2) float32; DataError where one is not finite."""
        positions = _read(self._pos, 0, self.n_neurons, 2)
        finite = np.isfinite(positions).all(axis=1)
        if not finite.all():
            neuron = int(np.argmin(finite))
            raise DataError(
                f"{self._pos.path} must hold finite positions, got {positions[neuron].tolist()} for neuron {neuron}"
            )
        return positions

    def frame(self, frame: int) -> np.ndarray:
        """One frame, (n_neurons,) float32 as stored."""
        (values,) = _read(self._stimulus, frame, frame + 1, self.n_neurons)
        return np.asarray(values)

    def blocks(self) -> Iterator[np.ndarray]:
        """(up to BLOCK_FRAMES, n_neurons) float32, in order; each chunk is unpacked once. DataError at a NaN or inf."""
        rows = (self._stimulus.inner or self._stimulus.chunks)[0]
        step = rows * math.ceil(BLOCK_FRAMES / rows)
        for start in range(0, self.n_frames, step):
            values = _read(self._stimulus, start, min(start + step, self.n_frames), self.n_neurons)
            finite = np.isfinite(values)
            if not finite.all():
                frame, neuron = np.unravel_index(int(np.argmin(finite)), finite.shape)
                raise DataError(
                    f"{self._stimulus.path} must hold finite values, got {values[frame, neuron]} "
                    f"in frame {start + frame} of neuron {neuron}"
                )
            for first in range(0, len(values), BLOCK_FRAMES):
                yield values[first : first + BLOCK_FRAMES]


def _check_folder(path: Path) -> None:
    try:
        if not path.is_dir():
            wrong = "it is a file" if path.exists() else "it does not exist"
        else:
            wrong = "" if any(path.iterdir()) else "it is empty"
    except OSError as error:
        wrong = f"it cannot be read: {error}"
    if wrong:
        raise DataError(f"dataset.path must be a folder that holds stimulus.zarr and pos.zarr, got {path}: {wrong}")


def _told(path: Path, faults: list[str]) -> DataError:
    if len(faults) == 1:
        return DataError(faults[0])
    return DataError(f"{len(faults)} faults in the data at {path}:\n" + "\n".join(f"  - {fault}" for fault in faults))


def _inspect(
    path: Path, n_rows: int, n_columns: int, rows: str, columns: str
) -> tuple[ArrayLayout | None, list[ChunkStat], list[str]]:
    """The array's layout, the chunk files that hold its first rows and columns, and every fault."""
    try:
        layout = read_layout(path)
    except DataError as fault:
        return None, [], [str(fault)]
    faults = []
    if layout.dtype not in _NUMBERS:
        faults.append(
            f"{path} must be of numbers ({', '.join(_NUMBERS)}), got {layout.dtype}; write it as one of these, as by "
            'zarr.save_array(PATH, array[:].astype("float32"))'
        )
    if len(layout.shape) != 2:
        return layout, [], [*faults, f"{path} must have 2 dimensions ({rows}, {columns}), got the shape {layout.shape}"]
    for needed, n, what in ((n_rows, layout.shape[0], rows), (n_columns, layout.shape[1], columns)):
        if n < needed or (what == "coordinates" and n != needed):
            least = "" if what == "coordinates" else "at least "
            faults.append(f"{path} must have {least}{needed} {what}, got {n}{_RULED_BY[what]}")
    try:
        found, missing = layout.stat_chunks((min(n_rows, layout.shape[0]), min(n_columns, layout.shape[1])))
    except OSError as error:
        return layout, [], [*faults, f"{path} cannot be read: {error}"]
    if missing:
        names = ", ".join(missing[:_N_TOLD]) + (", ..." if len(missing) > _N_TOLD else "")
        faults.append(
            f"{path} must have every chunk that holds values in use, {len(missing)} missing: {names} (zarr would read "
            "its fill value there; an array that was written without its empty chunks must be written with them)"
        )
    return layout, found, faults


def _read(layout: ArrayLayout, start: int, stop: int, n_columns: int) -> np.ndarray:
    """(stop - start, n_columns) float32 as stored; DataError, naming the chunk, where one cannot be unpacked, and
    where a whole number would be rounded."""
    import zarr  # here, so that a field opened from its cache does without

    try:
        array: Any = zarr.open_array(layout.path, mode="r")
    except Exception as error:  # codecs and zarr's parser raise what they like
        raise DataError(f"{layout.path} cannot be opened: {type(error).__name__}: {error}") from error
    try:
        for _, name in layout.used_chunks((stop, n_columns), start):
            layout.check_blosc(name)
        values = array[start:stop, :n_columns]
    except Exception as error:
        name = _broken_chunk(array, layout, start, stop, n_columns)
        raise DataError(f"{layout.path}: {name} cannot be read: {type(error).__name__}: {error}") from error
    with np.errstate(over="ignore"):  # beyond float32: becomes infinite, and is told as that
        read = np.ascontiguousarray(values, dtype=np.float32)
    whole = read.astype(np.float64) if np.issubdtype(values.dtype, np.integer) else None
    if whole is not None and not (same := (whole == values) & (abs(whole) < 2**53)).all():
        row, column = np.unravel_index(int(np.argmin(same)), same.shape)
        raise DataError(
            f"{layout.path} must hold whole numbers that float32 holds exactly (all up to 2**24 do), got "
            f"{values[row, column]} in row {start + row}, column {column}; scale them, or write them as floats"
        )
    return read


def _broken_chunk(array: Any, layout: ArrayLayout, start: int, stop: int, n_columns: int) -> str:
    rows, columns = layout.chunks
    for (row, column), name in layout.used_chunks((stop, n_columns), start):
        part = slice(max(start, row * rows), (row + 1) * rows), slice(column * columns, (column + 1) * columns)
        try:
            layout.check_blosc(name)
            array[part]
        except Exception:
            return f"chunk {name}"
    return f"frames {start} to {stop - 1}"
