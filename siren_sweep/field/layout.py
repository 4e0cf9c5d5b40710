"""The files that hold a zarr array's values, found from the array's metadata without zarr.

zarr reads a missing chunk as the fill value and gives no warning, so this module checks that each chunk's file exists.
Formats: zarr specification 2 (`.zarray`), zarr core specification 3 (`zarr.json`) and its sharding codec 1.0.
"""

from __future__ import annotations

import itertools
import json
import math
import shlex
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from siren_sweep.errors import DataError

ChunkStat = tuple[str, int, int, int]
"""A chunk's file: name, size in bytes, mtime, ctime (ns). An archive or a copy may set mtime; nothing sets ctime."""


@dataclass(frozen=True)
class ArrayLayout:
    """The layout of one array. `chunks` is the shape of the part in one file; where the files are shards, `inner` is
    the shape of a chunk within one."""

    path: Path
    metadata: bytes
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    inner: tuple[int, ...] | None
    index_at_start: bool
    blosc: bool
    key_prefix: tuple[str, ...]
    separator: str

    def __post_init__(self) -> None:
        """Raises ValueError where the metadata's values are no valid layout."""
        inner = self.inner or self.chunks
        if not all(isinstance(n, int) and n >= 0 for n in self.shape):
            raise ValueError(f"the shape must be of whole numbers, got {self.shape}")
        if not all(isinstance(n, int) and n > 0 for n in (*self.chunks, *inner)):
            raise ValueError(f"chunks must be of whole numbers above 0, got {self.chunks} and {inner}")
        if not len(self.shape) == len(self.chunks) == len(inner):
            raise ValueError(
                f"shape and chunks must have as many dimensions, got {self.shape}, {self.chunks} and {inner}"
            )
        if self.separator not in ("/", "."):
            raise ValueError(f"the separator in chunk keys must be / or ., got {self.separator!r}")

    def used_chunks(self, extent: Sequence[int], first_row: int = 0) -> Iterator[tuple[tuple[int, ...], str]]:
        """The grid coordinates and file name of each chunk that overlaps [first_row:extent[0], 0:extent[1], ...]."""
        grid = [range(math.ceil(n / chunk)) for n, chunk in zip(extent, self.chunks, strict=True)]
        grid[0] = grid[0][first_row // self.chunks[0] :]
        for coordinates in itertools.product(*grid):
            yield coordinates, self.separator.join([*self.key_prefix, *map(str, coordinates)])

    def stat_chunks(self, extent: Sequence[int]) -> tuple[list[ChunkStat], list[str]]:
        """The `used_chunks` of `extent` that exist, and the names of those that are missing."""
        found: list[ChunkStat] = []
        missing: list[str] = []
        for coordinates, name in self.used_chunks(extent):
            if not (self.path / name).is_file():
                missing.append(name)
                continue
            stat = (self.path / name).stat()
            found.append((name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
            missing += [f"{name} ({what})" for what in self._missing_in_shard(coordinates, name, extent)]
        return found, missing

    def check_blosc(self, name: str) -> None:
        """Raises ValueError where a chunk's file has another length than its blosc header says.

        blosc itself gives no error for a truncated chunk: it unpacks whatever lies in memory after it.
        """
        if not self.blosc:
            return
        with (self.path / name).open("rb") as chunk:
            header, n_bytes = chunk.read(16), chunk.seek(0, 2)
        said = int.from_bytes(header[12:], "little")  # blosc 1 header: the last of its fields is cbytes
        if said != n_bytes:
            raise ValueError(f"its blosc header says {said} bytes, it has {n_bytes}")

    def _missing_in_shard(self, coordinates: tuple[int, ...], name: str, extent: Sequence[int]) -> list[str]:
        """The inner chunks that overlap `extent` and that the shard's index calls unwritten, or "truncated"."""
        if self.inner is None:
            return []
        per_shard = [n // inner for n, inner in zip(self.chunks, self.inner, strict=True)]
        index_bytes = 16 * math.prod(per_shard)  # offset and length of each inner chunk, little-endian uint64
        with (self.path / name).open("rb") as shard:
            if not self.index_at_start:
                shard.seek(max(0, shard.seek(0, 2) - index_bytes - 4))  # 4: the CRC32C that follows
            index = shard.read(index_bytes)
            n_bytes = shard.seek(0, 2)
        if len(index) < index_bytes:
            return ["truncated"]
        offsets, lengths = np.moveaxis(np.frombuffer(index, "<u8").reshape(*per_shard, 2), -1, 0)
        unwritten = offsets == np.iinfo(np.uint64).max
        if (~unwritten & (offsets + lengths.astype(float) > n_bytes)).any():
            return ["truncated"]
        used = tuple(
            slice(max(0, math.ceil((n - at * chunk) / inner)))
            for n, at, chunk, inner in zip(extent, coordinates, self.chunks, self.inner, strict=True)
        )
        return ["inner chunk " + ".".join(map(str, at)) for at in np.argwhere(unwritten[used])]


def read_layout(path: Path) -> ArrayLayout:
    """The layout of the zarr array at `path`. Raises DataError where there is none, or its metadata cannot be read."""
    try:
        if not path.is_dir():
            refuse_zipped(path)
            raise DataError(f"{path} must be a zarr array: {'it is a file' if path.exists() else 'it does not exist'}")
        file = next((path / name for name in ("zarr.json", ".zarray") if (path / name).is_file()), None)
        if file is None:
            raise DataError(f"{path} must be a zarr array: it holds neither zarr.json nor .zarray")
        metadata = file.read_bytes()
        values = json.loads(metadata)
        if values.get("node_type", "array") != "array":
            raise DataError(f"{path} must be a zarr array: it is a {values['node_type']}")
        return (_layout_2 if file.name == ".zarray" else _layout_3)(path, metadata, values)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{path} has metadata that cannot be read: {type(error).__name__}: {error}") from error


def refuse_zipped(folder: Path) -> None:
    """Raises DataError, with the command that unpacks it, where `folder` is a zip file or FOLDER.zip lies beside it."""
    beside = folder.with_name(f"{folder.name}.zip")
    zipped = next((file for file in (folder, beside) if zipfile.is_zipfile(file)), None)
    if zipped is not None:
        source, target = (shlex.quote(str(path)) for path in (beside, folder))
        move = f"mv {target} {source} && " if zipped == folder else ""
        raise DataError(
            f"{folder} must be a folder, got the zip file {zipped}: {move}python -m zipfile -e {source} {target}"
        )


def _layout_2(path: Path, metadata: bytes, values: dict[str, Any]) -> ArrayLayout:
    return ArrayLayout(
        path=path,
        metadata=metadata,
        shape=tuple(values["shape"]),
        dtype=np.dtype(values["dtype"]).name,
        chunks=tuple(values["chunks"]),
        inner=None,
        index_at_start=False,
        blosc=(values.get("compressor") or {}).get("id") == "blosc",
        key_prefix=(),
        separator=values.get("dimension_separator", "."),
    )


def _layout_3(path: Path, metadata: bytes, values: dict[str, Any]) -> ArrayLayout:
    if values["chunk_grid"]["name"] != "regular":
        raise DataError(f"{path} must have a regular chunk grid, got {values['chunk_grid']['name']!r}")
    encoding, codecs = values["chunk_key_encoding"], values["codecs"]
    default_keys = encoding["name"] == "default"
    shard = codecs[0]["configuration"] if codecs[0]["name"] == "sharding_indexed" else None
    if shard and [codec["name"] for codec in shard["index_codecs"]] != ["bytes", "crc32c"]:
        raise DataError(f"{path} must have shard indexes of bytes with a crc32c, got {shard['index_codecs']}")
    return ArrayLayout(
        path=path,
        metadata=metadata,
        shape=tuple(values["shape"]),
        dtype=str(values["data_type"]),
        chunks=tuple(values["chunk_grid"]["configuration"]["chunk_shape"]),
        inner=tuple(shard["chunk_shape"]) if shard else None,
        index_at_start=shard is not None and shard.get("index_location") == "start",
        blosc=codecs[-1]["name"] == "blosc",
        key_prefix=("c",) if default_keys else (),
        separator=encoding.get("configuration", {}).get("separator", "/" if default_keys else "."),
    )
