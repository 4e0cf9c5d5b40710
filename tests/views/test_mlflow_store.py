"""What a person does to MLflow's store: deletes, restores, renames, moves, starts another sweep of the same name."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from planted import PlantedSweep, paused, r2_of

from siren_sweep.errors import OutputError
from siren_sweep.paths import OutputPaths, sqlite_url
from siren_sweep.study.records import Outcome, Stint
from siren_sweep.study.stored import mark_ended, mark_shown
from siren_sweep.study.stored_trials import TrialWriter, read_trials
from siren_sweep.study.studies import trial_id, winner
from siren_sweep.views.mlflow.address import VARIABLE
from siren_sweep.views.mlflow.mirror import CopiedError, Mirror
from siren_sweep.views.mlflow.run_texts import Links, best_so_far, block_note

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")  # as MLflow imports its own agents
TWO = [
    {"score": 1.0, "changes": {"any": "text " * 2000}},
    {"score": 2.0, "reason": "as long as an error may be " * 1000},
]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without any sweep: made once, since that takes seconds."""
    outputs = OutputPaths(tmp_path_factory.mktemp("store") / "out")
    planted = PlantedSweep(outputs.sweep("other").root)
    Mirror(None, outputs, planted.paths, planted.begin(1))
    return outputs.mlflow_db


@pytest.fixture
def outputs(empty: Path, tmp_path: Path) -> OutputPaths:
    own = OutputPaths(tmp_path / "out")
    own.mlartifacts.mkdir(parents=True)
    shutil.copy(empty, own.mlflow_db)
    return own


def planted(outputs: OutputPaths, name: str = "s") -> PlantedSweep:
    """A sweep of two trials in a block that goes on."""
    sweep = PlantedSweep(outputs.sweep(name).root)
    sweep.begin(1)
    sweep.batch(1, TWO)
    return sweep


def reopened(folder: Path) -> PlantedSweep:
    """A sweep as it lies in a folder."""
    sweep = PlantedSweep(folder)
    sweep.begin(1)
    return sweep


def finish(sweep: PlantedSweep) -> None:
    """End the block, and leave what it exports."""
    sweep.paths.best.mkdir()
    saved = sweep.paths.trial("block_01", 1)
    saved.root.mkdir(parents=True)
    for file in (saved.config, saved.weights, sweep.paths.best_file(1, ".yaml"), sweep.paths.best_file(1, ".png")):
        file.write_text("any")
    mark_ended(sweep.studies[1])
    mark_shown(sweep.studies[1])


def sent(sweep: PlantedSweep, outputs: OutputPaths) -> Mirror:
    """A mirror that has sent all there is, as the next start of the sweep makes one."""
    mirror = Mirror(None, outputs, sweep.paths, sweep.studies[1])
    mirror.update(sweep.studies, {}, over=False)
    return mirror


def keys(client: MlflowClient, name: str, view: int = ViewType.ALL) -> Counter[str]:
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    return Counter(run.data.tags["key"] for run in client.search_runs([experiment.experiment_id], "", view))


def run_of(client: MlflowClient, key: str) -> str:
    experiments = [one.experiment_id for one in client.search_experiments(ViewType.ALL)]
    (run,) = client.search_runs(experiments, f"tags.key = '{key}'", ViewType.ALL)
    return str(run.info.run_id)


