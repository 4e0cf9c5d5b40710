"""A small sweep of windows: searched on a sample, exported whole, and run again from its export."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
import yaml
from conftest import N_NEURONS, run_command
from mlflow import MlflowClient
from safetensors.torch import load_file, save_file
from sklearn.metrics import r2_score

import siren_sweep
from siren_sweep.cli import commands
from siren_sweep.config.checks import trial_config
from siren_sweep.errors import ConfigError, OutputError
from siren_sweep.field import open_field
from siren_sweep.paths import OutputPaths, SweepPaths, sqlite_url
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import all_studies, open_folder, open_storage, seed_runs, whole_runs, winner
from siren_sweep.train.fit import Fit
from siren_sweep.train.siren import Siren
from siren_sweep.train.weights_file import read_saved
from siren_sweep.views.export import export_all
from siren_sweep.views.mlflow.model import _load_pyfunc

N_WINDOWS = 5  # of 3 frames, the last one of 4


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def swept(own_data: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    command = [
        "-m",
        "blocks=tiny",
        *own_data,
        "sweep.name=windows",
        "blocks.schedule=[{n_training_frames:16,total_steps:40}]",
        "graph_model.window_frames=3",
        "claude.search_windows=2",
        "claude.n_iter_block=4",
        "claude.n_validation_seeds=1",
        "training.learning_rate_NNR_f=3e-3",
    ]
    result = run_command(*command, cwd=home)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def paths(swept: subprocess.CompletedProcess[str], home: Path) -> SweepPaths:
    return OutputPaths(home / "outputs").sweep("windows")


@pytest.fixture(scope="module")
def entry(paths: SweepPaths) -> dict[str, Any]:
    (entry,) = json.loads(paths.best_json.read_text())
    assert isinstance(entry, dict)
    return entry


def test_every_r2_of_a_sample_says_so(swept: subprocess.CompletedProcess[str], paths: SweepPaths) -> None:
    ended = [line for line in swept.stderr.splitlines() if re.search(r"trial +\d+  R2", line)]
    assert len(ended) >= 3
    assert all("over 2 of 5 windows" in line for line in ended)
    assert "final_r2" in swept.stdout
    page = paths.report.read_text().replace("\u00a0", " ")  # the report breaks no line there
    assert "over 2 of 5 windows" in page
    assert "jump at borders" in page
    log = (paths.record / "windows_analysis.md").read_text()
    assert "sample_r2=" in log
    assert "final_r2=" not in log


def test_what_is_exported_was_trained_whole(paths: SweepPaths, entry: dict[str, Any]) -> None:
    storage = open_storage(None, paths)
    study, validation = (found[1] for found in all_studies(storage))
    best = winner(study, validation)
    assert best is not None
    assert best.run in whole_runs(validation)
    assert entry["final_r2"] == best.final_r2 == best.run.metrics["final_r2"]
    assert entry["sample_r2"] == best.searched.value
    assert (entry["sample_windows"], entry["n_windows"]) == (2, N_WINDOWS)
    assert all("final_r2" not in trial.metrics for trial in read_trials(study))
    (seed,) = seed_runs(validation)  # of the winner, on the sample
    assert seed.plan.config == best.searched.plan.config
    assert seed.metrics["sample_windows"] == 2


def test_each_window_s_weights_load_in_the_reference_s_class(paths: SweepPaths, entry: dict[str, Any]) -> None:
    weights = load_file(paths.best_file(1, ".safetensors"))
    parameters = entry["parameters"]
    for index in range(N_WINDOWS):
        prefix = f"window_{index:04d}."
        own = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
        width, depth = parameters["graph_model.hidden_dim_nnr_f"], parameters["graph_model.n_layers_nnr_f"]
        Siren(width, depth, parameters["graph_model.omega_f"]).load_state_dict(own)
    assert entry["total_params"] == sum(value.numel() for value in weights.values())
    assert weights.keys() == torch.load(paths.best_file(1, ".pt"), weights_only=True).keys()


def test_the_exported_config_gives_the_same_figure(paths: SweepPaths, entry: dict[str, Any], home: Path) -> None:
    result = run_command("--config-dir", str(paths.best), "--config-name", "block_01", cwd=home)
    assert result.returncode == 0, result.stderr
    assert f"final_r2: {entry['final_r2']:.6f}" in result.stdout
    bare = run_command(str(paths.best_file(1, ".yaml")), cwd=home, module="siren_sweep.train")
    assert f"final_r2: {entry['final_r2']:.6f}" in bare.stdout


def test_mlflow_has_the_sample_by_a_name_of_its_own(paths: SweepPaths, entry: dict[str, Any]) -> None:
    client = MlflowClient(sqlite_url(OutputPaths(paths.root.parent).mlflow_db))
    experiment = client.get_experiment_by_name("windows")
    assert experiment is not None
    runs = {run.data.tags["key"]: run.data for run in client.search_runs([experiment.experiment_id])}
    trials = [data for key, data in runs.items() if key.startswith("block_01/")]
    assert len(trials) == 4
    assert all("final_r2" not in data.metrics for data in trials)
    assert max(data.metrics.get("sample_r2", -9) for data in trials) == entry["sample_r2"]
    assert runs["block_01"].metrics["final_r2"] == entry["final_r2"]
    version = client.get_model_version_by_alias("windows", "block_01")
    loaded = _load_pyfunc(f"{unquote(urlparse(str(version.source)).path)}/data")
    frames = pd.DataFrame({"t": [0.0, 5.0, 5.5], "x": [0.0] * 3, "y": [0.0] * 3})
    cfg = trial_config(yaml.safe_load(paths.best_file(1, ".yaml").read_text()))
    saved, weights = read_saved(paths.best_file(1, ".safetensors"))
    fit = Fit(cfg, weights, saved.scaling)
    expected = fit(*(torch.tensor(frames[name].to_numpy()) for name in ("t", "x", "y")))
    assert loaded.predict(frames) == pytest.approx(expected.detach().numpy(), abs=1e-6)


def test_the_export_loads_as_the_function_that_was_measured(
    paths: SweepPaths, entry: dict[str, Any], field_folder: Path
) -> None:
    model = siren_sweep.load(paths.root, block=1)
    field = open_field(field_folder, n_frames=16, n_input_neurons=N_NEURONS, cache_dir=None)
    truth = np.array(field.targets)[:, field.inverse]
    assert model.final_r2 == entry["final_r2"]
    assert r2_score(truth.ravel(), model.frames(0, 16).ravel()) == pytest.approx(model.final_r2, abs=1e-6)
    assert (model.data.path, model.data.data_hash) == (str(field_folder), entry["data_hash"])
    assert model.config.graph_model.window_frames == 3
    assert model.provenance["seed"] == entry["seed"]


def test_one_form_of_the_models_alone_is_exported(paths: SweepPaths, tmp_path: Path) -> None:
    own = shutil.copytree(paths.root, tmp_path / "windows")
    before = sorted((own / "best").iterdir())
    assert commands.run(["export", str(own), "--format", "onnx"]) == 0
    assert sorted((own / "best").iterdir()) == sorted([*before, own / "best/block_01.onnx"])
    points = {"t": np.array([0.0, 2.5, 15.0]), "x": np.array([0.0, 1.0, -1.0]), "y": np.zeros(3)}
    (luminance,) = onnxruntime.InferenceSession(own / "best/block_01.onnx").run(None, points)
    np.testing.assert_allclose(luminance, siren_sweep.load(own, block=1)(*points.values()), atol=1e-5)


def test_the_sweep_s_data_frames_say_what_was_a_sample(paths: SweepPaths, entry: dict[str, Any]) -> None:
    before = [(file, file.stat().st_mtime_ns) for file in sorted(paths.root.rglob("*"))]
    sweep = siren_sweep.open_sweep(paths.root)
    best = sweep.best(1)
    assert best is not None
    assert {name: best[name] for name in entry.keys() - {"provenance"}} == {
        name: value for name, value in entry.items() if name != "provenance"
    }
    assert best["config"]["graph_model"]["window_frames"] == 3
    ended = sweep.trials[sweep.trials.state == "complete"]
    assert set(ended.part) == {"over 2 of 5 windows"}
    assert ended.r2.max() == entry["sample_r2"]
    assert (ended.minutes > 0).all()
    assert set(sweep.curves.number) <= set(sweep.trials.number)
    assert sweep.load(1).final_r2 == siren_sweep.compare([paths.root]).final_r2[0] == entry["final_r2"]
    assert [(file, file.stat().st_mtime_ns) for file in sorted(paths.root.rglob("*"))] == before


def test_the_model_in_mlflow_loads_by_its_page_s_line_by_its_address_and_by_its_folder(
    paths: SweepPaths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uri = sqlite_url(OutputPaths(paths.root.parent).mlflow_db)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="MLFLOW_TRACKING_URI, must say where MLflow is"):
        siren_sweep.load("models:/windows@block_01")
    said = MlflowClient(uri).get_model_version_by_alias("windows", "block_01").description
    told: dict[str, Any] = {}
    exec(said.partition("```python\n")[2].partition("```")[0], told)  # the lines that the model's page shows
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "mlflow.db").symlink_to(OutputPaths(paths.root.parent).mlflow_db)
    here = siren_sweep.load("models:/windows@block_01")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    expected = siren_sweep.load(paths.best / "block_01")
    folder = unquote(urlparse(str(MlflowClient(uri).get_model_version_by_alias("windows", "block_01").source)).path)
    before = sorted(Path(folder).rglob("*"))
    for model in (told["model"], here, siren_sweep.load("models:/windows@block_01"), siren_sweep.load(folder)):
        assert model.final_r2 == expected.final_r2
        assert np.array_equal(model.frame(7), expected.frame(7))
    assert sorted(Path(folder).rglob("*")) == before
    with pytest.raises(OutputError, match="MLflow must have the model 'models:/windows@block_09' at sqlite"):
        siren_sweep.load("models:/windows@block_09")
    with pytest.raises(ConfigError, match="block must be left out"):
        siren_sweep.load("models:/windows@block_01", block=1)


def test_an_export_of_weights_that_say_nothing_says_what_the_study_knows(paths: SweepPaths, tmp_path: Path) -> None:
    """As an older version left them: its own export is refused, and the one that is made again loads."""
    home = OutputPaths(tmp_path / "outputs")
    shutil.copytree(paths.root, home.root / "windows")
    _, _, studies, validations = open_folder(home.root / "windows")
    own, best = home.sweep("windows"), winner(studies[1], validations[1])
    assert best is not None
    exported, trained = own.best_file(1, ".safetensors"), own.trial(best.study, best.run.number).weights
    before = siren_sweep.load(exported)
    for file in (exported, trained):
        save_file(load_file(file), file)
    with pytest.raises(OutputError, match=re.escape(f"`siren-sweep export {own.root}` writes it again")):
        siren_sweep.load(exported)
    export_all(studies, validations, own, home)
    again = siren_sweep.load(exported)
    assert (again.final_r2, again.data) == (before.final_r2, before.data)
    assert "torch" not in again.provenance
    assert [again.provenance[name] for name in ("seed", "data_hash", "command")] == [
        before.provenance[name] for name in ("seed", "data_hash", "command")
    ]
    assert np.array_equal(again.frames(0, 16), before.frames(0, 16))
