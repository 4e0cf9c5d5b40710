"""Arrays on disk, read by rows: zarr arrays, `.npy` and `.npz` files, HDF5 data sets."""

from __future__ import annotations

import itertools
import math
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np

from siren_sweep.errors import DataError
from siren_sweep.field.layout import ArrayLayout, read_layout

HDF5 = (".h5", ".hdf5")
FILES = (".npy", ".npz", *HDF5)  # endings of the files that `find_array` takes in place of a folder
_N_TOLD = 3  # missing chunks that a message names


class StoredArray(ABC):
    """An array that is read by rows. Opening it reads no values, and raises DataError where there is no array."""

    path: str  # as messages name it
    shape: tuple[int, ...]
    dtype: str  # numpy's name of it, without the byte order
    rows_at_once: int  # rows that are unpacked together

    @abstractmethod
    def inspect(self, n_rows: int, n_columns: int) -> tuple[list[Any], list[str]]:
        """JSON values that change when the first rows and columns are written again; messages about missing chunks."""

    @abstractmethod
    def read(self, start: int, stop: int, n_columns: int) -> np.ndarray:
        """(stop - start, n_columns) in the stored type. Raises DataError, with the place, where it cannot be read."""


def find_array(path: Path, name: str) -> StoredArray:
    """The array `name` of the data at `path`. Raises DataError where there is none.

    `path` is a folder with NAME.zarr or NAME.npy, or a `.npz` or HDF5 file that holds NAME. It may also be the stimulus
    itself as a `.npy` file; the other array is then NAME.npy beside it.
    """
    if path.suffix == ".npz":
        return NpzArray(path, name)
    if path.suffix in HDF5:
        return Hdf5Array(path, name)
    if path.suffix == ".npy" and path.is_file():
        return NpyArray(path if name == "stimulus" else path.with_name(f"{name}.npy"))
    if (path / f"{name}.npy").exists() and not (path / f"{name}.zarr").exists():
        return NpyArray(path / f"{name}.npy")
    return ZarrArray(path / f"{name}.zarr")


class ZarrArray(StoredArray):
    """An array of zarr format 2 or 3. Every chunk that is read must be there."""

    def __init__(self, path: Path) -> None:
        self._layout: ArrayLayout = read_layout(path)
        self.path, self.shape, self.dtype = str(path), self._layout.shape, self._layout.dtype
        self.rows_at_once = (self._layout.inner or self._layout.chunks or (1,))[0]

    def inspect(self, n_rows: int, n_columns: int) -> tuple[list[Any], list[str]]:
        try:
            found, missing = self._layout.stat_chunks((n_rows, n_columns))
        except OSError as error:
            return [], [f"{self.path} cannot be read: {error}"]
        said = [self._layout.metadata.decode(), found]
        return said, [
            f"{_missing(self.path, missing)}; an array that was written without its empty chunks must be "
            "written with them)"
        ] if missing else []

    def read(self, start: int, stop: int, n_columns: int) -> np.ndarray:
        import zarr  # here, so that a field can be opened from its cache without zarr

        try:
            array: Any = zarr.open_array(self._layout.path, mode="r")
        except Exception as error:  # zarr's parser and codecs raise exceptions of many types
            raise DataError(f"{self.path} cannot be opened: {type(error).__name__}: {error}") from error
        try:
            for _, name in self._layout.used_chunks((stop, n_columns), start):
                self._layout.check_blosc(name)
            return np.asarray(array[start:stop, :n_columns])
        except Exception as error:
            name = self._broken_chunk(array, start, stop, n_columns)
            raise DataError(f"{self.path}: {name} cannot be read: {type(error).__name__}: {error}") from error

    def _broken_chunk(self, array: Any, start: int, stop: int, n_columns: int) -> str:
        rows, columns = self._layout.chunks
        for (row, column), name in self._layout.used_chunks((stop, n_columns), start):
            part = slice(max(start, row * rows), (row + 1) * rows), slice(column * columns, (column + 1) * columns)
            try:
                self._layout.check_blosc(name)
                array[part]
            except Exception:
                return f"chunk {name}"
        return f"frames {start} to {stop - 1}"


