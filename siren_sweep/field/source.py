"""A stimulus field on disk: checks it, computes its fingerprint, and reads its values frame by frame."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from siren_sweep.errors import DataError, together
from siren_sweep.field.arrays import FILES, StoredArray, find_array
from siren_sweep.field.layout import refuse_zipped

BLOCK_FRAMES = 1000  # frames read at once; bounds the memory of a pass over all frames
_NUMBERS = ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
_DIMENSIONS = {"stimulus": ("frames", "columns"), "pos": ("positions", "coordinates")}
# The setting that says how many there must be.
_RULED_BY = {
    "frames": "; training.n_training_frames says how many, and in a sweep n_training_frames of blocks.schedule",
    "columns": "; dataset.n_input_neurons says how many",
    "positions": "; dataset.n_input_neurons says how many",
    "coordinates": "",
}


class FieldSource:
    """The first `n_frames` frames and `n_neurons` columns of a stimulus, and their positions; see `find_array`.

    Opening it reads no values. It raises one DataError with every fault that can be found without them. `fingerprint`
    changes whenever a file in use is written again: it is a hash of names, sizes, times of change, and the metadata.
    """

    def __init__(self, path: Path, n_frames: int, n_neurons: int) -> None:
        _check_path(path)
        self.n_frames, self.n_neurons = n_frames, n_neurons
        stimulus, stimulus_said, faults = _inspect(path, "stimulus", n_frames, n_neurons)
        pos, pos_said, pos_faults = _inspect(path, "pos", n_neurons, 2)
        faults += pos_faults
        if stimulus and pos and pos.shape[:1] != stimulus.shape[1:2]:
            faults.append(
                f"{pos.path} must have one row for each column of {Path(stimulus.path).name}, {stimulus.shape}, "
                f"got {pos.shape}"
            )
        if stimulus is None or pos is None or faults:
            raise DataError(together(faults, f"the data at {path}"))
        self._stimulus, self._pos = stimulus, pos
        said = json.dumps([n_frames, n_neurons, *stimulus_said, *pos_said])
        self.fingerprint = hashlib.sha256(said.encode()).hexdigest()

    def positions(self) -> np.ndarray:
        """(n_neurons, 2) float32, in the data's unit. Raises DataError where one is not finite."""
        positions = _read(self._pos, 0, self.n_neurons, 2)
        finite = np.isfinite(positions).all(axis=1)
        if not finite.all():
            neuron = int(np.argmin(finite))
            raise DataError(
                f"{self._pos.path} must hold finite positions, got {positions[neuron].tolist()} for neuron {neuron}"
            )
        return positions

    def frame(self, frame: int) -> np.ndarray:
        """One frame (n_neurons,) float32, in the data's unit. Raises DataError where it cannot be read."""
        (values,) = _read(self._stimulus, frame, frame + 1, self.n_neurons)
        return np.asarray(values)

    def left_out(self) -> str | None:
        """A message where the first frame has values other than 0 in columns that are not read; else None."""
        n_columns = self._stimulus.shape[1]
        try:
            if n_columns == self.n_neurons or not _read(self._stimulus, 0, 1, n_columns)[0, self.n_neurons :].any():
                return None
        except DataError:  # in columns that are not used
            return None
        return (
            f"{self._stimulus.path} has {n_columns} columns with values, and dataset.n_input_neurons={self.n_neurons} "
            f"reads the first {self.n_neurons}; dataset.n_input_neurons={n_columns} reads all"
        )

    def blocks(self) -> Iterator[np.ndarray]:
        """All frames in order, in blocks (up to BLOCK_FRAMES, n_neurons) float32; each chunk is unpacked once.

        Raises DataError at the first value that is not finite or cannot be read.
        """
        rows = self._stimulus.rows_at_once
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


def frames_in(path: Path) -> int:
    """How many frames the stimulus at `path` has; no value is read. Raises DataError where there is none."""
    _check_path(path)
    shape = find_array(path, "stimulus").shape
    if not shape:
        raise DataError(f"the stimulus at {path} must have 2 dimensions (frames, columns), got the shape {shape}")
    return shape[0]


def _check_path(path: Path) -> None:
    """Raises DataError where `path` is no folder or file that can hold a field."""
    try:
        if not path.is_dir() and path.suffix not in FILES:
            refuse_zipped(path)
        if path.is_file():
            wrong = "" if path.suffix in FILES else "it is a file"
        elif not path.is_dir():
            wrong = "it does not exist"
        else:
            wrong = "" if any(path.iterdir()) else "it is empty"
    except OSError as error:
        wrong = f"it cannot be read: {error}"
    if wrong:
        raise DataError(
            f"dataset.path must be a folder that holds stimulus.zarr and pos.zarr, got {path}: {wrong} (a folder with "
            "stimulus.npy and pos.npy, and a .npz, .h5 or .hdf5 file with arrays of these names, serve as well)"
        )


def _inspect(path: Path, name: str, n_rows: int, n_columns: int) -> tuple[StoredArray | None, list[Any], list[str]]:
    """The array, the values for its fingerprint, and every fault of its first rows and columns."""
    try:
        array = find_array(path, name)
    except DataError as fault:
        return None, [], [str(fault)]
    rows, columns = _DIMENSIONS[name]
    faults = []
    if array.dtype not in _NUMBERS:
        faults.append(
            f"{array.path} must be of numbers ({', '.join(_NUMBERS)}), got {array.dtype}; write it as one of these, as "
            'by zarr.save_array(PATH, array[:].astype("float32"))'
        )
    if len(array.shape) != 2:
        return (
            array,
            [],
            [*faults, f"{array.path} must have 2 dimensions ({rows}, {columns}), got the shape {array.shape}"],
        )
    for needed, n, what in ((n_rows, array.shape[0], rows), (n_columns, array.shape[1], columns)):
        if n < needed or (what == "coordinates" and n != needed):
            least = "" if what == "coordinates" else "at least "
            faults.append(f"{array.path} must have {least}{needed} {what}, got {n}{_RULED_BY[what]}")
    said, missing = array.inspect(min(n_rows, array.shape[0]), min(n_columns, array.shape[1]))
    return array, said, faults + missing


def _read(array: StoredArray, start: int, stop: int, n_columns: int) -> np.ndarray:
    """(stop - start, n_columns) float32. Raises DataError where that would round a whole number."""
    values = array.read(start, stop, n_columns)
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, and is reported so
        read = np.ascontiguousarray(values, dtype=np.float32)
    whole = read.astype(np.float64) if np.issubdtype(values.dtype, np.integer) else None
    if whole is not None and not (same := (whole == values) & (abs(whole) < 2**53)).all():
        row, column = np.unravel_index(int(np.argmin(same)), same.shape)
        raise DataError(
            f"{array.path} must hold whole numbers that float32 holds exactly (all up to 2**24 do), got "
            f"{values[row, column]} in row {start + row}, column {column}; scale them, or write them as floats"
        )
    return read
