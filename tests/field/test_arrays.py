"""Data as people have them: arrays of any number type and byte order, in files of several kinds."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from fields import lattice, moving_pattern, write_array

from siren_sweep.errors import DataError
from siren_sweep.field import StimulusField, open_field
from siren_sweep.field.source import FieldSource

N_FRAMES, N_NEURONS = 1300, 38  # more than one block of frames
POSITIONS = np.tile(lattice(19), (2, 1))
VALUES = np.tile(moving_pattern(lattice(19), N_FRAMES), (1, 2))
COUNTS = np.rint(255 * VALUES)
FORMS = ["folder of npy", "npy", "npz", "npz, packed", "npz, Fortran", "npy, Fortran", "h5", "h5, chunked"]


def opened(path: Path, cache: Path | None = None) -> StimulusField:
    return open_field(path, n_frames=N_FRAMES, n_input_neurons=N_NEURONS, cache_dir=cache)


def written(folder: Path, form: str, values: np.ndarray = VALUES) -> Path:
    """The data in a form; returns what `dataset.path` is to be."""
    values = np.asfortranarray(values) if "Fortran" in form else values
    if form.startswith("npz"):
        (np.savez_compressed if "packed" in form else np.savez)(folder / "data.npz", stimulus=values, pos=POSITIONS)
        return folder / "data.npz"
    if form.startswith("h5"):
        with h5py.File(folder / "data.h5", "w") as file:
            file.create_dataset("stimulus", data=values, chunks=(100, 20) if "chunked" in form else None)
            file["pos"] = POSITIONS
        return folder / "data.h5"
    name = "stimulus" if "folder" in form else "mine"
    np.save(folder / f"{name}.npy", values)
    np.save(folder / "pos.npy", POSITIONS)
    return folder if "folder" in form else folder / "mine.npy"


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the data as zarr stores."""
    folder = tmp_path_factory.mktemp("stores")
    write_array(folder / "stimulus.zarr", VALUES)
    write_array(folder / "pos.zarr", POSITIONS)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_field_of_the_zarr_stores(form: str, stores: Path, tmp_path: Path) -> None:
    path, whole = written(tmp_path, form), opened(stores)
    field = opened(path, tmp_path / "cache")
    assert field.data_hash == whole.data_hash
    np.testing.assert_array_equal(field.targets, whole.targets)
    source = FieldSource(path, N_FRAMES, N_NEURONS)
    for frame in (700, 3, 1299):  # forwards and back
        np.testing.assert_array_equal(source.frame(frame), VALUES[frame])
    few = open_field(path, n_frames=7, n_input_neurons=19, cache_dir=None)
    np.testing.assert_array_equal(few.targets, VALUES[:7, :19])


@pytest.mark.parametrize("form", ["npy", "npz, packed", "h5"])
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", ">u4", "i8", "<f2", ">f2", ">f4", ">f8"])
def test_numbers_of_any_kind_and_byte_order_are_read_as_they_are(form: str, dtype: str, tmp_path: Path) -> None:
    field = opened(written(tmp_path, form, COUNTS.astype(dtype)))
    np.testing.assert_array_equal(field.targets[:, field.inverse], COUNTS)
    assert field.scaling.spread == pytest.approx(COUNTS.std(), rel=1e-6)


@pytest.mark.parametrize(("dtype", "zarr_format"), [("<f2", 2), (">f2", 2), (">f4", 2), (">f8", 2), ("<f2", 3)])
def test_zarr_stores_of_half_precision_and_either_byte_order_too(dtype: str, zarr_format: int, tmp_path: Path) -> None:
    write_array(tmp_path / "stimulus.zarr", COUNTS.astype(dtype), zarr_format)
    write_array(tmp_path / "pos.zarr", POSITIONS)
    field = opened(tmp_path)
    np.testing.assert_array_equal(field.targets[:, field.inverse], COUNTS)


