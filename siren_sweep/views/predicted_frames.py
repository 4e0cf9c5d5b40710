"""Writes the frames that a model predicts as a stimulus: a `.npz` file, or zarr stores that can be read as data."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from siren_sweep.field.writer import CHUNK_FRAMES, new_field
from siren_sweep.paths import replacing
from siren_sweep.train.model import Model


def write_npz(model: Model, file: Path) -> None:
    """Write `stimulus` (n_frames, n_neurons) and `pos` (n_neurons, 2), float32, a few frames at a time."""
    n_frames, n_neurons = model.data.n_training_frames, len(model.positions)
    with (
        replacing(file) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
    ):
        for name, shape, parts in (
            ("stimulus", (n_frames, n_neurons), _blocks(model)),
            ("pos", model.positions.shape, iter([model.positions])),
        ):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as out:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(out, header)
                for part in parts:
                    out.write(np.ascontiguousarray(part, "<f4").tobytes())


def write_zarr(model: Model, folder: Path) -> None:
    """Write `stimulus.zarr` (n_frames, n_neurons) and `pos.zarr` (n_neurons, 2); what the folder held is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    with new_field(folder, model.positions, "a model's frames") as writer:
        for block in _blocks(model):
            writer.add(block)


def _blocks(model: Model) -> Iterator[np.ndarray]:
    n_frames = model.data.n_training_frames
    for start in range(0, n_frames, CHUNK_FRAMES):
        yield model.frames(start, min(start + CHUNK_FRAMES, n_frames))
