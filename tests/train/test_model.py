"""A trained model from its file: the function that was trained, and one message where there is none."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import N_NEURONS
from fields import make_other_units
from matplotlib.figure import Figure
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.metrics import r2_score

from siren_sweep.config.checks import trial_config
from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import ConfigError, OutputError
from siren_sweep.field import StimulusField, cut, open_field
from siren_sweep.paths import TrialPaths
from siren_sweep.train.model import Model, load
from siren_sweep.train.run import run_training
from siren_sweep.train.weights_file import ENTRY, read_saved, saved_bytes

N_FRAMES = 16


def config(folder: Path, window_frames: int = 0) -> TrialConfig:
    graph = {"hidden_dim_nnr_f": 16, "n_layers_nnr_f": 1, "omega_f": 10, "nnr_f_T_period": 12, "nnr_f_xy_period": 8}
    return trial_config(
        {
            "dataset": {"path": str(folder), "n_input_neurons": N_NEURONS},
            "graph_model": {**graph, "window_frames": window_frames},
            "training": {"n_training_frames": N_FRAMES, "learning_rate_NNR_f": 3e-3, "inr_batch_size": 4},
            "claude": {"total_steps": 200},
        }
    )


@pytest.fixture(scope="module", params=["one network", "windows", "windows in other units"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, field_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    other = "units" in kind
    return make_other_units(tmp_path_factory.mktemp("data") / "other", field_folder) if other else field_folder


@pytest.fixture(scope="module")
def field(folder: Path) -> StimulusField:
    return open_field(folder, n_frames=N_FRAMES, n_input_neurons=N_NEURONS, cache_dir=None)


@pytest.fixture(scope="module")
def run(
    kind: str, field: StimulusField, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A training run's folder, and its metrics."""
    paths = TrialPaths(tmp_path_factory.mktemp("run"))
    _, metrics = run_training(config(folder, 5 if "windows" in kind else 0), field, paths)
    return paths.root, metrics


@pytest.fixture(scope="module")
def model(run: tuple[Path, dict[str, Any]]) -> Model:
    return load(run[0])


def test_r2_over_all_frames_and_neurons_is_the_one_that_it_says(
    model: Model, run: tuple[Path, dict[str, Any]], field: StimulusField
) -> None:
    truth = np.array(field.targets)[:, field.inverse]
    predicted = model.frames(0, N_FRAMES)
    assert predicted.shape == (N_FRAMES, N_NEURONS)
    assert predicted.dtype == np.float32
    assert 0.1 < model.final_r2 == run[1]["final_r2"]
    assert run[1]["final_mse"] == pytest.approx(np.square(truth - predicted, dtype=np.float64).mean(), rel=1e-4)
    assert model.final_r2 == pytest.approx(r2_score(truth.ravel(), predicted.ravel()), abs=1e-6)
    assert np.array_equal(model.positions, field.positions[field.inverse])


