"""Makes small data for tests: zarr stores with a smooth pattern that moves over the hexagonal lattice, and a video."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import zarr
from numcodecs import Blosc  # type: ignore[import-untyped]
from zarr.codecs import ZstdCodec


def lattice(n_columns: int) -> np.ndarray:
    """Positions (n_columns, 2) float32 of the columns nearest the centre of a hexagonal lattice of spacing 1."""
    extent = int(np.ceil(np.sqrt(n_columns / 3))) + 1
    u, v = np.meshgrid(np.arange(-extent, extent + 1), np.arange(-extent, extent + 1), indexing="ij")
    positions = np.stack([(u + v / 2).ravel(), (v * np.sqrt(3) / 2).ravel()], axis=1)
    nearest = np.argsort(np.hypot(*positions.T).round(9), kind="stable")[:n_columns]
    return positions[nearest].astype(np.float32)


def moving_pattern(positions: np.ndarray, n_frames: int, seed: int = 0) -> np.ndarray:
    """Values (n_frames, n_positions) float32 in [0, 1]: six drifting gratings, random direction, wavelength 4 to 16."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_frames)[:, None]
    total = np.zeros((n_frames, len(positions)))
    for _ in range(6):
        angle, wavelength = rng.uniform(0, 2 * np.pi), rng.uniform(4, 16)
        along = positions @ np.array([np.cos(angle), np.sin(angle)])
        total += wavelength * np.sin(2 * np.pi * (along - rng.uniform(0.05, 0.3) * t) / wavelength + angle)
    return (0.5 + 0.5 * total / np.abs(total).max()).astype(np.float32)


def make_field_folder(
    path: Path,
    *,
    n_frames: int = 40,
    n_columns: int = 19,
    n_types: int = 8,
    noise: float = 0.0,
    zarr_format: int = 3,
    chunk_frames: int | None = None,
    seed: int = 0,
) -> Path:
    """Write `stimulus.zarr` (n_frames, n_types * n_columns) and `pos.zarr` under `path`, type by type; returns `path`.

    `noise` is the standard deviation of the noise that is added for each receptor. With n_types=1 all positions differ.
    Format 2 is compressed by blosc-zstd with bit shuffle, format 3 by zstd.
    """
    positions = lattice(n_columns)
    values = np.tile(moving_pattern(positions, n_frames, seed), (1, n_types))
    if noise:
        values = values + np.random.default_rng(seed + 1).normal(0, noise, values.shape).astype(np.float32)
    write_array(path / "stimulus.zarr", values, zarr_format, (chunk_frames or n_frames, values.shape[1]))
    write_array(path / "pos.zarr", np.tile(positions, (n_types, 1)), zarr_format)
    return path


def make_other_units(path: Path, like: Path) -> Path:
    """Write the field of the folder `like` in a camera's units: whole numbers up to 255, positions in pixels.

    Returns `path`.
    """
    values, positions = (np.asarray(zarr.open_array(like / f"{name}.zarr")[...]) for name in ("stimulus", "pos"))
    write_array(path / "stimulus.zarr", np.rint(255 * values).astype(np.uint8))
    write_array(path / "pos.zarr", 32 * positions + np.array([320, 240], np.float32))
    return path


def write_array(path: Path, values: np.ndarray, zarr_format: int = 3, chunks: tuple[int, ...] | None = None) -> None:
    """Write `values` as a zarr array, with all chunks, also empty ones."""
    array = zarr.create_array(
        store=path,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks or values.shape,
        zarr_format=2 if zarr_format == 2 else 3,
        compressors=Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE) if zarr_format == 2 else ZstdCodec(level=3),
        config={"write_empty_chunks": True},
        overwrite=True,
    )
    array[...] = values


def make_film(file: Path) -> Path:
    """Write 1.5 seconds of a moving pattern as a video of 160 x 120 pixels, 20 frames a second; returns `file`."""
    y, x = np.mgrid[:120, :160]
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for k in range(30):
            picture = 128 + 60 * np.sin((x + 3 * k) / 25) + 40 * np.cos((y - 2 * k) / 20)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="gray")))
        container.mux(stream.encode(None))
    return file
