"""The stimulus field: what is read, what is known of it, the cache, and every fault of the data that is told."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from fields import lattice, make_field_folder, write_array

from siren_sweep.errors import DataError, OutputError
from siren_sweep.field import StimulusField, cache_file, load_cached, open_field

N_COLUMNS, N_FRAMES = 19, 40
N_NEURONS = 8 * N_COLUMNS
FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])


def opened(
    folder: Path, n_frames: int = N_FRAMES, n_neurons: int = N_NEURONS, cache: Path | None = None
) -> StimulusField:
    return open_field(folder, n_frames=n_frames, n_input_neurons=n_neurons, cache_dir=cache)


def stored(folder: Path) -> np.ndarray:
    return np.asarray(zarr.open_array(folder / "stimulus.zarr", mode="r")[:])


@FORMATS
def test_identical_receptors_become_one_target_each(tmp_path: Path, zarr_format: int) -> None:
    field = opened(make_field_folder(tmp_path, zarr_format=zarr_format, chunk_frames=7))
    assert (field.n_frames, field.n_neurons, field.n_unique) == (N_FRAMES, N_NEURONS, N_COLUMNS)
    np.testing.assert_array_equal(field.targets[:, field.inverse], stored(tmp_path))
    np.testing.assert_array_equal(field.positions, lattice(N_COLUMNS))
    np.testing.assert_array_equal(field.multiplicity, 8)
    assert field.ss_within == 0
    assert field.r2_ceiling == 1
    assert field.targets.dtype == field.positions.dtype == np.float32


@pytest.mark.parametrize(("n_types", "noise"), [(8, 0.0), (8, 0.1), (1, 0.0)])
def test_sums_of_squares_add_up_to_those_over_all_neurons(tmp_path: Path, n_types: int, noise: float) -> None:
    n_frames = 1500  # more than one block
    folder = make_field_folder(tmp_path, n_frames=n_frames, n_types=n_types, noise=noise, chunk_frames=400)
    field, values = opened(folder, n_frames, n_types * N_COLUMNS), stored(folder).astype(np.float64)
    prediction = np.random.default_rng(0).normal(size=field.targets.shape)
    weighted = (field.multiplicity * (prediction - field.targets) ** 2).sum() + field.ss_within
    assert weighted == pytest.approx(np.square(prediction[:, field.inverse] - values).sum(), rel=1e-8)
    assert field.total == pytest.approx(values.sum(), rel=1e-12)
    assert field.total_sq == pytest.approx(np.square(values).sum(), rel=1e-12)
    assert field.sst == pytest.approx(np.square(values - values.mean()).sum(), rel=1e-12)
    best = values - field.targets[:, field.inverse].astype(np.float64)
    assert field.r2_ceiling == pytest.approx(1 - np.square(best).sum() / field.sst, abs=1e-9)


def test_sum_of_squares_keeps_its_digits_beside_a_large_mean(tmp_path: Path) -> None:
    make_field_folder(tmp_path, n_frames=2500)
    values = (stored(tmp_path) + np.float32(4096)).astype(np.float32)
    write_array(tmp_path / "stimulus.zarr", values)
    exact = np.square(values - values.mean(dtype=np.longdouble)).sum(dtype=np.longdouble)
    assert opened(tmp_path, 2500).sst == pytest.approx(float(exact), rel=1e-11)


@pytest.mark.parametrize(("n_types", "noise"), [(8, 0.0), (8, 0.1), (1, 0.0), (3, 0.3)])
def test_ranks_are_those_of_the_singular_values_of_all_neurons(tmp_path: Path, n_types: int, noise: float) -> None:
    folder = make_field_folder(tmp_path, n_types=n_types, noise=noise)
    squared = np.linalg.svd(stored(folder).astype(np.float64), compute_uv=False) ** 2
    share = np.cumsum(squared) / squared.sum()
    field = opened(folder, n_neurons=n_types * N_COLUMNS)
    assert [field.rank_90, field.rank_99] == [np.argmax(share >= part) + 1 for part in (0.90, 0.99)]


def test_ranks_are_exact_when_receptors_differ_only_in_a_later_block(tmp_path: Path) -> None:
    values = stored(make_field_folder(tmp_path, n_frames=1300))
    values[1200:] += np.random.default_rng(0).normal(0, 0.5, values[1200:].shape).astype(np.float32)
    write_array(tmp_path / "stimulus.zarr", values)
    squared = np.linalg.svd(values.astype(np.float64), compute_uv=False) ** 2
    share = np.cumsum(squared) / squared.sum()
    field = opened(tmp_path, 1300)
    assert [field.rank_90, field.rank_99] == [np.argmax(share >= part) + 1 for part in (0.90, 0.99)]


def test_positions_of_unequal_multiplicity_in_any_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    places = lattice(7)[rng.integers(0, 7, 30)]
    values = rng.random((20, 30), dtype=np.float32)
    places[places == 0] *= -1  # -0.0 is the same place as 0.0
    places[0] = np.abs(places[0])
    write_array(tmp_path / "stimulus.zarr", values)
    write_array(tmp_path / "pos.zarr", places)
    field = opened(tmp_path, 20, 30)
    np.testing.assert_array_equal(field.positions[field.inverse], places)
    assert len(np.unique(field.positions, axis=0)) == field.n_unique
    for position in range(field.n_unique):
        mean = values[:, field.inverse == position].mean(axis=1, dtype=np.float64)
        np.testing.assert_array_equal(field.targets[:, position], mean.astype(np.float32))
        assert field.multiplicity[position] == (field.inverse == position).sum()


def test_only_the_first_frames_and_columns_count(tmp_path: Path) -> None:
    whole = make_field_folder(tmp_path / "whole", chunk_frames=8)
    values = stored(whole)
    cut = tmp_path / "cut"
    write_array(cut / "stimulus.zarr", values[:10, :N_COLUMNS])
    write_array(cut / "pos.zarr", lattice(N_COLUMNS))
    field = opened(whole, 10, N_COLUMNS)
    np.testing.assert_array_equal(field.targets, values[:10, :N_COLUMNS])
    assert field.data_hash == opened(cut, 10, N_COLUMNS).data_hash


def test_chunks_after_the_last_frame_are_not_read(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path, chunk_frames=10)
    (folder / "stimulus.zarr/c/1/0").write_bytes(b"broken")
    (folder / "stimulus.zarr/c/2/0").unlink()
    assert opened(folder, 10).n_frames == 10
    with pytest.raises(DataError, match="c/2/0"):
        opened(folder, 30)


def test_hash_is_that_of_the_bytes_its_docstring_names(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path, noise=0.1)
    positions = np.tile(lattice(N_COLUMNS), (8, 1))
    said = np.array([N_FRAMES, N_NEURONS], "<i8").tobytes() + stored(folder).tobytes() + positions.tobytes()
    assert opened(folder).data_hash == hashlib.sha256(said).hexdigest()


@pytest.mark.parametrize(("zarr_format", "chunk_frames"), [(2, None), (2, 7), (3, 1), (3, 16)])
def test_hash_is_independent_of_chunks_and_format(tmp_path: Path, zarr_format: int, chunk_frames: int | None) -> None:
    other = make_field_folder(tmp_path / "other", noise=0.1, zarr_format=zarr_format, chunk_frames=chunk_frames)
    assert opened(other).data_hash == opened(make_field_folder(tmp_path / "plain", noise=0.1)).data_hash


def test_hash_changes_with_one_bit_of_a_value_or_a_position(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path)
    hashes = {opened(folder).data_hash}
    for name in ("stimulus.zarr", "pos.zarr"):
        array = zarr.open_array(folder / name, mode="r+")
        array[3, 1] = np.nextafter(array[3, 1], np.float32(9))
        hashes.add(opened(folder).data_hash)
    assert len(hashes) == 3


def test_double_precision_is_read_as_single(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path)
    single = opened(folder)
    write_array(folder / "stimulus.zarr", stored(folder).astype(np.float64))
    assert opened(folder).data_hash == single.data_hash


# ---- the cache


def same(a: StimulusField, b: StimulusField) -> bool:
    arrays = all(
        np.array_equal(getattr(a, n), getattr(b, n)) for n in ("positions", "multiplicity", "inverse", "targets")
    )
    names = ("ss_within", "total", "total_sq", "sst", "rank_90", "rank_99", "data_hash", "r2_ceiling")
    return arrays and all(getattr(a, name) == getattr(b, name) for name in names)


def test_cached_field_is_the_field_and_is_memory_mapped(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path / "data", noise=0.05)
    plain, made = opened(folder), opened(folder, cache=tmp_path / "cache")
    read = opened(folder, cache=tmp_path / "cache")
    assert same(plain, made)
    assert same(plain, read)
    assert isinstance(made.targets, np.memmap)
    assert isinstance(read.targets, np.memmap)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    for field in (plain, read):
        with pytest.raises(ValueError, match="read-only"):
            field.targets[0, 0] = 1


def test_cache_file_is_not_written_again_while_the_data_are_the_same(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path / "data")
    opened(folder, cache=tmp_path / "cache")
    file = cache_file(folder, n_frames=N_FRAMES, n_input_neurons=N_NEURONS, cache_dir=tmp_path / "cache")
    before = file.stat()
    opened(folder, cache=tmp_path / "cache")
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_changed_data_are_read_again(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path / "data")
    old = opened(folder, cache=tmp_path / "cache")
    make_field_folder(folder, seed=1)
    new = opened(folder, cache=tmp_path / "cache")
    assert new.data_hash != old.data_hash
    assert same(new, opened(folder))


def test_a_chunk_lost_after_the_cache_was_made_is_told(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path / "data", chunk_frames=10)
    opened(folder, cache=tmp_path / "cache")
    (folder / "stimulus.zarr/c/1/0").unlink()
    with pytest.raises(DataError, match="missing: c/1/0"):
        opened(folder, cache=tmp_path / "cache")


def test_fields_of_one_folder_have_their_own_files(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path / "data")
    fields = [opened(folder, n, cache=tmp_path / "cache") for n in (10, 20)]
    assert [field.n_frames for field in fields] == [10, 20]
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"\xff" * 100])
def test_damaged_cache_file_is_made_anew(tmp_path: Path, damage: object) -> None:
    folder = make_field_folder(tmp_path / "data")
    opened(folder, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match="must be a whole cache file"):
        load_cached(file)
    assert same(opened(folder, cache=tmp_path / "cache"), opened(folder))


def test_cache_file_serves_alone_and_without_zarr(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path / "data", noise=0.1)
    made = opened(folder, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    shutil.rmtree(folder)
    script = (
        "import sys; sys.modules['zarr'] = None; from pathlib import Path; from siren_sweep.field import load_cached;"
        "field = load_cached(Path(sys.argv[1])); print(field.data_hash, float(field.targets.sum()))"
    )
    told = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True).stdout
    assert told.split() == [made.data_hash, str(float(made.targets.sum()))]


def test_cache_file_is_read_by_safetensors_too(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    field = opened(make_field_folder(tmp_path / "data"), cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    np.testing.assert_array_equal(load_file(file)["targets"], field.targets)


def test_missing_cache_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}/none must be a whole cache file"):
        load_cached(tmp_path / "none")


def _open_and_report(folder: Path, cache: Path, start: multiprocessing.synchronize.Barrier, queue: object) -> None:
    start.wait()
    field = opened(folder, cache=cache)
    queue.put((field.data_hash, float(field.targets.sum(dtype=np.float64))))  # type: ignore[attr-defined]


def test_several_processes_may_make_one_cache_at_once(tmp_path: Path) -> None:
    folder, context = make_field_folder(tmp_path / "data"), multiprocessing.get_context("spawn")
    start, queue = context.Barrier(3), context.Queue()
    arguments = (folder, tmp_path / "cache", start, queue)
    workers = [context.Process(target=_open_and_report, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    told = {queue.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
        worker.close()
    field = opened(folder)
    assert told == {(field.data_hash, float(field.targets.sum(dtype=np.float64)))}
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_failed_read_leaves_no_cache_file(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path / "data")
    zarr.open_array(folder / "stimulus.zarr", mode="r+")[39, 3] = np.nan
    with pytest.raises(DataError):
        opened(folder, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_cache_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/cache/.* could not be written"):
        opened(make_field_folder(tmp_path / "data"), cache=tmp_path / "file" / "cache")


@pytest.mark.parametrize("name", ["a b", "it's", 'say "x"', "a=b,c", "ünï://cöde", "[a]*"])
def test_hostile_paths_work(tmp_path: Path, name: str) -> None:
    folder = make_field_folder(tmp_path / name / "data")
    assert same(opened(folder, cache=tmp_path / name / "cache"), opened(folder))


# ---- faults of the data


@pytest.mark.parametrize("made", ["absent", "file", "empty"])
def test_folder_without_data_is_told(tmp_path: Path, made: str) -> None:
    path = tmp_path / "data"
    if made == "file":
        path.write_text("x")
    elif made == "empty":
        path.mkdir()
    told = {"absent": "it does not exist", "file": "it is a file", "empty": "it is empty"}[made]
    with pytest.raises(DataError, match=f"must be a folder that holds stimulus.zarr and pos.zarr, got {path}: {told}"):
        opened(path)


def test_path_that_the_file_system_refuses_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it cannot be read: .*File name too long"):
        opened(tmp_path / ("x" * 300))


@FORMATS
@pytest.mark.parametrize("name", ["stimulus.zarr", "pos.zarr"])
def test_missing_array_is_told(tmp_path: Path, name: str, zarr_format: int) -> None:
    folder = make_field_folder(tmp_path, zarr_format=zarr_format)
    shutil.rmtree(folder / name)
    with pytest.raises(DataError, match=f"{folder / name} must be a zarr array: it does not exist"):
        opened(folder)
    (folder / name).mkdir()
    with pytest.raises(DataError, match=r"it holds neither zarr.json nor .zarray"):
        opened(folder)
    zarr.create_group(folder / name, zarr_format=2 if zarr_format == 2 else 3, overwrite=True)
    with pytest.raises(DataError, match=r"it is a group|it holds neither"):
        opened(folder)


@pytest.mark.parametrize("name", ["stimulus.zarr", "stimulus.zarr.zip", "."])
def test_a_zip_store_is_refused_by_the_command_that_unpacks_it(name: str, tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path / "a field", n_frames=4)
    hash_ = opened(folder, 4).data_hash
    packed = folder if name == "." else folder / "stimulus.zarr"
    file = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", packed))
    shutil.rmtree(packed)
    file.rename(folder if name == "." else folder / name)
    with pytest.raises(DataError, match="must be a folder, got the zip file") as refused:
        opened(folder, 4)
    (command,) = re.findall(r"(?:mv .* && )?python -m zipfile.*", str(refused.value))
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(command, shell=True, check=True, env=env)
    assert opened(folder, 4).data_hash == hash_


@FORMATS
@pytest.mark.parametrize("text", ["", "{}", '{"shape": 3}', "[]", '{"shape": [', "\xff"])
def test_broken_metadata_are_told(tmp_path: Path, zarr_format: int, text: str) -> None:
    folder = make_field_folder(tmp_path, zarr_format=zarr_format)
    file = folder / "stimulus.zarr" / ("zarr.json" if zarr_format == 3 else ".zarray")
    file.write_bytes(text.encode("latin1"))
    with pytest.raises(DataError, match=r"stimulus.zarr has metadata that cannot be read"):
        opened(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [("shape", [40, "x"]), ("shape", [40, -1]), ("chunks", [0, 152]), ("chunks", [40]), ("dimension_separator", 3)],
)
def test_metadata_that_make_no_layout_are_told(tmp_path: Path, name: str, value: object) -> None:
    folder = make_field_folder(tmp_path, zarr_format=2)
    file = folder / "stimulus.zarr/.zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    with pytest.raises(DataError, match=r"stimulus.zarr has metadata that cannot be read: ValueError: .*, got "):
        opened(folder)


def test_codec_that_is_not_known_is_told(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path)
    file = folder / "stimulus.zarr/zarr.json"
    metadata = json.loads(file.read_text())
    metadata["codecs"][1]["name"] = "no-such-codec"
    file.write_text(json.dumps(metadata))
    with pytest.raises(DataError, match=r"stimulus.zarr cannot be opened: .*no-such-codec"):
        opened(folder)


@FORMATS
@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "u2", "i4", "u4", "i8", "u8"])
def test_whole_numbers_are_read_as_they_are(tmp_path: Path, dtype: str, zarr_format: int) -> None:
    if dtype[0] == ">" and zarr_format == 3:
        dtype = dtype[1:]
    folder = make_field_folder(tmp_path)
    kind = np.dtype(dtype)
    values = np.random.default_rng(0).integers(0, 100, (N_FRAMES, N_COLUMNS)).astype(kind)
    values[0, 0] = min(np.iinfo(kind).max, 2**24)
    write_array(folder / "stimulus.zarr", np.tile(values, (1, 8)), zarr_format)
    positions = np.stack([np.arange(N_COLUMNS), np.arange(N_COLUMNS) ** 2 % 100], axis=1).astype(kind)
    write_array(folder / "pos.zarr", np.tile(positions, (8, 1)), zarr_format)
    field = opened(folder)
    np.testing.assert_array_equal(field.targets[:, field.inverse], np.tile(values, (1, 8)).astype(np.float64))
    np.testing.assert_array_equal(field.positions[field.inverse], np.tile(positions, (8, 1)).astype(np.float64))


@FORMATS
@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.zeros(40, np.float32), r"must have 2 dimensions \(frames, columns\), got the shape \(40,\)"),
        (
            np.zeros((40, 152, 1), np.float32),
            r"must have 2 dimensions \(frames, columns\), got the shape \(40, 152, 1\)",
        ),
        (np.full((40, 152), 2**24 + 1, np.int32), r"float32 holds exactly .* got 16777217 in row 0, column 0"),
        (np.full((40, 152), 2**53 + 1, np.uint64), "float32 holds exactly .* got 9007199254740993 in row 0"),
        (np.zeros((40, 152), bool), r"must be of numbers \(.*\), got bool; write it as .*astype"),
        (np.zeros((40, 152), np.complex64), r"must be of numbers \(.*\), got complex64"),
        (
            np.zeros((39, 152), np.float32),
            "at least 40 frames, got 39; training.n_training_frames says .* blocks.schedule",
        ),
        (np.zeros((40, 151), np.float32), "at least 152 columns, got 151; dataset.n_input_neurons says"),
    ],
)
def test_wrong_stimulus_array_is_told(tmp_path: Path, values: np.ndarray, told: str, zarr_format: int) -> None:
    folder = make_field_folder(tmp_path)
    write_array(folder / "stimulus.zarr", values, zarr_format)
    with pytest.raises(DataError, match=told):
        opened(folder)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.zeros((152, 3), np.float32), "must have 2 coordinates, got 3"),
        (np.zeros((151, 2), np.float32), "at least 152 positions, got 151; dataset.n_input_neurons says"),
        (np.zeros((153, 2), np.float32), r"one row for each column of stimulus.zarr, \(40, 152\), got \(153, 2\)"),
        (np.zeros((152, 2), bool), "must be of numbers .* got bool"),
        (np.full((152, 2), np.nan, np.float32), r"must hold finite positions, got \[nan, nan\] for neuron 0"),
    ],
)
def test_wrong_positions_are_told(tmp_path: Path, values: np.ndarray, told: str) -> None:
    folder = make_field_folder(tmp_path)
    write_array(folder / "pos.zarr", values)
    with pytest.raises(DataError, match=told):
        opened(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_first_value_that_is_not_finite_is_told(tmp_path: Path, value: float) -> None:
    folder = make_field_folder(tmp_path, n_frames=1200, chunk_frames=500)
    array = zarr.open_array(folder / "stimulus.zarr", mode="r+")
    array[1104, 17], array[1104, 21], array[1150, 3] = value, 0.5 * value, value
    with pytest.raises(DataError, match=f"must hold finite values, got {value} in frame 1104 of neuron 17"):
        opened(folder, 1200)
    assert opened(folder, 1104).n_frames == 1104


def test_value_beyond_single_precision_is_told(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path)
    values = stored(folder).astype(np.float64)
    values[2, 5] = 1e300
    write_array(folder / "stimulus.zarr", values)
    with pytest.raises(DataError, match="got inf in frame 2 of neuron 5"):
        opened(folder)


def test_constant_data_are_told(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path)
    write_array(folder / "stimulus.zarr", np.full((N_FRAMES, N_NEURONS), 0.1, np.float32))
    with pytest.raises(DataError, match=r"must hold values that vary, got 0\.1\d* everywhere: R2 is undefined"):
        opened(folder)


def chunk(folder: Path, zarr_format: int, row: int) -> Path:
    return folder / "stimulus.zarr" / (f"c/{row}/0" if zarr_format == 3 else f"{row}.0")


@FORMATS
def test_missing_chunks_are_told(tmp_path: Path, zarr_format: int) -> None:
    folder = make_field_folder(tmp_path, zarr_format=zarr_format, chunk_frames=5)
    for row in (1, 4, 5, 6):
        chunk(folder, zarr_format, row).unlink()
    chunk(folder, zarr_format, 5).mkdir()  # zarr takes it for a missing chunk too
    with pytest.raises(
        DataError, match=r"must have every chunk that holds values in use, 4 missing: (c/)?1[./]0, .*, \.\.\."
    ):
        opened(folder)


@FORMATS
@pytest.mark.parametrize("left", [0, 1, 30, -1])
def test_truncated_chunk_is_named_with_its_cause(tmp_path: Path, zarr_format: int, left: int) -> None:
    folder = make_field_folder(tmp_path, zarr_format=zarr_format, chunk_frames=5)
    file = chunk(folder, zarr_format, 3)
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(
        DataError, match=f"stimulus.zarr: chunk {file.relative_to(folder / 'stimulus.zarr')} cannot be read"
    ) as told:
        opened(folder)
    assert told.value.__cause__ is not None


def make_sharded(folder: Path, *, index_location: str = "end", empty: slice | None = None) -> Path:
    values = stored(make_field_folder(folder))
    if empty:
        values[empty] = 0
    codec = zarr.codecs.ShardingCodec(
        chunk_shape=(5, 76), codecs=[zarr.codecs.BytesCodec(), zarr.codecs.ZstdCodec()], index_location=index_location
    )
    array = zarr.create_array(
        folder / "stimulus.zarr",
        shape=values.shape,
        dtype="f4",
        chunks=(20, 152),
        serializer=codec,
        compressors=None,
        overwrite=True,
    )
    array[...] = values
    return folder


@pytest.mark.parametrize("index_location", ["start", "end"])
def test_sharded_field_is_read_and_its_missing_inner_chunks_are_told(tmp_path: Path, index_location: str) -> None:
    whole = make_sharded(tmp_path / "whole", index_location=index_location)
    assert opened(whole).data_hash == opened(make_field_folder(tmp_path / "plain")).data_hash
    holed = make_sharded(tmp_path / "holed", index_location=index_location, empty=slice(25, 30))
    with pytest.raises(DataError, match=r"2 missing: c/1/0 \(inner chunk 1.0\), c/1/0 \(inner chunk 1.1\)"):
        opened(holed)
    assert opened(holed, 25).n_frames == 25
    (whole / "stimulus.zarr/c/1/0").unlink()
    with pytest.raises(DataError, match="1 missing: c/1/0 "):
        opened(whole)


@pytest.mark.parametrize("index_location", ["start", "end"])
@pytest.mark.parametrize("left", [40, -1])
def test_truncated_shard_is_told(tmp_path: Path, index_location: str, left: int) -> None:
    file = make_sharded(tmp_path, index_location=index_location) / "stimulus.zarr/c/1/0"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(DataError, match=r"1 missing: c/1/0 \(truncated\)"):
        opened(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_chunk_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path)
    chunk(folder, 3, 0).chmod(0)
    with pytest.raises(DataError, match="chunk c/0/0 cannot be read: PermissionError"):
        opened(folder)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    folder = make_field_folder(tmp_path, n_frames=20, chunk_frames=5)
    chunk(folder, 3, 1).unlink()
    write_array(folder / "pos.zarr", np.zeros((100, 3), np.float32))
    with pytest.raises(DataError) as told:
        opened(folder)
    for fault in (
        "5 faults",
        "40 frames, got 20",
        "1 missing: c/1/0",
        "2 coordinates, got 3",
        "152 positions, got 100",
    ):
        assert fault in str(told.value)


def test_real_video_has_the_ranks_that_are_known_of_it() -> None:
    folder = Path(__file__).parents[2] / "../shared/data/natural_a"
    if not folder.is_dir():
        pytest.skip("the real field ../shared/data/natural_a is not here")
    field = opened(folder, 64_000, 1736)
    assert (field.rank_90, field.rank_99) == (2, 50)
    assert (field.n_unique, field.r2_ceiling) == (217, 1)