def test_what_a_person_deleted_stays_deleted_and_what_is_restored_is_there_once(outputs: OutputPaths) -> None:
    client, sweep = MlflowClient(sqlite_url(outputs.mlflow_db)), planted(outputs)
    sent(sweep, outputs)
    all_keys = {"sweep": 1, "block_01": 1, "block_01/trial_0000": 1, "block_01/trial_0001": 1}
    assert keys(client, "s") == all_keys
    first = run_of(client, "block_01/trial_0000")
    client.delete_run(first)
    sent(sweep, outputs)
    assert keys(client, "s") == all_keys
    assert keys(client, "s", ViewType.DELETED_ONLY) == {"block_01/trial_0000": 1}
    client.restore_run(first)
    client.delete_run(run_of(client, "block_01"))
    sweep.batch(1, TWO)
    sent(sweep, outputs)
    assert keys(client, "s") == all_keys
    experiment = client.get_run(first).info.experiment_id
    client.delete_experiment(experiment)
    with pytest.raises(OutputError, match="'s' of this sweep was deleted in MLflow: it is sent nothing until"):
        sent(sweep, outputs)
    client.restore_experiment(experiment)
    client.restore_run(run_of(client, "block_01"))
    sent(sweep, outputs)
    assert keys(client, "s", ViewType.ACTIVE_ONLY) == all_keys | {"block_01/trial_0002": 1, "block_01/trial_0003": 1}
    assert len(client.get_run(run_of(client, "block_01/trial_0001")).data.tags["reason"]) == 5000
    assert len(client.get_run(first).data.params["any"]) == 5000


def collect_garbage(outputs: OutputPaths) -> None:
    """`mlflow gc`: what is deleted is gone for good."""
    from click.testing import CliRunner
    from mlflow.cli import gc

    store = sqlite_url(outputs.mlflow_db)  # not as --tracking-uri, which stays set for all that this process starts
    result = CliRunner(env={VARIABLE: store}).invoke(gc, ["--backend-store-uri", store])
    assert result.exit_code == 0, result.output


def test_what_a_person_deleted_stays_deleted_also_when_mlflow_has_forgotten_it(outputs: OutputPaths) -> None:
    client, sweep = MlflowClient(sqlite_url(outputs.mlflow_db)), planted(outputs)
    sent(sweep, outputs)
    client.delete_run(run_of(client, "block_01/trial_0000"))
    collect_garbage(outputs)
    sweep.batch(1, TWO)
    finish(sweep)
    sent(sweep, outputs)
    left = {"sweep": 1, "block_01": 1, **{f"block_01/trial_000{number}": 1 for number in (1, 2, 3)}}
    assert keys(client, "s") == left
    client.delete_run(run_of(client, "block_01"))
    collect_garbage(outputs)
    sweep.begin(2)
    sweep.batch(2, TWO)
    sent(sweep, outputs)
    left = {**left, **{f"block_02{more}": 1 for more in ("", "/trial_0000", "/trial_0001")}}
    assert keys(client, "s") == {key: n for key, n in left.items() if key != "block_01"}
    client.delete_experiment(client.get_experiment_by_name("s").experiment_id)
    collect_garbage(outputs)
    with pytest.raises(
        OutputError, match="was deleted in MLflow for good, and its model 's' was not: it is sent nothing"
    ):
        sent(sweep, outputs)
    client.delete_registered_model("s")
    sent(sweep, outputs)
    assert len(keys(client, "s")) == 9, "in a store that knows nothing of the sweep it is made anew"


def test_two_copies_of_a_sweep_have_an_experiment_each(outputs: OutputPaths) -> None:
    client, sweep = MlflowClient(sqlite_url(outputs.mlflow_db)), planted(outputs)
    running = sent(sweep, outputs)
    shutil.copytree(sweep.paths.root, copied := outputs.root / "copy")
    copy = reopened(copied)
    assert sent(copy, outputs).experiment == "s", "as of a sweep that was renamed"
    for one in (sweep, copy):
        one.batch(1, TWO)
    sent(copy, outputs)
    with pytest.raises(CopiedError):
        running.update(sweep.studies, {}, over=False)
    assert sent(sweep, outputs).experiment == "s_2"
    for one in (sweep, copy):
        one.batch(1, TWO)
        finish(one)
    assert [sent(one, outputs).experiment for one in (sweep, copy, sweep)] == ["s_2", "s", "s_2"]
    everything = {"sweep": 1, "block_01": 1, **{f"block_01/trial_000{number}": 1 for number in range(6)}}
    assert keys(client, "s") == keys(client, "s_2") == everything
    assert [client.get_model_version_by_alias(name, "block_01").version for name in ("s", "copy")] == [1, 1]


