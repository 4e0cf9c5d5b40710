"""What a model can be exported as: the same function as an ONNX graph, and the frames that it predicts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import zarr
from planted import PlantedSweep

from siren_sweep.config.checks import trial_config
from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import ConfigError, OutputError
from siren_sweep.field import UNSCALED, Scaling, cut, open_field
from siren_sweep.field.lattice import hexagonal_lattice
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.train.engine import initial_model
from siren_sweep.train.engine.base import key_prefix, window_seed
from siren_sweep.train.model import Model
from siren_sweep.train.weights_file import ENTRY, Data, Description
from siren_sweep.views.export import FORMS, export_all, write_form

N_FRAMES, N_NEURONS = 32, 19
CASES = {
    "one network": (0, UNSCALED),
    "windows": (5, UNSCALED),
    "windows in other units": (5, Scaling(mean=100.0, spread=60.0, x=320.0, y=240.0, spacing=32.0)),
}
Made = tuple[Description, dict[str, Any], Model]


def config(window_frames: int) -> TrialConfig:
    graph = {"hidden_dim_nnr_f": 16, "n_layers_nnr_f": 2, "omega_f": 30, "nnr_f_T_period": 12, "nnr_f_xy_period": 8}
    return trial_config(
        {
            "graph_model": {**graph, "window_frames": window_frames},
            "training": {"n_training_frames": N_FRAMES},
            "dataset": {"n_input_neurons": N_NEURONS},
        }
    )


@pytest.fixture(scope="module", params=CASES)
def made(request: pytest.FixtureRequest) -> Made:
    """A model as it starts: what it says is as good for telling functions apart as what it learns."""
    window_frames, scaling = CASES[request.param]
    cfg = config(window_frames)
    weights = {
        f"{key_prefix(window)}{key}": value
        for window in cut(N_FRAMES, window_frames)
        for key, value in initial_model(cfg, window_seed(cfg, window)).state_dict().items()
    }
    positions = (hexagonal_lattice(2) * scaling.spacing + [scaling.x, scaling.y]).astype(np.float32)
    origin = {"seed": 42}
    description = Description(cfg, 0.5, Data(None, N_NEURONS, N_FRAMES, "none"), positions, origin, scaling)
    return description, weights, Model(description, weights)


def session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("n", [1, 7, 3000])
def test_onnx_is_the_model_for_any_number_of_points(made: Made, n: int, tmp_path: Path) -> None:
    """At whole frames, between them, over borders, and before and after all of them."""
    description, weights, model = made
    file = write_form("onnx", description, weights, SweepPaths(tmp_path), 1)
    rng, scaling = np.random.default_rng(n), description.scaling
    t = rng.uniform(-2, N_FRAMES + 2, n)
    t[::2] = np.round(t[::2])
    x, y = scaling.x + scaling.spacing * rng.uniform(-8, 8, n), scaling.y + scaling.spacing * rng.uniform(-8, 8, n)
    (luminance,) = session(file).run(None, {"t": t, "x": x, "y": y})
    assert luminance.dtype == np.float32
    np.testing.assert_allclose(luminance, model(t, x, y), atol=1e-5 * scaling.spread, rtol=1e-6)


def test_onnx_says_what_its_model_is(made: Made, tmp_path: Path) -> None:
    description, weights, _ = made
    graph = onnx.load(write_form("onnx", description, weights, SweepPaths(tmp_path), 1))
    said = json.loads({prop.key: prop.value for prop in graph.metadata_props}[ENTRY])
    assert said["final_r2"] == 0.5
    assert said["scaling"]["spread"] == description.scaling.spread
    assert said["provenance"] == {"seed": 42}


def test_predicted_frames_are_a_stimulus_in_the_data_s_units(made: Made, tmp_path: Path) -> None:
    description, weights, model = made
    expected = model.frames(0, N_FRAMES)
    for form in ("npz", "zarr", "zarr"):  # again in the place of the first
        path = write_form(form, description, weights, SweepPaths(tmp_path), 1)
        field = open_field(path, n_frames=N_FRAMES, n_input_neurons=N_NEURONS, cache_dir=None)
        np.testing.assert_array_equal(field.targets[:, field.inverse], expected)
        np.testing.assert_array_equal(field.positions[field.inverse], model.positions)
    with np.load(tmp_path / "best/block_01_frames.npz") as archive:
        np.testing.assert_array_equal(archive["stimulus"], expected)
    assert zarr.open_array(tmp_path / "best/block_01_frames/stimulus.zarr", mode="r").shape == (N_FRAMES, N_NEURONS)


def test_each_form_has_its_own_file(made: Made, tmp_path: Path) -> None:
    description, weights, _ = made
    for form in FORMS:
        write_form(form, description, weights, SweepPaths(tmp_path), 1)
    found = sorted(path.name for path in (tmp_path / "best").iterdir())
    assert found == sorted(f"block_01{ending}" for ending in FORMS.values())
    state = torch.load(tmp_path / "best/block_01.pt", weights_only=True)
    said = state._metadata["siren_sweep"]
    scaling = description.scaling
    assert json.loads(said["places"]) == {"x": scaling.x, "y": scaling.y, "spacing": scaling.spacing}
    assert json.loads(said["provenance"]) == {"seed": 42}


def test_without_onnx_the_way_to_get_it_is_told(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match="an ONNX graph is written by the package onnx: pip install onnx"):
        write_form("onnx", made[0], made[1], SweepPaths(tmp_path), 1)


def test_a_best_run_that_left_no_files_is_told(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path / "s")
    sweep.begin(1)
    sweep.batch(1, [{"score": 3.0}])
    with pytest.raises(OutputError, match=r"there is no .*trial_0000/config\.yaml"):
        export_all(sweep.studies, {}, sweep.paths, OutputPaths(tmp_path))
