"""MLflow as a mirror: an outage touches no trial, and what it kept back is sent later, in order and once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import torch
from conftest import run_command
from mlflow import MlflowClient

from siren_sweep.cli import commands
from siren_sweep.errors import SweepError, redacted
from siren_sweep.paths import OutputPaths, create_once, sqlite_url
from siren_sweep.study.records import Block, TrialPlan
from siren_sweep.study.stored_trials import trial_values
from siren_sweep.study.studies import create, study_name
from siren_sweep.views.mlflow.address import VARIABLE, sync_uri, tracked_to
from siren_sweep.views.mlflow.client import client_of
from siren_sweep.views.mlflow.mirror import Mirror


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # as MLflow imports its own agents
def test_what_an_outage_kept_back_is_sent_later_in_order_and_once(
    own_data: list[str],
    told_here: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["-m", "blocks=tiny", *own_data, "outputs_dir=out", "sweep.name=s", "claude.n_iter_block=1"]
    gone = "tracking.uri=http://somebody:secret@127.0.0.1:9"  # the discard port: nothing listens
    result = run_command(*command, gone, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "MLflow: http://127.0.0.1:9\n" in result.stderr
    assert "MLflow cannot be reached" in result.stderr
    assert "siren-sweep sync" in result.stderr
    assert "secret" not in result.stderr + result.stdout
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"secret" in file.read_bytes()]
    assert "tracks to http://127.0.0.1:9 with a user or password" in told_here("sync", "out/s")
    folder = tmp_path / "server"
    folder.write_text("")  # so that the database in it cannot be made yet
    result = run_command(*command, "tracking.uri=sqlite:///server/mlflow.db", cwd=tmp_path)
    assert "MLflow could not be reached" in result.stderr
    folder.unlink()
    folder.mkdir()
    monkeypatch.chdir(folder)
    for _ in range(2):
        assert not commands.run(["sync", "../out/s"])
        assert capsys.readouterr().out == f"MLflow at sqlite:///{folder}/mlflow.db has all of s\n"
    assert not OutputPaths(tmp_path / "out").mlflow_db.exists()
    client = MlflowClient(sqlite_url(folder / "mlflow.db"))
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["key"] for run in runs) == [
        "block_01",
        "block_01/trial_0000",
        "block_02",
        "block_02/trial_0000",
        "sweep",
    ]
    assert {run.info.status for run in runs} == {"FINISHED"}
    by_key = {run.data.tags["key"]: run for run in runs}
    assert [by_key[key].info.run_name for key in ("sweep", "block_02", "block_02/trial_0000")] == [
        "s",
        "s, block 2",
        "s, block 2, trial 0",
    ]
    best = client.get_metric_history(by_key["sweep"].info.run_id, "best_r2")
    assert [(point.step, point.value) for point in best] == [
        (number, by_key[f"block_0{number}"].data.metrics["final_r2"]) for number in (1, 2)
    ]
    for run in runs:
        (data,) = run.inputs.dataset_inputs
        assert {tag.key: tag.value for tag in data.tags}["data_hash"].startswith(data.dataset.digest)
        assert run.data.params
        assert run.data.tags["torch"] == torch.__version__
    assert by_key["sweep"].data.params["blocks.schedule.2.n_training_frames"] == "8"
    note = by_key["block_02"].data.tags["mlflow.note.content"]
    for link in (f"#/compare-runs?runs=%5B%22{by_key['block_02/trial_0000'].info.run_id}%22%5D", "report/report.html"):
        assert link in note
    for run in runs:
        if "trial" in run.data.tags["key"]:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "r2")]
            assert steps == [2 * index for index in range(1, 21)]


def test_mlflow_prints_no_address_of_a_run_which_would_hold_the_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", raising=False)
    client = client_of("http://somebody:secret@127.0.0.1:9")
    client._tracking_client._log_url("a run")  # asks the server, which is not there, for the run's name if it prints
    assert capsys.readouterr().out == ""


OUTPUTS = OutputPaths(Path("/out"))
LOCAL, SERVER, WHOLE = "sqlite:////out/mlflow.db", "http://host:5000", "http://me:pass@host:5000"


@pytest.mark.parametrize(
    ("stored", "given", "environment", "sent_to"),
    [
        (None, None, None, None),
        (None, None, SERVER, SERVER),
        (None, SERVER, LOCAL, SERVER),
        (None, "sqlite:///rel.db", None, f"sqlite:///{Path.cwd()}/rel.db"),
        (None, "databricks", None, "databricks"),
        (SERVER, None, None, SERVER),
        (SERVER, None, "http://other", SERVER),
        (SERVER, None, WHOLE, WHOLE),
        (WHOLE, None, WHOLE, WHOLE),
        (WHOLE, WHOLE, "http://other", WHOLE),
        ("", None, "http://other", None),
        ("", LOCAL, None, None),
    ],
)
def test_what_is_missing_is_sent_to_where_the_sweep_tracks_to(
    stored: str | None, given: str | None, environment: str | None, sent_to: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if environment:
        monkeypatch.setenv(VARIABLE, environment)
    known = None if stored is None else tracked_to(stored or None)
    assert "pass" not in str(known)
    assert sync_uri(known, given, OUTPUTS) == sent_to


@pytest.mark.parametrize(
    ("stored", "given", "environment", "rules"),
    [
        (SERVER, "http://me:word@other", None, [SERVER, "got http://other;"]),
        ("", SERVER, None, [LOCAL, SERVER]),
        (WHOLE, None, None, [SERVER, VARIABLE]),
        (WHOLE, None, "http://me:word@other", [SERVER, "got http://other"]),
    ],
)
def test_what_is_missing_is_sent_nowhere_else(
    stored: str, given: str | None, environment: str | None, rules: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if environment:
        monkeypatch.setenv(VARIABLE, environment)
    with pytest.raises(SweepError) as refused:
        sync_uri(tracked_to(stored or None), given, OUTPUTS)
    assert all(rule in str(refused.value) for rule in rules)
    assert "word" not in str(refused.value).replace("password", "")


@pytest.mark.parametrize("uri", ["htp://me:word@host", "/a/folder", "file:///a/folder", "mlruns", "http+x://host", ":"])
def test_an_address_that_mlflow_does_not_have_is_refused(
    uri: str, own_data: list[str], told_here: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = told_here("-m", "blocks=tiny", *own_data, f"tracking.uri='{uri}'", "outputs_dir=out")
    assert "tracking.uri must begin with http://" in message
    assert f"got {redacted(uri)!r}" in message
    monkeypatch.setenv(VARIABLE, uri)
    assert f"{VARIABLE} must begin with" in told_here("-m", "blocks=tiny", *own_data, "outputs_dir=out")


def test_a_folder_without_a_sweep_is_told(told_here: Callable[..., str]) -> None:
    assert "holds study.db; there is none in 'nowhere'" in told_here("sync", "nowhere")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:pass@host/db failed", "postgresql://host/db failed"),
        ("http://token@host:5000", "http://host:5000"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
        ("sqlite:///b@c.db", "sqlite:///b@c.db"),
        ("http://me:p@ss@host", "http://host"),
        (
            "postgresql://host/db?user=me&password=pass&sslmode=require",
            "postgresql://host/db?user=&password=&sslmode=require",
        ),
    ],
)
def test_an_address_is_shown_without_its_password(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_a_file_that_is_made_once_is_whole_or_not_there(tmp_path: Path) -> None:
    file = tmp_path / "store.db"

    def fails(temporary: Path) -> None:
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_once(file, fails)
    assert list(tmp_path.iterdir()) == []
    create_once(file, lambda temporary: temporary.write_text("first") and None)
    create_once(file, lambda temporary: temporary.write_text("second") and None)
    assert file.read_text() == "first"


def test_time_does_not_go_back_in_a_curve_that_a_faster_attempt_goes_on_with(tmp_path: Path) -> None:
    outputs = OutputPaths(tmp_path)
    paths = outputs.sweep("s")
    paths.root.mkdir()
    study = create(optuna.storages.InMemoryStorage(), study_name(1), Block(1, 10, "0"))
    trial = study.ask()
    for name, value in trial_values(TrialPlan(1, {}, n_training_frames=10, strategy="grid", seed=42)).items():
        trial.set_user_attr(name, value)
    seconds = {1: 10.0, 2: 20.0}  # of the first attempt; the second reaches the third and fourth report in 3 and 4
    for attempt in (seconds, {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}):
        values = {"r2": 0.5, "mse": 0.1, "learning_rate": 1e-4, "steps_per_s": 9.0}
        reports = [
            {"index": i, "fraction": i / 20, "step": 100 * i, "elapsed_s": s, **values} for i, s in attempt.items()
        ]
        trial.set_user_attr("reports", reports)
        Mirror(None, outputs, paths, study).update({1: study}, {}, over=False)
    client = MlflowClient(sqlite_url(outputs.mlflow_db))
    (experiment,) = client.search_experiments(filter_string="name = 's'")
    (run,) = client.search_runs([experiment.experiment_id], filter_string="tags.key LIKE '%trial%'")
    points = [(point.step, point.timestamp) for point in client.get_metric_history(run.info.run_id, "r2")]
    assert [step for step, _ in points] == [100, 200, 300, 400]
    assert points == sorted(points)
    assert len({when for _, when in points}) == 4
