"""One small sweep from the command line, in which trials finish, are pruned and diverge; then what it left behind."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import av
import matplotlib.pyplot as plt
import numpy as np
import optuna
import pandas as pd
import pytest
import torch
import yaml
from conftest import Run, run_command
from matplotlib.figure import Figure
from mlflow import MlflowClient
from optuna.trial import TrialState
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

from siren_sweep.config.checks import trial_config
from siren_sweep.config.parameters import EXPLORABLE
from siren_sweep.field.dataset import field_of
from siren_sweep.paths import OutputPaths, SweepPaths, sqlite_url
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import all_blocks, all_studies, open_storage, read_folder
from siren_sweep.train.pictures import save_figure
from siren_sweep.train.weights_file import read_saved
from siren_sweep.views.blocks import read_blocks
from siren_sweep.views.export import export_block

FIXED = {
    "graph_model.omega_f": 20,
    "graph_model.hidden_dim_nnr_f": 16,
    "graph_model.n_layers_nnr_f": 1,
    "graph_model.nnr_f_xy_period": 16,
    "training.inr_batch_size": 4,
}
SWEEP = [
    "-m",
    "blocks=tiny",
    "outputs_dir='a b/it\\'s'",
    "sweep.name=small",
    *(f"{name}={value}" for name, value in FIXED.items()),
    # one that hardly learns and is pruned, one that explodes, two that learn
    "training.learning_rate_NNR_f=choice(1e-8,1e-3,1e-2,1.0)",
    "training.turn_limit=0",
    "training.lr_schedule=cosine",
    "graph_model.nnr_f_T_period=choice(4,8)",
    "pruner=none",
    "pruner._target_=optuna.pruners.ThresholdPruner",
    "+pruner.lower=0.02",
    "+pruner.n_warmup_steps=10",
    "claude.n_parallel=4",
    "claude.n_iter_block=6",
    "claude.n_validation_seeds=1",
]


@pytest.fixture(scope="module")
def command(own_data: list[str]) -> list[str]:
    return [*SWEEP, *own_data]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def swept(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    result = run_command(*command, cwd=home)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def paths(swept: subprocess.CompletedProcess[str], home: Path) -> SweepPaths:
    return OutputPaths(home / "a b" / "it's").sweep("small")


@pytest.fixture(scope="module")
def studies(paths: SweepPaths) -> dict[int, optuna.Study]:
    return all_blocks(open_storage(None, paths))


@pytest.fixture(scope="module")
def mlflow_runs(paths: SweepPaths) -> dict[str, object]:
    client = MlflowClient(sqlite_url(OutputPaths(paths.root.parent).mlflow_db))
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    return {run.data.tags["key"]: run for run in client.search_runs([experiment.experiment_id])}


def test_the_summary_says_where_everything_is(
    swept: subprocess.CompletedProcess[str], paths: SweepPaths, home: Path
) -> None:
    assert f" {paths.best.relative_to(home)}\n" in swept.stdout
    assert "siren-sweep ui 'a b/it'" in swept.stdout
    assert re.search(r"block 1: final_r2 0\.9\d+ at 4 frames", swept.stdout)


def test_nothing_appears_in_the_working_directory(paths: SweepPaths, home: Path) -> None:
    assert [path.name for path in home.iterdir()] == ["a b"]
    assert {path.name for path in paths.root.parent.iterdir()} == {"small", "mlflow.db", "mlartifacts", "cache"}


def test_every_state_occurs_and_none_is_left_open(studies: dict[int, optuna.Study]) -> None:
    states = [trial.state for study in studies.values() for trial in study.trials]
    assert {*states} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    for study in studies.values():
        halves = sum(trial.state is TrialState.PRUNED for trial in study.trials)
        assert len(study.trials) - halves / 2 == pytest.approx(6, abs=0.5), "a budget of six full trials"


def test_a_batch_is_distinct_and_none_is_run_again(studies: dict[int, optuna.Study]) -> None:
    for study in studies.values():
        configs = [json.dumps(trial.user_attrs["config"], sort_keys=True) for trial in study.trials]
        assert len(set(configs)) == len(configs)
        places = [(trial.user_attrs["batch"], trial.user_attrs["slot"]) for trial in study.trials]
        sizes = [sum(batch == own for own, _ in places) for batch in range(1, 1 + places[-1][0])]
        assert sizes[0] == 4
        assert places == [(batch, slot) for batch, size in enumerate(sizes, 1) for slot in range(size)]


def test_trials_hold_what_makes_them(studies: dict[int, optuna.Study]) -> None:
    for number, study in studies.items():
        for trial in study.trials:
            attributes = trial.user_attrs
            assert attributes["config"].keys() == set(EXPLORABLE)
            assert attributes["seed"] == 42
            assert attributes["n_training_frames"] == {1: 4, 2: 8}[number]
            assert attributes["config"]["claude.total_steps"] == 40
            assert attributes["config"].items() >= FIXED.items()
            assert attributes["iteration"] == trial.number + 1 + (number - 1) * len(studies[1].trials)
            parent = attributes["parent"]
            if parent is not None:
                before = study.trials[parent].user_attrs["config"]
                changed = [name for name in EXPLORABLE if before[name] != attributes["config"][name]]
                assert [part.split(":")[0] for part in attributes["mutation"].split(", ")] == [
                    name.split(".")[1] for name in changed
                ]


def test_the_best_config_is_carried_with_both_temporal_periods(studies: dict[int, optuna.Study]) -> None:
    best = studies[1].best_trial.user_attrs["config"]
    first, second = (trial.user_attrs["config"] for trial in studies[2].trials[:2])
    period = "graph_model.nnr_f_T_period"
    assert first == best | {period: 8.0}
    if best[period] == 4.0:  # else the two are one config, and it runs once
        assert second == best


def test_reports_come_at_twenty_equal_fractions(studies: dict[int, optuna.Study]) -> None:
    for study in studies.values():
        for trial in study.get_trials(states=(TrialState.COMPLETE,)):
            assert sorted(trial.intermediate_values) == list(range(1, 21))
            assert [report["step"] for report in trial.user_attrs["reports"]] == [2 * index for index in range(1, 21)]
            assert trial.value is not None
            assert trial.value == pytest.approx(max(trial.intermediate_values.values()), abs=1e-6)


def test_a_pruned_trial_says_why_and_a_failed_one_too(studies: dict[int, optuna.Study]) -> None:
    trials = [trial for study in studies.values() for trial in study.trials]
    for trial in trials:
        outcome = trial.user_attrs["outcome"]
        if trial.state is TrialState.PRUNED:
            fraction = 0.5 + 0.05 * len(trial.user_attrs.get("stints", []))  # one that went on met the same limit again
            assert outcome["reason"].startswith(f"stopped at {fraction:.0%} of its steps")
            assert trial.user_attrs["stop"]["fraction"] == pytest.approx(fraction)
        elif trial.state is TrialState.FAIL:
            assert outcome["status"] == "diverged"
            assert "exploded" in outcome["reason"] or "is no number" in outcome["reason"]


def test_mlflow_has_a_run_for_every_trial_in_its_state(
    studies: dict[int, optuna.Study], mlflow_runs: dict, paths: SweepPaths
) -> None:
    client = MlflowClient(sqlite_url(OutputPaths(paths.root.parent).mlflow_db))
    statuses = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
    assert len(mlflow_runs) == 1 + 2 + sum(len(study.trials) for study in studies.values()) + 2
    assert mlflow_runs["sweep"].info.status == "FINISHED"
    for number, study in studies.items():
        block = mlflow_runs[f"block_{number:02d}"]
        assert block.data.tags["mlflow.parentRunId"] == mlflow_runs["sweep"].info.run_id
        assert block.data.metrics["final_r2"] == study.best_value
        name, run_id = f"block_{number:02d}", block.info.run_id
        assert {item.path for item in client.list_artifacts(run_id)} == {
            f"{name}.png",
            f"{name}.yaml",
            "report",
            "record",
        }
        assert {item.path for item in client.list_artifacts(run_id, "report")} == {
            "report/report.html",
            "report/trials.csv",
        }
        assert {item.path for item in client.list_artifacts(run_id, "record")} == {
            "record/small_analysis.md",
            "record/small_memory.md",
            "record/small_ucb_scores.txt",
        }
        assert "of 2 blocks begun" in Path(client.download_artifacts(run_id, "report/report.html")).read_text()
        for trial in study.trials:
            run = mlflow_runs[f"block_{number:02d}/trial_{trial.number:04d}"]
            assert run.info.status == statuses[trial.state]
            assert run.data.tags["state"] == trial.state.name
            assert run.data.tags["mlflow.parentRunId"] == block.info.run_id
            assert run.data.tags["mutation"] == trial.user_attrs["mutation"]
            assert run.data.params["graph_model.omega_f"] == "20.0"
            if trial.state is not TrialState.COMPLETE:
                assert run.data.tags["reason"] == trial.user_attrs["outcome"]["reason"]
                continue
            assert run.data.metrics["final_r2"] == trial.value
            for curve in ("r2", "mse", "learning_rate", "steps_per_second"):
                history = client.get_metric_history(run.info.run_id, curve)
                assert [point.step for point in history] == [2 * index for index in range(1, 21)]
            artifacts = {item.path for item in client.list_artifacts(run.info.run_id)}
            assert artifacts == {"config.yaml", "weights.safetensors"}


@pytest.mark.filterwarnings("ignore")  # of the libraries that MLflow loads a model with
def test_each_best_model_is_registered_once_and_gives_its_figure(
    studies: dict[int, optuna.Study], paths: SweepPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    outputs = OutputPaths(paths.root.parent)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_url(outputs.mlflow_db))
    client = MlflowClient()
    assert {int(one.version) for one in client.search_model_versions("name = 'small'")} == {1, 2}
    for number, study in studies.items():
        version = client.get_model_version_by_alias("small", f"block_{number:02d}")
        assert version.tags["trial"] == str(study.best_trial.number)
        field = field_of(trial_config(yaml.safe_load(paths.best_file(number, ".yaml").read_text())), outputs)
        t, x, y = (np.repeat(np.arange(field.n_frames), field.n_unique), *np.tile(field.positions.T, field.n_frames))
        model = mlflow.pyfunc.load_model(f"models:/small@block_{number:02d}")
        error = model.predict(pd.DataFrame({"t": t, "x": x, "y": y}).astype(float)) - np.array(field.targets).ravel()
        r2 = 1 - np.square(error).sum() / np.square(field.targets - np.mean(field.targets)).sum()
        assert r2 == pytest.approx(study.best_value, abs=1e-5)


def test_the_winner_is_trained_again_with_another_seed(paths: SweepPaths, mlflow_runs: dict) -> None:
    entries = json.loads(paths.best_json.read_text())
    for number, study in all_studies(open_storage(None, paths))[1].items():
        (trial,) = study.trials
        assert trial.state is TrialState.COMPLETE
        assert trial.user_attrs["seed"] == 43
        assert trial.user_attrs["config"] == entries[number - 1]["parameters"]
        assert entries[number - 1]["validation_r2"] == [trial.value]
        run = mlflow_runs[f"block_{number:02d}_validation/trial_0000"]
        assert run.data.tags["mlflow.parentRunId"] == mlflow_runs[f"block_{number:02d}"].info.run_id
        assert run.info.status == "FINISHED"


def test_best_json_holds_the_best_of_each_block(studies: dict[int, optuna.Study], paths: SweepPaths) -> None:
    entries = json.loads(paths.best_json.read_text())
    assert [entry["block"] for entry in entries] == [1, 2]
    for entry in entries:
        study = studies[entry["block"]]
        assert entry["trial"] == study.best_trial.number
        assert entry["final_r2"] == study.best_value
        assert entry["parameters"] == study.best_trial.user_attrs["config"]
        assert entry["data_hash"] == study.user_attrs["data_hash"]
        assert entry.keys() >= {
            "n_training_frames",
            "final_mse",
            "final_pearson_r2",
            "training_time_min",
            "total_params",
            "rank_90",
            "rank_99",
        }


def test_exported_weights_have_the_reference_keys_in_both_forms(paths: SweepPaths) -> None:
    plain = torch.load(paths.best_file(1, ".pt"), weights_only=True)
    safe = load_file(paths.best_file(1, ".safetensors"))
    layers = ["net.0.linear", "net.1.linear", "net.2"]
    assert sorted(plain) == sorted(safe) == sorted(f"{layer}.{kind}" for layer in layers for kind in ("bias", "weight"))
    scaling = read_saved(paths.best_file(1, ".safetensors"))[0].scaling
    expected = safe | {"net.2.weight": safe["net.2.weight"] * scaling.spread}
    expected["net.2.bias"] = safe["net.2.bias"] * scaling.spread + scaling.mean  # its output is luminance
    for key, value in expected.items():
        np.testing.assert_array_equal(plain[key].numpy(), value)


def test_every_exported_file_says_where_it_comes_from(paths: SweepPaths) -> None:
    origin = json.loads(paths.best_json.read_text())[0]["provenance"]
    assert origin.keys() >= {"siren_sweep", "commit", "torch", "device", "cpu", "precision", "seed", "data_hash"}
    assert "-m siren_sweep -m blocks=tiny" in origin["command"]
    assert origin["other_seeds"] == [43]
    text = json.dumps(origin)
    assert f"# data_hash: {origin['data_hash']}\n" in paths.best_file(1, ".yaml").read_text()
    with safe_open(paths.best_file(1, ".safetensors"), "np") as file:
        assert json.loads(file.metadata()["siren_sweep"])["provenance"] == origin
    state = torch.load(paths.best_file(1, ".pt"), weights_only=True)
    assert state._metadata["siren_sweep"]["provenance"] == text
    text = json.dumps({name: value for name, value in origin.items() if name != "other_seeds"})  # shown is one run
    with Image.open(paths.best_file(1, ".png")) as picture, Image.open(paths.best_file(1, ".webp")) as loop:
        assert picture.info["Description"] == loop.getexif()[0x010E] == text
    with av.open(str(paths.best_file(1, ".mp4"))) as film:
        assert film.metadata["comment"] == text
    description = ElementTree.parse(paths.best_file(1, ".svg")).getroot().find(".//{*}description")
    assert description is not None
    assert description.text == text
    assert re.search(rb"/Subject \(", paths.best_file(1, ".pdf").read_bytes())
    assert origin["data_hash"] in paths.report.read_text()
    row = pd.read_csv(paths.trials_csv).query("block == 1").iloc[int(origin["trial"].rpartition("_")[2])]
    shared = ("siren_sweep", "commit", "torch", "device", "cpu", "precision", "seed", "data_hash", "command")
    assert {name: row[name] for name in shared} == {name: origin[name] for name in shared}
    analysis, memory = ((paths.record / f"{paths.root.name}_{name}.md").read_text() for name in ("analysis", "memory"))
    versions = f"\nProvenance: siren_sweep {origin['siren_sweep']}; commit {origin['commit']}; python "
    assert analysis.count(versions) == 2  # once in each block
    assert versions in memory
    assert f"# data_hash: {origin['data_hash']}\n" in (paths.record / "config" / "iter_001_slot_00.yaml").read_text()


def test_the_film_shows_truth_prediction_and_error(paths: SweepPaths) -> None:
    with av.open(str(paths.best_file(2, ".mp4"))) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    height, width, _ = frames[0].shape
    with Image.open(paths.best_file(2, ".webp")) as loop:
        assert (len(frames), loop.n_frames) == (8, 4)
        assert (loop.size, loop.info["loop"]) == ((width, height), 0)
    grey = np.ptp(frames[0].astype(int), axis=2) < 24  # of no colour, but for what H.264 adds
    thirds = [grey[48:, place * width // 3 : (place + 1) * width // 3].mean() for place in range(3)]
    assert min(thirds[:2]) > 0.99 > thirds[2] + 0.1


def test_the_notebook_runs_from_the_sweep_to_its_figures(
    paths: SweepPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "demo").symlink_to(paths.root)
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    notebook = json.loads((Path(__file__).parents[2] / "examples" / "from_sweep_to_figure.ipynb").read_text())
    known: dict[str, object] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), known)
    plt.close("all")
    best = json.loads(paths.best_json.read_text())[1]
    assert f"R2 {best['final_r2']:.6f}, and {best['final_r2']:.6f} by the sweep" in capsys.readouterr().out
    assert np.load("prediction.npy").shape == (8, 152)
    assert Path("error_by_frame.pdf").stat().st_size > 1000


def test_the_exported_config_gives_its_figure_again(paths: SweepPaths, home: Path) -> None:
    entry = json.loads(paths.best_json.read_text())[1]
    values = yaml.safe_load(paths.best_file(2, ".yaml").read_text())
    assert values["training"]["n_training_frames"] == 8
    result = run_command("--config-dir", str(paths.best), "--config-name", "block_02", "outputs_dir=again", cwd=home)
    assert result.returncode == 0, result.stderr
    lines = dict(line.split(": ") for line in result.stdout.splitlines())
    assert list(lines) == [
        "final_r2",
        "final_mse",
        "final_pearson_r2",
        "r2_ceiling",
        "training_time_min",
        "total_params",
        "params_per_value",
        "rank_90",
        "rank_99",
    ]
    (written,) = home.glob("again/runs/*/*/result.json")
    assert json.loads(written.read_text())["final_r2"] == pytest.approx(entry["final_r2"], abs=1e-6)
    assert f"{entry['final_r2']:.6f}" == lines["final_r2"]


def test_export_can_be_made_again(paths: SweepPaths, run_here: Run) -> None:
    files = [paths.best_json, *(paths.best_file(block, ".yaml") for block in (1, 2))]
    before = [file.read_bytes() for file in files]
    for file in paths.best.iterdir():
        file.unlink()
    result = run_here("export", str(paths.root))
    assert result.returncode == 0, result.stderr
    assert [file.read_bytes() for file in files] == before


def test_pictures_of_the_same_run_are_made_once(
    studies: dict[int, optuna.Study], paths: SweepPaths, home: Path
) -> None:
    files = [paths.best_file(1, ending) for ending in (".png", ".mp4", ".pdf", ".safetensors")]

    def export() -> list[bool]:
        before = [file.stat().st_mtime_ns if file.exists() else 0 for file in files]
        own = all_studies(open_storage(None, paths))[1][1]
        (block,) = read_blocks({1: studies[1]}, {1: own})
        export_block(block, paths, OutputPaths(home / "a b" / "it's"))
        return [file.stat().st_mtime_ns > was for file, was in zip(files, before, strict=True)]

    assert export() == [False, False, False, True]
    files[1].unlink()
    assert export() == [True, True, True, True]
    save_figure(Figure(), files[0], "of another run")
    assert export() == [True, True, True, True]


def test_a_second_call_runs_nothing_again(
    command: list[str], paths: SweepPaths, studies: dict[int, optuna.Study], home: Path
) -> None:
    trials = [trial for study in studies.values() for trial in study.trials]
    attempts = [trial.user_attrs["attempt"] for trial in trials]
    result = run_command(*command, cwd=home)
    assert result.returncode == 0, result.stderr
    now = all_blocks(open_storage(None, paths))
    assert [trial.user_attrs["attempt"] for study in now.values() for trial in study.trials] == attempts
    assert attempts == [1 + len(trial.user_attrs.get("stints", [])) for trial in trials]


def test_a_setting_of_the_pruner_stops_no_run_of_the_best(own_data: list[str], tmp_path: Path) -> None:
    """A `pruner=none` behind it would not compose: it has no such setting."""
    few = ["claude.n_parallel=2", "claude.n_iter_block=2", "claude.n_validation_seeds=1", "tracking=none"]
    block = "blocks.schedule=[{n_training_frames:4,total_steps:40}]"
    own = ["pruner.confidence=0.99", "training.inr_batch_size=4", "sweep.name=s"]
    result = run_command("-m", "blocks=tiny", block, *few, *own, *own_data, cwd=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    with read_folder(tmp_path / "outputs" / "s") as (_, _, validations):
        (again,) = read_trials(validations[1])
    assert again.state is optuna.trial.TrialState.COMPLETE
