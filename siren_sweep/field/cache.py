"""The cache of a stimulus field: one file with its statistics and targets, which is memory-mapped.

The layout is that of safetensors: the header's length as 8 bytes, little-endian; a JSON header with each array's type,
shape and offset; the arrays, little-endian, in C order. The header is written last, into space reserved for it, since
its content is known only after all frames have been read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from siren_sweep.errors import DataError
from siren_sweep.paths import replacing

_VERSION = 2
_HEADER_BYTES = 4096  # one page, with the 8 bytes of its length, so that the arrays begin on a page
_TYPES: dict[str, np.dtype[Any]] = {"I64": np.dtype("<i8"), "F32": np.dtype("<f4")}


def write_cache(
    file: Path, arrays: Mapping[str, np.ndarray], targets: Iterable[np.ndarray], known: Callable[[], Mapping[str, Any]]
) -> None:
    """Write `arrays` (int64 or float32, of any shape), then `targets`, then what `known` returns, as JSON.

    `targets` yields the rows of one array in blocks (n, n_unique) float32. `known` is called when all are written.

    The file appears whole, by a rename: several processes may write it at once, and the last one's file stays. Raises
    OutputError where the folder cannot be written; no part of a file is left then.
    """
    with replacing(file) as temporary, temporary.open("xb") as out:
        out.seek(_HEADER_BYTES)
        header = {name: _written(out, [array]) for name, array in arrays.items()}
        header["targets"] = _written(out, targets)
        header["__metadata__"] = {"field": json.dumps({"version": _VERSION, **known()})}
        out.seek(0)
        out.write((_HEADER_BYTES - 8).to_bytes(8, "little"))
        out.write(json.dumps(header).encode().ljust(_HEADER_BYTES - 8))
        out.flush()
        os.fsync(out.fileno())  # without it a power cut may leave the renamed file without its values


def _written(out: IO[bytes], blocks: Iterable[np.ndarray]) -> dict[str, Any]:
    """Write the rows of an array in blocks (n, ...); returns the array's entry in the header."""
    start, shape, kind = out.tell() - _HEADER_BYTES, [0], ""
    for block in blocks:
        kind = next(name for name, dtype in _TYPES.items() if dtype == block.dtype)
        out.write(block.astype(_TYPES[kind]).tobytes())
        shape = [shape[0] + len(block), *block.shape[1:]]
    return {"dtype": kind, "shape": shape, "data_offsets": [start, out.tell() - _HEADER_BYTES]}


def read_cache(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays by name, as read-only views of one memory map, and the values that `known` had returned.

    Raises DataError where the file is missing or not whole.
    """
    try:
        mapped = np.memmap(file, dtype=np.uint8, mode="r")
        length = int.from_bytes(mapped[:8].tobytes(), "little")
        header = json.loads(mapped[8 : 8 + length].tobytes())
        known = json.loads(header.pop("__metadata__")["field"])
        if known.pop("version") != _VERSION:
            raise ValueError(f"its version is not {_VERSION}")
        arrays = {}
        for name, entry in header.items():
            start, stop = (8 + length + offset for offset in entry["data_offsets"])
            arrays[name] = mapped[start:stop].view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
        return arrays, known
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} must be a whole cache file of a stimulus field: {error!r}") from error
