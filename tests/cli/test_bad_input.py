"""A person's mistakes: one message with the rule and the value, exit code 2, nothing written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import N_NEURONS, Run, Swept, run_command, told
from fields import make_field_folder, write_array

from siren_sweep.config.overrides import faults_of
from siren_sweep.study.studies import STORAGE_URL_VARIABLE

Told = Callable[..., str]


@pytest.mark.parametrize(
    ("overrides", "rules"),
    [
        (["graph_model.omgea_f=3"], ["no setting graph_model.omgea_f; the nearest is graph_model.omega_f"]),
        (
            ["+training.learning_rate=1e-3", "+foo=1", "+trainings.seed=1", "++omega_f=2", "graph_model.omega_f=0"],
            [
                "5 faults",
                "no setting training.learning_rate; the nearest is training.learning_rate_NNR_f, got 0.001",
                "no setting foo, got 1",
                "no setting trainings; the nearest is training, got {'seed': 1}",
                "no setting omega_f; the nearest is graph_model.omega_f, got 2",
                "graph_model.omega_f must be greater than 0, got 0",
            ],
        ),
        (["graph_model.omega_f=0"], ["graph_model.omega_f must be greater than 0, got 0"]),
        (["graph_model.omega_f=nan"], ["graph_model.omega_f must be a finite number, got nan"]),
        (["graph_model.hidden_dim_nnr_f=12.5"], ["'12.5' of type 'float' could not be converted to Integer"]),
        (["graph_model.hidden_dim_nnr_f=-3"], ["graph_model.hidden_dim_nnr_f must be at least 4, got -3"]),
        (["training.inr_batch_size=0"], ["training.inr_batch_size must be at least 1, got 0"]),
        (["claude.total_steps=0"], ["claude.total_steps must be at least 20, got 0"]),
        (["training.inr_batch_size=11"], ["at most training.n_training_frames (10), got 11"]),
        (["training.n_training_frames=17"], ["17", "16"]),
        (["training.sampling=both"], ["both"]),
        (["experiment=none_such"], ["experiment/none_such"]),
        (["graph_model.omega_f=choice(3"], ["choice(3"]),
        (["graph_model.omega_f=zwölf"], ["token recognition error at: 'ö'"]),
        (
            ["dataset.path=/données/x"],
            ["""dataset.path must be in quotes""", """"dataset.path='/données/x'", got /données/x"""],
        ),
        (["outputs_dir=/a=b"], [""""outputs_dir='/a=b'", got /a=b"""]),
        (
            ["sweep.name=it's", "storage.url=pg://me:wörd@host"],
            ["\"sweep.name='it\\'s'\"", "storage.url must be in quotes"],
        ),
        (  # what the one needs of the other is no fault of what was typed
            ["training.n_training_frames=5", "training.inr_batch_size=4", "training.sead=1"],
            ["error: training.sead=1: there is no setting training.sead; the nearest is training.seed"],
        ),
        (
            ["graph_model.omega_f=-1", "training.inr_batch_size=zwei", "graph_model.hue=red", "claude.total_steps=3"],
            [
                "4 faults",
                "graph_model.omega_f must be greater than 0, got -1",
                "'zwei'",
                "no setting graph_model.hue",
                "claude.total_steps must be at least 20, got 3",
            ],
        ),
    ],
)
def test_a_single_run_tells_every_fault(
    overrides: list[str], rules: list[str], own_data: list[str], told_here: Told, tmp_path: Path
) -> None:
    message = told_here(*own_data, *overrides, "outputs_dir=out")
    for rule in rules:
        assert rule in message
    assert not list(tmp_path.glob("out/runs/**/weights*"))


@pytest.mark.parametrize(
    ("overrides", "rules"),
    [
        (
            ["+foo=1", "+claude.n_iter=3", "training.seed=1,2", "+sweep.names=x"],
            ["4 faults", "no setting foo", "nearest is claude.n_iter_block, got 3", "nearest is sweep.name, got 'x'"],
        ),
        (["training.n_training_frames=10"], ["n_training_frames is set by the block"]),
        (["training.n_training_frames=10,20"], ["n_training_frames is set by the block"]),
        (["training.seed=1,2"], ["may be swept, got training.seed=1,2"]),
        (["sweep.name=a,b"], ["sweep.name must be in quotes", "holds a comma", "got sweep.name=a,b"]),
        (["storage.url=pg://me:word@host/a,b"], ["storage.url must be in quotes", "got storage.url=pg://host/a,b"]),
        (["sampler=tpe,random"], ["may be swept, got sampler=tpe,random"]),
        (
            ["search_space.params.total_steps_ratio=choice(1,2)"],
            [
                "search_space.params.total_steps_ratio is a sweep as a text and must be in quotes",
                "got search_space.params",
            ],
        ),
        (["graph_model.omega_f=choice(30,-1)"], ["graph_model.omega_f must be greater than 0, got -1"]),
        (["graph_model.hidden_dim_nnr_f=choice(8,a)"], ["must be swept over numbers, got 'a'"]),
        (["graph_model.n_layers_nnr_f=range(3,3)"], ["must have at least one value"]),
        (
            [
                "graph_model.nnr_f_xy_period=range(1,nan)",
                "search_space.params={graph_model.omega_f: 'glob(*)', T_period_ratio: 'range(1,9,1e-9)'}",
            ],
            [
                "3 faults",
                "graph_model.nnr_f_xy_period must be a range of finite numbers whose step is not 0, got range(1,nan)",
                "search_space.params.graph_model.omega_f must be choice(...), range(...) or interval(...), got glob(*)",
                "search_space.params.T_period_ratio must have at most 10000 values, got range(1,9,1e-9)",
            ],
        ),
        (["sweep.name=../elsewhere"], ["sweep.name must be a plain folder name", "'../elsewhere'"]),
        (["sweep.name=runs"], ["sweep.name must be a plain folder name", "'runs'"]),
        (
            ["hydra.sweep.dir=elsewhere", "claude.n_parallel=0"],
            ["2 faults", "hydra.sweep.dir follows from outputs_dir and sweep.name", "got elsewhere"],
        ),
        (["hydra.sweep.subdir=x"], ["hydra.sweep.subdir follows from outputs_dir and sweep.name"]),
        (["blocks.schedule=[]"], ["blocks.schedule must hold at least one block"]),
        (["blocks.schedule=[{n_training_frames:17,total_steps:20}]"], ["17", "16"]),
        (["claude.n_parallel=0", "training.seed=-1", "pruner._target_=optuna.pruners.Nope"], ["3 faults", "Nope"]),
    ],
)
def test_a_sweep_tells_every_fault_and_makes_no_folder(
    overrides: list[str], rules: list[str], own_data: list[str], told_here: Told, tmp_path: Path
) -> None:
    message = told_here("-m", "blocks=tiny", *own_data, *overrides, "outputs_dir=out")
    for rule in rules:
        assert rule in message
    assert not list(tmp_path.glob("out/*/study.db"))
    assert {path.name for path in tmp_path.iterdir()} <= {"out"}


@pytest.mark.parametrize("many", [["-m"], []])
def test_unknown_names_in_config_files_are_reported(many: list[str], told_here: Told, tmp_path: Path) -> None:
    values = "defaults: [config, _self_]\ntraining: {learning_rate: 1e-3, sead: 3}\nsampler: {any: 1}\nfooo: 1\n"
    (tmp_path / "own.yaml").write_text(values)
    message = told_here(*many, "--config-dir", str(tmp_path), "--config-name", "own", "claude.n_parallel=0")
    for rule in (
        "4 faults",
        "claude.n_parallel must be at least 1",
        "no setting training.learning_rate; the nearest is training.learning_rate_NNR_f",
        "no setting training.sead; the nearest is training.seed",
        "no setting fooo",
    ):
        assert rule in message
    (tmp_path / "training").mkdir()
    (tmp_path / "training/good.yaml").write_text("seed: 3\n")
    message = told_here(*many, f"--config-dir={tmp_path}", "training=good", "graph_model.omgea_f=3")
    said = message.removeprefix("siren_sweep: reading the config\n")  # a sweep's first words
    assert said.startswith("error: graph_model.omgea_f=3: there is no setting")
    (tmp_path / "base.yaml").write_text("graph_model: {hidden_dim_nnrf: 8, omega_f: -1}\nclaude: {n_iter_blok: 3}\n")
    message = told_here(*many, "base=base.yaml")
    for rule in ("3 faults", "graph_model.hidden_dim_nnr_f", "claude.n_iter_block", "greater than 0"):
        assert rule in message
    assert not list(tmp_path.glob("outputs/*"))


@pytest.mark.parametrize("content", [b"sweep: {name: donn\xe9es}\n", "seed: 3\n".encode("utf-16")])
def test_a_config_file_that_is_no_utf_8_is_told(content: bytes, told_here: Told, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_bytes(content)
    message = told_here("-m", "--config-dir", str(tmp_path), "--config-name", "own")
    assert f"a config file must be text in UTF-8, and {tmp_path}/own.yaml is not ('utf-8' codec" in message


def test_line_ends_and_the_mark_of_windows_change_nothing(own_data: list[str], run_here: Run, tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        text = "defaults: [config, _self_]\r\ntraining:\r\n  seed: 7\r\n"
        (tmp_path / "own.yaml").write_text(text, encoding, newline="")
        (tmp_path / "base.yaml").write_text("graph_model:\r\n  omega_f: 21.0\r\n", encoding, newline="")
        files = ["--config-dir", str(tmp_path), "--config-name", "own", "base=base.yaml"]
        shown = run_here("--cfg", "job", *files, *own_data)
        values = yaml.safe_load(shown.stdout)
        assert (values["training"]["seed"], values["graph_model"]["omega_f"]) == (7, 21.0)


def test_errors_do_not_depend_on_hydra_full_error(told_here: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    assert "the nearest is graph_model.omega_f" in told_here("graph_model.omgea_f=3")


def test_free_dictionaries_and_hydra_take_any_name(own_data: list[str]) -> None:
    free = ["+sampler.n_startup_trials=3", "+pruner.n_min_trials=2", "+hydra.job.env_set.SOME=1"]
    assert faults_of(["sampler=tpe", "pruner=median", *own_data, *free]) == []


@pytest.mark.parametrize("asked", ["--cfg job -m", "-m -c job", "--multirun --cfg=job"])
def test_the_config_of_a_sweep_is_shown(asked: str, own_data: list[str], run_here: Run, tmp_path: Path) -> None:
    command = [*asked.split(), "blocks=tiny", *own_data]
    shown = run_here(*command, "graph_model.omega_f=choice(3,4)")
    assert shown.returncode == 0, shown.stderr
    assert "not shown, since it is swept: graph_model.omega_f=choice(3,4)" in shown.stderr
    alone = run_here("--cfg", "job", *command[-4:])
    assert yaml.safe_load(shown.stdout) == yaml.safe_load(alone.stdout)
    assert yaml.safe_load(shown.stdout)["blocks"]["name"] == "tiny"
    assert list(tmp_path.iterdir()) == []


def test_python_without_its_assertions_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    assert "without -O" in told(run_command("-m", cwd=tmp_path))


def test_names_that_are_no_utf_8_are_told(own_data: list[str], tmp_path: Path) -> None:
    for command, encoding in ((["-m", os.fsdecode(b"outputs_dir=o\xe9")], "1"), (["report", "données"], "0")):
        plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": encoding}
        message = told(run_command(*command, cwd=tmp_path, env=plain))
        assert "must be text in UTF-8, got '" in message
        assert "PYTHONUTF8=1" in message


def test_a_name_is_told_where_the_terminal_has_fewer_letters(tmp_path: Path) -> None:
    few = {"PYTHONIOENCODING": "ascii", "PYTHONWARNINGS": "error"}
    shown = run_command("--cfg", "job", "sweep.name='日本'", cwd=tmp_path, env=few)
    assert shown.returncode == 0, shown.stderr
    assert r"name: \u65e5\u672c" in shown.stdout
    assert r"got \u65e5\u672c" in told(run_command("sweep.name=日本", cwd=tmp_path, env=few))


def test_bad_data_are_told_by_the_command(told_here: Told, tmp_path: Path) -> None:
    missing = told_here("dataset=flyvis", "dataset.path=nowhere", "outputs_dir=out")
    assert "nowhere" in missing
    ungiven = told_here("-m", "dataset=flyvis", "outputs_dir=out")
    assert "dataset.path must name the folder" in ungiven
    folder = make_field_folder(tmp_path / "field", n_frames=16)
    values = np.full((16, N_NEURONS), 0.5, np.float32)
    values[3, 5] = np.nan
    write_array(folder / "stimulus.zarr", values)
    own = [f"dataset.path={folder}", f"dataset.n_input_neurons={N_NEURONS}"]
    nan = told_here("-m", "blocks=tiny", "dataset=flyvis", *own, "outputs_dir=out")
    assert "frame 3" in nan
    assert "5" in nan


def test_faults_of_data_and_config_are_told_together(told_here: Told) -> None:
    message = told_here("-m", "dataset=flyvis", "dataset.path=nowhere", "training.seed=1,2", "outputs_dir=out")
    assert "2 faults" in message
    assert "nowhere" in message
    assert "training.seed=1,2" in message


def test_a_storage_that_is_typed_comes_before_the_environment_s(
    own_data: list[str], told_here: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORAGE_URL_VARIABLE, f"sqlite:///{tmp_path}/theirs.db")
    typed = f"storage.url=sqlite:///{tmp_path}/nowhere/typed.db"
    message = told_here("-m", "blocks=tiny", *own_data, "outputs_dir=out", "tracking=none", typed)
    assert "the storage of the studies cannot be opened" in message
    assert not (tmp_path / "theirs.db").exists()


def test_outputs_that_cannot_be_written_are_told(own_data: list[str], told_here: Told, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("/proc/nowhere", str(tmp_path / "file")):
        message = told_here("-m", "blocks=tiny", *own_data, f"outputs_dir={place}")
        assert "outputs_dir must be a folder that can be written" in message
        assert place in message


def test_a_sweep_name_with_another_config_is_told_what_differs(smallest: Swept, told_here: Told) -> None:
    folder = smallest.outputs / "flyvis_tiny"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    message = told_here(*smallest.command, "claude.ucb_c=2", "graph_model.omega_f=7")
    assert "claude.ucb_c was 1.414, now 2.0" in message
    assert "graph_model.omega_f was 80.0, now 7.0" in message
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    lock = folder / "sweep.lock"
    assert {**before, lock: 0} == {**after, lock: 0}
    best = json.loads((folder / "best/best.json").read_text())
    assert [entry["block"] for entry in best] == [1, 2]