def test_a_run_that_is_deleted_while_the_sweep_runs_fails_the_next_mirror_no_more(outputs: OutputPaths) -> None:
    client, sweep = MlflowClient(sqlite_url(outputs.mlflow_db)), planted(outputs)
    mirror = sent(sweep, outputs)
    client.delete_run(run_of(client, "block_01"))
    finish(sweep)
    with pytest.raises(Exception, match="deleted"):
        mirror.update(sweep.studies, {}, over=True)
    sent(sweep, outputs)
    assert not client.search_registered_models()


def test_a_model_that_a_person_deleted_is_not_registered_again(outputs: OutputPaths) -> None:
    client, sweep = MlflowClient(sqlite_url(outputs.mlflow_db)), planted(outputs)
    finish(sweep)
    sent(sweep, outputs)
    assert client.get_model_version_by_alias("s", "block_01").tags["trial"] == "1"
    client.delete_registered_model("s")
    client.update_run(run_of(client, "block_01"), status="RUNNING")  # as that of a block that has more trials
    sent(sweep, outputs)
    assert client.get_run(run_of(client, "block_01")).info.status == "FINISHED"
    assert not client.search_registered_models()


def test_a_sweep_s_runs_are_its_own_whatever_the_environment_says_of_a_run(
    outputs: OutputPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("EXPERIMENT_NAME", "other"), ("EXPERIMENT_ID", "999"), ("RUN_ID", "f" * 32)):
        monkeypatch.setenv(f"MLFLOW_{name}", value)
    assert sent(planted(outputs), outputs).experiment == "s"
    assert sum(keys(MlflowClient(sqlite_url(outputs.mlflow_db)), "s").values()) == 4