class _FileArray(StoredArray):
    """One array in one file."""

    rows_at_once = 1

    def __init__(self, path: Path, name: str) -> None:
        self._file, self._name, self.path = path, name, f"{path}: {name}" if name else str(path)
        array = self._tried(self._opened)
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype).name

    def inspect(self, n_rows: int, n_columns: int) -> tuple[list[Any], list[str]]:
        stat = self._tried(self._file.stat)
        return [self._name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns], []

    def read(self, start: int, stop: int, n_columns: int) -> np.ndarray:
        return np.asarray(self._tried(lambda: self._rows(start, stop)[:, :n_columns]))

    @abstractmethod
    def _opened(self) -> Any:
        """An object with the array's `shape` and `dtype`."""

    @abstractmethod
    def _rows(self, start: int, stop: int) -> Any:
        """Rows start, ..., stop - 1 with all columns."""

    def _tried(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except (OSError, ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self.path} cannot be read: {type(error).__name__}: {error}") from error


class NpyArray(_FileArray):
    """A `.npy` file, memory-mapped."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "")

    def _opened(self) -> Any:
        return np.lib.format.open_memmap(self._file, mode="r")

    def _rows(self, start: int, stop: int) -> Any:
        return self._opened()[start:stop]


class NpzArray(_FileArray):
    """An array of a `.npz` file, unpacked as a stream. An array in Fortran order is read whole."""

    def __init__(self, path: Path, name: str) -> None:
        self._stream: IO[bytes] | None = None
        self._row, self._whole = 0, np.empty(0)
        super().__init__(path, name)

    def _opened(self) -> NpzArray:
        with zipfile.ZipFile(self._file) as archive:
            if f"{self._name}.npy" not in archive.namelist():
                found = ", ".join(sorted(name.removesuffix(".npy") for name in archive.namelist()))
                raise DataError(f"{self._file} must hold an array {self._name}, got {found or 'none'}")
            self._stream, self._row = archive.open(f"{self._name}.npy"), 0  # it keeps the archive open
        version = np.lib.format.read_magic(self._stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, fortran, self._type = header(self._stream)
        self.dtype = self._type.name
        if fortran and len(self.shape) > 1:
            self._whole = np.load(self._file, allow_pickle=False)[self._name]
        return self

    def _rows(self, start: int, stop: int) -> np.ndarray:
        if self._whole.size:
            return np.asarray(self._whole[start:stop])
        if self._stream is None or start < self._row:
            self._opened()
        assert self._stream is not None
        width = math.prod(self.shape[1:])
        self._stream.seek((start - self._row) * width * self._type.itemsize, 1)
        values = self._stream.read((stop - start) * width * self._type.itemsize)
        self._row = stop
        return np.frombuffer(values, self._type).reshape(stop - start, *self.shape[1:])


class Hdf5Array(_FileArray):
    """A data set at the top level of an HDF5 file, read by h5py."""

    def _opened(self) -> Any:
        with self._h5() as file:
            array = file.get(self._name)
            if not hasattr(array, "dtype"):
                found = ", ".join(sorted(file))
                raise DataError(f"{self._file} must hold a data set {self._name}, got {found or 'none'}")
            self.rows_at_once = array.chunks[0] if array.chunks else 1
            self._chunks, self._unwritten = array.chunks, array.id.get_storage_size() == 0
            return SimpleNamespace(shape=array.shape, dtype=array.dtype)

    def inspect(self, n_rows: int, n_columns: int) -> tuple[list[Any], list[str]]:
        said, _ = super().inspect(n_rows, n_columns)
        missing = ["all"] if self._unwritten else []
        if self._chunks and not self._unwritten:
            with self._h5() as file:
                ids = file[self._name].id
                starts = [range(0, n, step) for n, step in zip((n_rows, n_columns), self._chunks, strict=True)]
                missing = [
                    ".".join(str(n // step) for n, step in zip(at, self._chunks, strict=True))
                    for at in itertools.product(*starts)
                    if ids.get_chunk_info_by_coord(at).byte_offset is None
                ]
        return said, [f"{_missing(self.path, missing)})"] if missing else []

    def _rows(self, start: int, stop: int) -> Any:
        with self._h5() as file:
            return file[self._name][start:stop]

    def _h5(self) -> Any:
        try:
            import h5py
        except ImportError:
            raise DataError(f"{self._file} is an HDF5 file, which h5py reads: pip install h5py") from None
        return h5py.File(self._file, "r")


def _missing(path: str, names: list[str]) -> str:
    told = ", ".join(names[:_N_TOLD]) + (", ..." if len(names) > _N_TOLD else "")
    return (
        f"{path} must have every chunk that holds values in use, {len(names)} missing: {told} (its fill value would be "
        "read there"
    )
