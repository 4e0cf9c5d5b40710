"""The bare trainer as a person runs it: a process, a YAML file, and what it leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from fields import make_field_folder

from siren_sweep.config.config_file import read_config
from siren_sweep.field import cache_file, open_field
from siren_sweep.train.bare import main, open_given
from siren_sweep.train.siren import Siren


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_field_folder(tmp_path_factory.mktemp("it's a field"), n_frames=30, n_columns=7, n_types=2)


def write_config(file: Path, folder: Path | None, **changes: dict[str, Any]) -> Path:
    """The form that the export writes: every value, in groups, among keys that the trainer does not know."""
    values: dict[str, dict[str, Any]] = {
        "dataset": {"name": "flyvis", "path": folder and str(folder), "n_input_neurons": 14},
        "graph_model": {
            "inr_type": "siren_txy",
            "hidden_dim_nnr_f": 16,
            "n_layers_nnr_f": 1,
            "omega_f": 10.0,
            "nnr_f_T_period": 30.0,
            "nnr_f_xy_period": 8.0,
        },
        "training": {"n_training_frames": 30, "learning_rate_NNR_f": 3e-3, "inr_batch_size": 8},
        "claude": {"total_steps": 100},
    }
    for group, change in changes.items():
        values[group] |= change
    file.write_text(yaml.safe_dump({"defaults": ["config", "_self_"], **values}))
    return file


def command(*arguments: str | Path, without: str = "") -> subprocess.CompletedProcess[str]:
    """`python -m siren_sweep.train`; `without` names modules, comma-separated, that the process cannot import."""
    block = f"import sys; sys.modules.update(dict.fromkeys({without.split(',')!r}))"
    run = "import runpy; runpy.run_module('siren_sweep.train', run_name='__main__')"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    start = [sys.executable, "-c", f"{block}; {run}"] if without else [sys.executable, "-m", "siren_sweep.train"]
    return subprocess.run(
        [*start, *map(str, arguments)], capture_output=True, text=True, env=environment, timeout=120, check=False
    )


def test_a_config_is_trained_and_told_one_metric_a_line(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "an out folder"
    done = command(write_config(tmp_path / "block 01.yaml", folder), "--out", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(": ") for line in done.stdout.splitlines())
    names = "final_r2 final_mse final_pearson_r2 r2_ceiling training_time_min total_params rank_90 rank_99"
    assert list(lines) == names.split()
    result = json.loads((out / "result.json").read_text())
    assert float(lines["final_r2"]) == pytest.approx(result["final_r2"], abs=1e-6)
    assert len(result["reports"]) == 20
    Siren(16, 1, 10.0).load_state_dict(torch.load(out / "weights.pt", weights_only=True))
    assert sorted(path.name for path in out.iterdir()) == ["result.json", "weights.pt"]


def test_a_bare_machine_needs_neither_zarr_nor_numba(folder: Path, tmp_path: Path) -> None:
    open_field(folder, n_frames=30, n_input_neurons=14, cache_dir=tmp_path)
    file = cache_file(folder, n_frames=30, n_input_neurons=14, cache_dir=tmp_path)
    config = write_config(tmp_path / "config.yaml", None)
    absent = "zarr,numcodecs,numba,safetensors,scipy,hydra,omegaconf,optuna,mlflow,psutil,pebble,rich,matplotlib"
    done = command(config, "--field", file, "--out", tmp_path / "bare", without=absent)
    assert done.returncode == 0, done.stderr
    assert main([str(config), "--field", str(file), "--out", str(tmp_path / "full")]) == 0
    bare, full = (json.loads((tmp_path / name / "result.json").read_text())["final_r2"] for name in ("bare", "full"))
    assert bare == pytest.approx(full, abs=0.03)  # autograd's engine draws batches of its own
    assert bare > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"graph_model": {"omega_f": 0}}, "graph_model.omega_f must be greater than 0, got 0"),
        (
            {"training": {"inr_batch_size": 31}},
            "inr_batch_size must be at most training.n_training_frames (30), got 31",
        ),
        ({"training": {"n_training_frames": 31}}, "31"),
        ({"dataset": {"path": "/no/such/folder"}}, "/no/such/folder"),
        ({"training": {"device": "cuda:7"}}, "training.device must be auto or one that this machine has"),
    ],
)
def test_a_mistake_is_one_clear_message(
    folder: Path, tmp_path: Path, change: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "config.yaml", folder, **change)
    assert main([str(config), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_config_that_is_no_yaml_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("graph_model: [")
    done = command(tmp_path / "config.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the config must be a YAML file that can be read")
    assert "Traceback" not in done.stderr


def test_a_config_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "absent.yaml")]) == 2
    assert "the config must be a YAML file that can be read" in capsys.readouterr().err


def test_a_cache_file_of_another_size_is_told(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_field(folder, n_frames=20, n_input_neurons=14, cache_dir=tmp_path)
    file = cache_file(folder, n_frames=20, n_input_neurons=14, cache_dir=tmp_path)
    assert main([str(write_config(tmp_path / "config.yaml", folder)), "--field", str(file)]) == 2
    assert "dataset.n_input_neurons = 30 x 14 values, got 20 x 14" in capsys.readouterr().err


def test_the_first_frames_of_a_larger_cache_file_are_the_field_of_so_many(folder: Path, tmp_path: Path) -> None:
    open_field(folder, n_frames=30, n_input_neurons=14, cache_dir=tmp_path)
    file = cache_file(folder, n_frames=30, n_input_neurons=14, cache_dir=tmp_path)
    cfg = read_config(write_config(tmp_path / "config.yaml", folder, training={"n_training_frames": 20}))
    larger, own = open_given(cfg, file), open_given(cfg, None)
    assert np.array_equal(larger.targets, own.targets)
    assert (larger.data_hash, larger.rank_90, larger.rank_99) == (own.data_hash, own.rank_90, own.rank_99)
    assert [larger.total, larger.total_sq, larger.sst] == pytest.approx([own.total, own.total_sq, own.sst], rel=1e-12)


def test_frames_of_a_field_whose_receptors_differ_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noisy = make_field_folder(tmp_path / "noisy", n_frames=30, n_columns=7, n_types=2, noise=0.1)
    open_field(noisy, n_frames=30, n_input_neurons=14, cache_dir=tmp_path)
    file = cache_file(noisy, n_frames=30, n_input_neurons=14, cache_dir=tmp_path)
    config = write_config(tmp_path / "config.yaml", noisy, training={"n_training_frames": 20})
    assert main([str(config), "--field", str(file)]) == 2
    assert "the field's 30 frames must all be used" in capsys.readouterr().err


def test_a_run_that_diverges_is_told_with_its_reason(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unbridled = {"learning_rate_NNR_f": 1.0, "lr_schedule": "constant", "turn_limit": 0}
    config = write_config(tmp_path / "config.yaml", folder, training=unbridled)
    assert main([str(config), "--out", str(tmp_path / "out")]) == 1
    assert "diverged: the loss at step" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/result.json").read_text())["status"] == "diverged"
