"""The embedded stimulus: its layout, its likeness to real video, and how it is written."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest
import zarr

from siren_sweep.errors import OutputError
from siren_sweep.field import open_field
from siren_sweep.field.lattice import hexagonal_lattice
from siren_sweep.field.synthetic import write_synthetic
from siren_sweep.field.synthetic.images import distance_outside, random_polygon
from siren_sweep.field.synthetic.scene import CLIP_FRAMES, Scene

N_COLUMNS = 217
REAL_RANKS = {0.90: 25, 0.95: 52, 0.99: 140}  # of 64,000 frames of real video on this lattice, mean removed


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(hexagonal_lattice(), seed=0)


@pytest.fixture(scope="module")
def clips(scene: Scene) -> list[np.ndarray]:
    """A quarter of the clips of 64,000 frames, from all over."""
    return [scene.clip(number) for number in range(0, 984, 4)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, int]]]:
    """The folder of 2100 frames, and the progress told while they were written."""
    path, told = tmp_path_factory.mktemp("stimulus") / "synthetic", []
    write_synthetic(path, n_frames=2100, on_progress=lambda done, total: told.append((done, total)))
    return path, told


@pytest.fixture(scope="module")
def folder(written: tuple[Path, list[tuple[int, int]]]) -> Path:
    return written[0]


def values_of(folder: Path, name: str = "stimulus.zarr") -> np.ndarray:
    return np.asarray(zarr.open_array(folder / name, mode="r")[:])


def test_lattice_is_hexagonal_with_spacing_one() -> None:
    columns = hexagonal_lattice()
    assert columns.shape == (N_COLUMNS, 2)
    assert columns.dtype == np.float32
    distances = np.sort(np.hypot(*(columns[:, None] - columns).T), axis=0)[1:]
    assert distances.min() == pytest.approx(1, abs=1e-6)
    assert (np.abs(distances[:6] - 1).max(axis=0) < 1e-5).sum() == 169  # all but the rim of 48 have six neighbours
    assert np.abs(columns[:, 0]).max() == 8
    np.testing.assert_allclose(columns[:2], [[-8, 0], [-7.5, np.sqrt(3) / 2]], atol=1e-6)


def test_layout_is_that_of_real_data(folder: Path) -> None:
    values, positions = values_of(folder), values_of(folder, "pos.zarr")
    assert values.shape == (2100, 1736)
    assert values.dtype == np.float32
    assert positions.shape == (1736, 2)
    assert positions.dtype == np.float32
    assert values.min() >= 0
    assert values.max() <= 1
    for receptor in range(8):
        of_type = slice(receptor * N_COLUMNS, (receptor + 1) * N_COLUMNS)
        np.testing.assert_array_equal(values[:, of_type], values[:, :N_COLUMNS])
        np.testing.assert_array_equal(positions[of_type], hexagonal_lattice())


def test_the_embedded_stimulus_opens_as_a_field_without_noise(folder: Path) -> None:
    field = open_field(folder, n_frames=2100, n_input_neurons=1736, cache_dir=None)
    assert (field.n_unique, field.n_neurons, field.r2_ceiling) == (N_COLUMNS, 1736, 1)


def test_a_shorter_field_is_the_beginning_of_a_longer_one(folder: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "short", n_frames=150)
    np.testing.assert_array_equal(values_of(tmp_path / "short"), values_of(folder)[:150])


def test_another_seed_is_another_scene(folder: Path, tmp_path: Path) -> None:
    write_synthetic(tmp_path / "other", n_frames=50, seed=1)
    assert np.abs(values_of(tmp_path / "other") - values_of(folder)[:50]).mean() > 0.1


def test_clips_are_50_to_80_frames_and_do_not_depend_on_those_before(scene: Scene, clips: list[np.ndarray]) -> None:
    lengths = [len(clip) for clip in clips]
    assert (min(lengths), max(lengths)) == CLIP_FRAMES == (50, 80)
    np.testing.assert_array_equal(scene.clip(40), clips[10])


def test_ranks_are_within_30_percent_of_real_video(clips: list[np.ndarray]) -> None:
    values = np.concatenate(clips).astype(np.float64)
    squared = np.linalg.svd(values - values.mean(axis=0), compute_uv=False) ** 2
    share = np.cumsum(squared) / squared.sum()
    for part, real in REAL_RANKS.items():
        assert 0.7 * real <= np.argmax(share >= part) + 1 <= 1.3 * real


def test_light_is_as_correlated_in_time_and_space_as_in_real_video(clips: list[np.ndarray]) -> None:
    values = np.concatenate(clips).astype(np.float64)
    assert values.mean() == pytest.approx(0.51, abs=0.05)
    assert values.std() == pytest.approx(0.248, abs=0.04)
    light = values - values.mean()
    for lag, real in {1: 0.943, 5: 0.740, 20: 0.355, 80: 0.005}.items():
        assert (light[:-lag] * light[lag:]).mean() / light.var() == pytest.approx(real, abs=0.12)
    pattern = values - values.mean(axis=1, keepdims=True)
    covariance = pattern.T @ pattern / len(pattern)
    columns = hexagonal_lattice()
    distance = np.hypot(*(columns[:, None] - columns).T)
    for spacings, real in {1: 0.784, 2: 0.525, 4: 0.168, 8: -0.137}.items():
        pairs = np.abs(distance - spacings) < 0.25
        assert covariance[pairs].mean() / np.diag(covariance).mean() == pytest.approx(real, abs=0.06)


def test_motion_is_smooth_between_cuts(clips: list[np.ndarray]) -> None:
    within = np.concatenate([np.abs(np.diff(clip, axis=0)).mean(axis=1) for clip in clips])
    across = np.array([np.abs(a[-1] - b[0]).mean() for a, b in itertools.pairwise(clips)])
    assert np.median(within) < 0.05 < 0.15 < np.median(across)


def test_polygons_are_convex_and_hold_their_centre() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        polygon = random_polygon(rng, 3.0)
        points = rng.uniform(-6, 6, (2, 500)).astype(np.float32)
        inside = points[:, distance_outside(polygon, *points) < 0]
        assert distance_outside(polygon, np.zeros(1), np.zeros(1)) < 0
        if inside.shape[1] > 1:
            between = (inside[:, :-1] + inside[:, 1:]) / 2
            assert (distance_outside(polygon, *between) < 1e-5).all()


def test_progress_reaches_the_last_frame(written: tuple[Path, list[tuple[int, int]]]) -> None:
    done = [frames for frames, total in written[1] if total == 2100]
    assert done == sorted(done)
    assert done[-1] == 2100


def test_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("mine")
    for path in (tmp_path / "data", tmp_path / "data" / "notes.txt"):
        with pytest.raises(OutputError, match=f"needs a folder that is new or empty, got {path}"):
            write_synthetic(path, n_frames=50)
    assert (tmp_path / "data" / "notes.txt").read_text() == "mine"


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"must be writable, got .*file/data"):
        write_synthetic(tmp_path / "file" / "data", n_frames=50)


def test_interrupted_writing_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "data", n_frames=50, on_progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def _write(path: Path, all_at_work: Barrier) -> None:
    def wait(done: int, total: int) -> None:
        all_at_work.wait()

    write_synthetic(path, n_frames=50, on_progress=wait)


def test_two_processes_may_write_it_at_once(tmp_path: Path, folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    all_at_work = context.Barrier(2)
    writers = [context.Process(target=_write, args=(tmp_path / "data", all_at_work)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    np.testing.assert_array_equal(values_of(tmp_path / "data"), values_of(folder)[:50])


def test_killed_writer_leaves_no_folder_of_that_name(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    all_at_work = context.Barrier(2)
    writer = context.Process(target=_write, args=(tmp_path / "data", all_at_work))
    writer.start()
    while all_at_work.n_waiting == 0:  # all frames are written, and the folder does not have its name yet
        time.sleep(0.01)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    assert not (tmp_path / "data").exists()
    write_synthetic(tmp_path / "data", n_frames=50)
    assert values_of(tmp_path / "data").shape == (50, 1736)