@pytest.mark.parametrize("form", ["npy", "npz", "h5"])
def test_a_file_that_is_written_again_is_read_again(form: str, tmp_path: Path) -> None:
    before = opened(written(tmp_path, form), tmp_path / "cache")
    after = opened(written(tmp_path, form, 1 - VALUES), tmp_path / "cache")
    assert after.data_hash != before.data_hash


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("npz", r"data.npz must hold an array stimulus, got light, pos"),
        ("h5", r"data.h5 must hold a data set stimulus, got light, pos"),
    ],
)
def test_a_missing_array_is_reported_with_the_arrays_in_the_file(form: str, told: str, tmp_path: Path) -> None:
    if form == "npz":
        np.savez(tmp_path / "data.npz", light=VALUES, pos=POSITIONS)
    else:
        with h5py.File(tmp_path / "data.h5", "w") as file:
            file["light"], file["pos"] = VALUES, POSITIONS
    with pytest.raises(DataError, match=told):
        opened(tmp_path / f"data.{form}")


def test_a_stimulus_without_positions_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "npy")
    (tmp_path / "pos.npy").unlink()
    with pytest.raises(DataError, match=r"pos.npy cannot be read: FileNotFoundError"):
        opened(path)


@pytest.mark.parametrize("form", ["npy", "npz", "npz, packed", "h5", "h5, chunked"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.6])
def test_a_truncated_file_is_told(form: str, share: float, tmp_path: Path) -> None:
    path = written(tmp_path, form)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=f"{path.name}.* cannot be read"):
        opened(path)


def test_a_damaged_member_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "npz, packed")
    content = bytearray(path.read_bytes())
    content[len(content) // 4 : len(content) // 4 + 200] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data.npz: stimulus cannot be read"):
        opened(path)


def test_a_member_whose_packing_is_damaged_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "npz, packed")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("stimulus.npy").header_offset
    sizes = np.frombuffer(content, "<u2", 2, start + 26)  # of the name and of what else stands before the values
    content[start + 30 + int(sizes.sum())] = 0b111  # a last block, of a type that there is not
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data.npz: stimulus cannot be read: error: .*invalid block type"):
        opened(path)


def test_a_file_that_keeps_its_size_and_time_is_read_again(tmp_path: Path) -> None:
    """As one that an archive has put in the place of the one before, with the time that the archive says."""
    folder = written(tmp_path, "folder of npy")
    os.utime(folder / "stimulus.npy", ns=(0, 0))
    before = opened(folder, tmp_path / "cache")
    np.save(folder / "stimulus.npy", 1 - VALUES)
    os.utime(folder / "stimulus.npy", ns=(0, 0))
    assert opened(folder, tmp_path / "cache").data_hash != before.data_hash


def test_chunks_that_hdf5_would_fill_in_are_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        values = file.create_dataset("stimulus", VALUES.shape, "f4", chunks=(100, 38))
        values[:300] = VALUES[:300]
        file["pos"] = POSITIONS
    with pytest.raises(DataError, match=r"stimulus must have every chunk .* 10 missing: 3.0, 4.0, 5.0, \.\.\."):
        opened(tmp_path / "data.h5")
    assert open_field(tmp_path / "data.h5", n_frames=300, n_input_neurons=38, cache_dir=None).n_frames == 300
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.create_dataset("stimulus", VALUES.shape, "f4")
        file["pos"] = POSITIONS
    with pytest.raises(DataError, match="1 missing: all"):
        opened(tmp_path / "data.h5")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.array([[None]]), "cannot be read|must be of numbers .* got object"),
        (VALUES.astype(np.complex64), "must be of numbers .* got complex64"),
        (VALUES[:5], "at least 1300 frames, got 5"),
        (VALUES[0], r"must have 2 dimensions \(frames, columns\), got the shape \(38,\)"),
        (np.full_like(VALUES, np.nan), "must hold finite values, got nan in frame 0 of neuron 0"),
    ],
)
@pytest.mark.parametrize("form", ["npy", "npz", "npz, Fortran"])
def test_wrong_values_in_npy_npz_and_hdf5_files_are_reported(
    form: str, values: np.ndarray, told: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=told):
        opened(written(tmp_path, form, values))


def test_without_h5py_the_way_to_get_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match="is an HDF5 file, which h5py reads: pip install h5py"):
        opened(path)


def test_an_archive_by_the_name_of_an_array_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, "npz")
    np.save(tmp_path / "pos.npy", POSITIONS)
    path = path.rename(tmp_path / "stimulus.npy")
    with pytest.raises(DataError, match=r"stimulus.npy cannot be read: ValueError: the magic string is not correct"):
        opened(tmp_path)