def test_models_go_where_mlflow_s_own_variable_says(outputs: OutputPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = sqlite_url(Path(shutil.copy(outputs.mlflow_db, outputs.root / "registry.db")))
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", registry)
    sweep = planted(outputs)
    finish(sweep)
    sent(sweep, outputs)
    assert [model.name for model in MlflowClient(registry, registry).search_registered_models()] == ["s"]
    own = sqlite_url(outputs.mlflow_db)
    assert not MlflowClient(own, own).search_registered_models()


def test_a_sweep_of_the_same_name_has_an_experiment_and_a_model_of_its_own(outputs: OutputPaths) -> None:
    client, sweep = MlflowClient(sqlite_url(outputs.mlflow_db)), planted(outputs)
    finish(sweep)
    assert sent(sweep, outputs).experiment == "s"
    shutil.rmtree(sweep.paths.root)  # to begin anew
    again = planted(outputs)
    finish(again)
    assert sent(again, outputs).experiment == "s_2"
    assert keys(client, "s_2") == keys(client, "s")
    assert {model.name for model in client.search_registered_models()} == {"s", "s_2"}
    renamed = client.get_experiment_by_name("s_2")
    assert renamed is not None
    client.rename_experiment(renamed.experiment_id, "mine")
    again.batch(1, TWO)
    assert sent(again, outputs).experiment == "mine"
    assert keys(client, "mine")["block_01/trial_0003"] == 1


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_artifacts_are_found_where_the_outputs_were_moved_or_copied(
    move: object, outputs: OutputPaths, tmp_path: Path
) -> None:
    sweep = planted(outputs)
    finish(sweep)
    sent(sweep, outputs)
    there = OutputPaths(tmp_path / "é elsewhere")
    assert callable(move)
    move(outputs.root, there.root)
    planted_there = PlantedSweep(there.sweep("s").root)
    planted_there.begin(1)
    sent(planted_there, there)
    client = MlflowClient(sqlite_url(there.mlflow_db))
    block = run_of(client, "block_01")
    own = there.mlartifacts.as_uri()
    assert client.get_run(block).info.artifact_uri == f"{own}/{block}/artifacts"
    assert {file.path for file in client.list_artifacts(block)} == {"block_01.yaml", "block_01.png"}
    version = client.get_model_version_by_alias("s", "block_01")
    assert client.get_model_version_download_uri("s", version.version).startswith(own)
    assert version.source.startswith(own)
    models = client.search_logged_models([client.get_run(block).info.experiment_id])
    assert [model.artifact_location.startswith(own) for model in models] == [True]


def test_the_file_beside_the_sweeps_is_the_same_store_by_its_address(outputs: OutputPaths) -> None:
    sweep = planted(outputs)
    mirror = Mirror(sqlite_url(outputs.mlflow_db), outputs, sweep.paths, sweep.studies[1])
    experiment = MlflowClient(sqlite_url(outputs.mlflow_db)).get_experiment_by_name(mirror.experiment)
    assert experiment is not None
    assert experiment.artifact_location == outputs.mlartifacts.as_uri()


def test_a_run_that_was_cut_off_as_it_was_made_gets_its_parameters_later(
    outputs: OutputPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, sweep = MlflowClient(sqlite_url(outputs.mlflow_db)), planted(outputs)

    def fails(*_: object, **__: object) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as outage:
        outage.setattr(MlflowClient, "log_batch", fails)
        with pytest.raises(ConnectionError, match="gone"):
            sent(sweep, outputs)
    assert not client.get_run(run_of(client, "sweep")).data.params
    sent(sweep, outputs)
    run = client.get_run(run_of(client, "sweep"))
    assert run.data.params["claude.n_iter_block"] == "8"
    assert len(run.inputs.dataset_inputs) == 1


def test_a_sweep_that_grows_runs_again(outputs: OutputPaths) -> None:
    client, sweep = MlflowClient(sqlite_url(outputs.mlflow_db)), planted(outputs)
    finish(sweep)
    sent(sweep, outputs).update(sweep.studies, {}, over=True)
    before = client.get_run(run_of(client, "sweep")).info
    sweep.begin(2)
    sweep.batch(2, TWO)
    mirror = sent(sweep, outputs)
    assert [before.status, client.get_run(before.run_id).info.status] == ["FINISHED", "RUNNING"]
    mirror.update(sweep.studies, {}, over=True)
    after = client.get_run(before.run_id).info
    assert after.status == "FINISHED"
    assert after.end_time > before.end_time


def test_a_block_whose_best_run_left_no_files_keeps_nothing_back(outputs: OutputPaths) -> None:
    client, sweep = MlflowClient(sqlite_url(outputs.mlflow_db)), planted(outputs)
    finish(sweep)
    shutil.rmtree(sweep.paths.trial("block_01", 1).root)
    sweep.begin(2)
    sweep.batch(2, TWO)
    sent(sweep, outputs)
    assert client.get_run(run_of(client, "block_01")).info.status == "FINISHED"
    assert run_of(client, "block_02/trial_0001")
    assert not client.search_registered_models()


def test_the_description_of_a_block_of_many_trials_is_whole(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path / "s")
    study = sweep.begin(1)
    sweep.batch(1, TWO)
    ids = [f"{number:032x}" for number in range(500)]
    note = block_note(study, winner(study, None), Links("1"), "a" * 32, ids, with_report=True)
    assert len(note) < 8000
    assert "[its last 100 trials beside each other]" in note
    assert note.endswith(")")


def test_a_block_s_best_r2_so_far_only_grows_at_its_end(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path / "s")
    study = sweep.begin(1)
    sweep.batch(1, [{"score": 1.0}, {"score": 1.2}, paused(0.9999), {"score": 1.1}])
    before = best_so_far(read_trials(study))
    writer = TrialWriter(sweep.storage, trial_id(sweep.storage, study, 2))
    writer.stints([Stint(2, 0, 1, 0.25, 0.9999)])
    writer.attempt(2)
    writer.outcome(Outcome(2, "finished", None, {"final_r2": 0.999}, 20))
    study.tell(2, 0.999)
    sweep.batch(1, [{"score": 1.5}])
    after = best_so_far(read_trials(study))
    assert after[: len(before)] == before
    assert [value for _, value, _ in after] == [r2_of(1.0), r2_of(1.2), r2_of(1.2), 0.999, 0.999]
