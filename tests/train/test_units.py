"""A person's units never decide whether a network learns: the same run, told in other units."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from fields import lattice, make_other_units, moving_pattern, write_array

from siren_sweep.config.checks import trial_config
from siren_sweep.config.config_file import plain
from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField, open_field
from siren_sweep.train.bare import main
from siren_sweep.train.fit import Fit
from siren_sweep.train.loop import train
from siren_sweep.train.report import TrainResult

N_FRAMES, N_NEURONS = 16, 152
# value = gain * light + offset, place = unit * lattice + centre: a camera's counts, and the log of something in metres
UNITS = {"counts": (255.0, 0.0, 32.0, 320.0), "logarithms": (1e-3, -7.0, 2e-5, 0.0)}


def config(window_frames: int) -> TrialConfig:
    graph = {"hidden_dim_nnr_f": 16, "n_layers_nnr_f": 1, "omega_f": 10, "nnr_f_T_period": 12, "nnr_f_xy_period": 8}
    return trial_config(
        {
            "dataset": {"n_input_neurons": N_NEURONS},
            "graph_model": {**graph, "window_frames": window_frames},
            "training": {"n_training_frames": N_FRAMES, "learning_rate_NNR_f": 3e-3, "inr_batch_size": 4},
            "claude": {"total_steps": 200},
        }
    )


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StimulusField]:
    """One moving pattern in several units."""
    places, opened = lattice(19), {}
    light = moving_pattern(places, N_FRAMES).astype(np.float64)
    for name, (gain, offset, unit, centre) in UNITS.items():
        folder = tmp_path_factory.mktemp(name)
        write_array(folder / "stimulus.zarr", np.tile(gain * light + offset, (1, 8)))
        write_array(folder / "pos.zarr", np.tile(unit * places.astype(np.float64) + centre, (8, 1)))
        opened[name] = open_field(folder, n_frames=N_FRAMES, n_input_neurons=N_NEURONS, cache_dir=None)
    return opened


@pytest.mark.parametrize("window_frames", [0, 5])
@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_units_change_nothing_but_the_units(
    fields: dict[str, StimulusField], engine: str, window_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "torch":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    cfg = config(window_frames)
    results: dict[str, TrainResult] = {name: train(field, cfg) for name, field in fields.items()}
    one, other = (results[name] for name in UNITS)
    assert one.final_r2 is not None
    assert other.final_r2 is not None
    assert one.final_r2 > 0.8
    assert other.final_r2 == pytest.approx(one.final_r2, abs=0.01)  # float32's grain of the units grows in training
    assert [report.r2 for report in other.reports[:3]] == pytest.approx(
        [report.r2 for report in one.reports[:3]], abs=1e-3
    )
    for name, result in results.items():
        field = fields[name]
        shown = Fit(cfg, result.state_dict, field.scaling).frames(np.arange(N_FRAMES), field.positions)
        mse = np.square(shown.astype(np.float64) - field.targets).mean()
        assert result.final_mse == pytest.approx(mse, rel=1e-3)
        assert 1 - mse / np.var(field.targets, dtype=np.float64) == pytest.approx(result.final_r2, abs=1e-5)
        if window_frames:
            assert result.border_jump == pytest.approx(one.border_jump, rel=0.2)


def test_what_the_bare_trainer_leaves_gives_the_data_s_units(field_folder: Path, tmp_path: Path) -> None:
    """The formula of the documentation on `weights.pt`, with the numbers in `result.json`."""
    folder, file = make_other_units(tmp_path / "data", field_folder), tmp_path / "config.yaml"
    values: dict[str, Any] = plain(config(0))
    values["dataset"]["path"] = str(folder)
    file.write_text(yaml.safe_dump(values))
    assert main([str(file), "--out", str(tmp_path / "run")]) == 0
    result = json.loads((tmp_path / "run/result.json").read_text())
    said, weights = result["scaling"], torch.load(tmp_path / "run/weights.pt", weights_only=True)
    field = open_field(folder, n_frames=N_FRAMES, n_input_neurons=N_NEURONS, cache_dir=None)
    places = (field.positions.astype(np.float64) - [said["x"], said["y"]]) / said["spacing"]
    inputs = [
        np.column_stack([np.full(field.n_unique, frame * 2 * np.pi / 12), places * 2 * np.pi / 8])
        for frame in range(N_FRAMES)
    ]
    h = torch.from_numpy(np.concatenate(inputs))
    for layer in ("net.0.linear", "net.1.linear"):
        h = torch.sin(10 * (h @ weights[f"{layer}.weight"].double().T + weights[f"{layer}.bias"].double()))
    output = (h @ weights["net.2.weight"].double().T + weights["net.2.bias"].double()).reshape(N_FRAMES, -1).numpy()
    error = output - field.targets
    assert 1 - np.square(error).mean() / field.targets.var() == pytest.approx(result["final_r2"], abs=1e-5)
    assert result["final_r2"] > 0.8