def by_hand(run: tuple[Path, dict[str, Any]], model: Model, t: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The formula in the file, in float64: luminance (n,) at whole frames or within a window."""
    graph, weights = model.config.graph_model, load_file(TrialPaths(run[0]).weights)
    with safe_open(TrialPaths(run[0]).weights, "pt") as opened:
        said = json.loads(opened.metadata()[ENTRY])["scaling"]
    values = np.empty(len(t))
    for window in cut(N_FRAMES, graph.window_frames):
        own = (t >= window.start) & (t < window.stop)
        prefix = "" if window.alone else f"window_{window.index:04d}."
        t_in = (t[own] - window.start) * 2 * np.pi / graph.nnr_f_T_period
        places = (x[own] - said["x"]) / said["spacing"], (y[own] - said["y"]) / said["spacing"]
        h = np.stack([t_in, *(place * 2 * np.pi / graph.nnr_f_xy_period for place in places)])
        for layer in range(graph.n_layers_nnr_f + 1):
            weight, bias = (
                weights[f"{prefix}net.{layer}.linear.{kind}"].double().numpy() for kind in ("weight", "bias")
            )
            h = np.sin(graph.omega_f * (weight @ h + bias[:, None]))
        last = f"{prefix}net.{graph.n_layers_nnr_f + 1}"
        output = weights[f"{last}.weight"].double().numpy()[0] @ h + float(weights[f"{last}.bias"][0])
        values[own] = said["mean"] + said["spread"] * output
    return values


@pytest.fixture
def points(model: Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places and times (100,), within windows."""
    rng = np.random.default_rng(0)
    t = rng.integers(0, N_FRAMES - 1, 100) + 0.0
    low, high = model.positions.min(axis=0), model.positions.max(axis=0)
    return t, rng.uniform(low[0], high[0], 100), rng.uniform(low[1], high[1], 100)


def test_the_model_is_its_formula(model: Model, run: tuple[Path, dict[str, Any]], points: Any) -> None:
    np.testing.assert_allclose(model(*points), by_hand(run, model, *points), atol=1e-5 * model.scaling.spread)


def test_gradients_are_finite_differences(model: Model, run: tuple[Path, dict[str, Any]], points: Any) -> None:
    step = 1e-5
    t, x, y = points
    t = np.floor(t / 5) * 5 + 1.5  # inside the windows of 5 frames, where there are such
    given = [torch.tensor(value, requires_grad=True) for value in (t, x, y)]
    model(*given).sum().backward()
    for place, tensor in enumerate(given):
        above, below = (
            [value + sign * step * (other == place) for other, value in enumerate((t, x, y))] for sign in (1, -1)
        )
        slope = (by_hand(run, model, *above) - by_hand(run, model, *below)) / (2 * step)
        assert tensor.grad is not None
        np.testing.assert_allclose(tensor.grad.numpy(), slope, atol=1e-4 * np.abs(slope).max())


def test_gradients_between_windows_are_the_blend_s(model: Model) -> None:
    if not model.config.graph_model.window_frames:
        pytest.skip("one network has no border")
    border = cut(N_FRAMES, 5)[1].start
    t = torch.tensor([border - 0.5], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(model(t, 0.3, 0.2), t)
    around = model(np.array([border - 0.49, border - 0.51]), 0.3, 0.2)
    assert float(slope) == pytest.approx((around[0] - around[1]) / 0.02, rel=0.02, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int64, torch.float32])
def test_times_of_any_type_are_the_same_times(model: Model, dtype: torch.dtype) -> None:
    """A byte would wrap where a window's start is taken off."""
    t = torch.arange(min(N_FRAMES, 100))
    assert torch.equal(model(t.to(dtype), 0.5, 0.25), model(t.double(), 0.5, 0.25))


def test_torch_and_numpy_agree_and_scalars_broadcast(model: Model, points: Any) -> None:
    expected = model(*points)
    assert isinstance(expected, np.ndarray)
    assert expected.dtype == np.float32
    torched = model(*map(torch.from_numpy, points))
    assert isinstance(torched, torch.Tensor)
    assert np.array_equal(torched.numpy(), expected)
    assert np.array_equal(model(points[0].astype(int), points[1], torch.from_numpy(points[2])).numpy(), expected)
    assert model(3, 0.5, 0.25).shape == ()
    grid = model(np.arange(6).reshape(2, 3), 0.5, 0.25)
    assert grid.shape == (2, 3)
    assert grid[1, 2] == pytest.approx(model(5.0, 0.5, 0.25), rel=1e-5, abs=1e-6)
    assert model([], [], []).shape == (0,)
    many = np.arange(40_000) % N_FRAMES
    np.testing.assert_allclose(model(many, 0.5, 0.25), model(many[:N_FRAMES], 0.5, 0.25)[many], rtol=1e-5, atol=1e-6)


def test_a_frame_is_a_row_in_the_data_s_order(model: Model) -> None:
    rows = model.frames(3, 6)
    assert rows.shape == (3, N_NEURONS)
    np.testing.assert_allclose(model.frame(np.int64(4)), rows[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.frame(4), model(4, *model.positions.T), rtol=1e-5, atol=1e-6)
    assert model.frames(2, 2).shape == (0, N_NEURONS)


@pytest.mark.parametrize("frame", [-1, N_FRAMES, 1.5, "2", None])
def test_a_wrong_frame_is_reported(model: Model, frame: Any) -> None:
    for ask in (model.frame, model.plot):
        with pytest.raises(ConfigError, match=f"the frame must be a whole number from 0 to 15, got {frame!r}"):
            ask(frame)


@pytest.mark.parametrize(("first", "end"), [(-1, 3), (4, 3), (0, N_FRAMES + 1)])
def test_frames_beyond_the_data_are_told(model: Model, first: int, end: int) -> None:
    with pytest.raises(ConfigError, match="must be a whole number from 0 to"):
        model.frames(first, end)


def test_inputs_that_do_not_fit_are_told(model: Model) -> None:
    with pytest.raises(ConfigError, match=r"one shape, or be scalars, got \(2,\), \(3,\), \(\)"):
        model([1, 2], [1, 2, 3], 0)
    for wrong, shown in (
        ("here", "str: 'here'"),
        (None, "NoneType: None"),
        (1j, "complex: 1j"),
        ([[1], [2, 3]], "list: "),
    ):
        with pytest.raises(ConfigError, match=re.escape(f"x must be real numbers, got {shown}")):
            model(1, wrong, 0)
    with pytest.raises(ConfigError, match=r"x must be real numbers, got torch\.complex64"):
        model(1, torch.tensor(1j), 0)
    with pytest.raises(ConfigError, match="device must be one that torch has here, got 'nowhere'"):
        model.to("nowhere")
    assert model.to("cpu") is model


def test_the_file_says_what_it_is(model: Model, run: tuple[Path, dict[str, Any]], field: StimulusField) -> None:
    with safe_open(TrialPaths(run[0]).weights, "pt") as opened:
        said = json.loads(opened.metadata()[ENTRY])
    assert said["final_r2"] == model.final_r2
    assert said["data"]["data_hash"] == model.data.data_hash == field.data_hash
    assert said["provenance"]["torch"] == torch.__version__
    assert (said["provenance"]["seed"], said["provenance"]["device"]) == (42, "cpu")
    assert said["provenance"]["precision"] in ("float32", "bfloat16")
    assert "t_in = (frame - start of its window) * 2 pi / nnr_f_T_period" in said["formula"]
    assert said["config"]["graph_model"]["omega_f"] == 10
    description, weights = read_saved(TrialPaths(run[0]).weights)
    assert saved_bytes(weights, description) == TrialPaths(run[0]).weights.read_bytes()
    assert "final_r2=" in repr(model)


def test_a_plot_has_truth_where_the_data_are_at_hand(model: Model, run: tuple[Path, dict[str, Any]]) -> None:
    figure = model.plot(3)
    assert isinstance(figure, Figure)
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["truth", "prediction", "error"]
    description, weights = read_saved(TrialPaths(run[0]).weights)
    for data in (replace(model.data, path="/nowhere"), replace(model.data, path=None)):
        alone = Model(replace(description, data=data), weights).plot(3)
        assert [axes.get_title() for axes in alone.axes if axes.get_title()] == ["prediction"]


def test_a_file_that_is_no_model_is_reported(run: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    whole = TrialPaths(run[0]).weights
    best = tmp_path / "demo" / "best"
    best.mkdir(parents=True)
    file = best / "block_02.safetensors"
    with pytest.raises(OutputError, match=r"there is no .*block_02\.safetensors"):
        load(file)
    file.write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(OutputError, match=r"must be a whole file of weights .*siren-sweep export .*demo`"):
        load(file)
    save_file(load_file(whole), file)
    with pytest.raises(OutputError, match=r"an older version wrote it; `siren-sweep export .*demo` writes it again"):
        load(tmp_path / "demo", block=2)
    weights = load_file(whole)
    description, _ = read_saved(whole)
    file.write_bytes(saved_bytes({key: weights[key] for key in list(weights)[1:]}, description))
    with pytest.raises(OutputError, match="the weights must be those of"):
        load(file)
    file.write_bytes(saved_bytes(weights, description))
    for path in (file, str(file.with_suffix(".yaml")), best / "block_02", file.with_suffix(".png")):
        assert load(path).final_r2 == description.final_r2
    with pytest.raises(OutputError, match=r"no .*block_03\.safetensors; the folder holds block_02"):
        load(tmp_path / "demo", block=3)
    with pytest.raises(ConfigError, match="block must be given with a sweep's folder"):
        load(tmp_path / "demo")
    with pytest.raises(ConfigError, match="block must be a whole number from 1 on, got '2'"):
        load(tmp_path / "demo", block="2")  # type: ignore[arg-type]
