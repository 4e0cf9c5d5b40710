"""The script of all that waits for a GPU, tried on a CPU in tiny sizes: its stages, its markers, and being cut off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fields import make_field_folder

from siren_sweep.field import cache_file, open_field

SCRIPT = Path(__file__).parents[2] / "bench/gpu.sh"
BLOCKS = ["block4", "block5", "block6", "block7"]
STAGES = ["tests", "engine", "trials", "windows", *BLOCKS]
RESULTS = ["engine_reduced", "engine_float32", "trials", "windows_125", "windows_62", *BLOCKS]


@pytest.fixture(scope="module")
def field_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("fields")
    folder = make_field_folder(cache / "folder", n_frames=64, n_columns=7, n_types=2)
    open_field(folder, n_frames=64, n_input_neurons=14, cache_dir=cache)
    return cache_file(folder, n_frames=64, n_input_neurons=14, cache_dir=cache)


def called(*arguments: str | Path, **environment: str | Path) -> subprocess.CompletedProcess[str]:
    own = {"DEVICE": "cpu", "QUICK": "1", "N_NEURONS": "14", "PYTHON": sys.executable}
    values = {**os.environ, **own, **{name: str(value) for name, value in environment.items()}}
    command = [SCRIPT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=values, timeout=280, check=False)


def test_a_mistake_is_told(tmp_path: Path) -> None:
    done = called(tmp_path, "block9")
    assert done.returncode == 2
    assert "a stage is one of tests engine" in done.stderr
    done = called(tmp_path, "block4")
    assert done.returncode == 1
    assert "FIELD_FILE must name the field's cache file" in done.stderr
    assert not (tmp_path / "block4.done").exists()


@pytest.mark.slow
def test_every_stage_runs_and_none_twice(tmp_path: Path, field_file: Path) -> None:
    done = called(tmp_path, *STAGES, FIELD_FILE=field_file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.stem for path in tmp_path.glob("*.done")) == sorted(STAGES)
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == sorted(RESULTS)
    assert [row["trials"] for row in json.loads((tmp_path / "trials.json").read_text())] == [1, 2]
    frames = [json.loads((tmp_path / f"block{number}.json").read_text()) for number in (4, 7)]
    assert frames[0]["data_hash"] != frames[1]["data_hash"]
    assert "(aim 0.98)" in done.stderr
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < 1 << 20
    again = called(tmp_path, FIELD_FILE=field_file)
    assert again.returncode == 0
    assert "all stages are finished" in again.stderr


@pytest.mark.slow
def test_a_stage_that_is_cut_off_needs_another_call(tmp_path: Path, field_file: Path) -> None:
    done = called(tmp_path, "block4", FIELD_FILE=field_file, STAGE_S="1")
    assert done.returncode == 3
    assert "needs another call" in done.stderr
    for stage in STAGES[:4]:
        (tmp_path / f"{stage}.done").touch()
    done = called(tmp_path, FIELD_FILE=field_file)  # the first that is not finished
    assert done.returncode == 0, done.stdout + done.stderr
    assert "block4: finished" in done.stderr
    assert not (tmp_path / "block5.done").exists()
