"""Registers a sweep's best models in MLflow: one model a sweep, a version for each block, with its name as an alias.

A version holds the config and the weights as the trial saved them. `mlflow/model` loads it; nothing in it is pickled.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.study import Study

from siren_sweep.errors import OutputError, redacted
from siren_sweep.paths import OutputPaths, TrialPaths, sqlite_url
from siren_sweep.study.stored import read_block
from siren_sweep.study.studies import Winner
from siren_sweep.train.report import shown_r2
from siren_sweep.views.mlflow.address import VARIABLE
from siren_sweep.views.mlflow.experiment import SweepIdentity, model_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

LOADER = "siren_sweep.views.mlflow.model"
_REGISTERED = "registered_trial"


def register(
    client: MlflowClient, run_id: str, sweep: SweepIdentity, study: Study, best: Winner, saved: TrialPaths
) -> None:
    """Register a block's winner as a version of the sweep's model, unless that was done before for the same trial.

    `run_id` is the block's run. May raise whatever MLflow raises.
    """
    trial = str(best.searched.number)
    if client.get_run(run_id).data.tags.get(_REGISTERED) == trial:
        return
    name = model_of(client, sweep)
    versions = [one for one in client.search_model_versions(f"run_id = '{run_id}'") if one.name == name]
    known = [one for one in versions if one.tags.get("trial") == trial]
    version = known[0] if known else _version(client, run_id, name, study, best, saved)
    client.set_registered_model_alias(name, study.study_name, version.version)
    client.set_tag(run_id, _REGISTERED, trial)


@contextlib.contextmanager
def downloaded(uri: str, tracking_uri: str | None = None) -> Iterator[Path]:
    """Download a model, such as `models:/demo@block_02`; yields its folder, which is deleted after the context.

    MLflow is at `tracking_uri`, else at the environment's MLFLOW_TRACKING_URI, else in `outputs/mlflow.db` here. Raises
    OutputError where MLflow has no such model or cannot be reached.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    is_set: bool = mlflow.is_tracking_uri_set()
    before = mlflow.get_tracking_uri() if is_set else None
    where = tracking_uri or before or _store_here(uri)
    if where != before:
        mlflow.set_tracking_uri(where)  # for the whole process, since the registry finds an alias only there
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
        except (mlflow.MlflowException, OSError) as error:
            raise OutputError(
                f"MLflow must have the model {uri!r} at {redacted(where)}, and it could not be loaded: "
                f"{redacted(str(error))}"
            ) from None
        finally:
            if where != before:
                mlflow.set_tracking_uri(before)  # type: ignore[arg-type]
        yield found


def _store_here(uri: str) -> str:
    """The address of the store in `outputs` of the current folder. Raises OutputError where there is none.

    MLflow by itself would make an empty store.
    """
    store = OutputPaths(Path("outputs").absolute()).mlflow_db
    if not store.is_file():
        raise OutputError(
            f"tracking_uri, or the environment's {VARIABLE}, must say where MLflow is, as "
            f"sqlite:////FOLDER/outputs/mlflow.db: {uri!r} is to be loaded, and there is no {store}"
        )
    return sqlite_url(store)


def _version(
    client: MlflowClient, run_id: str, name: str, study: Study, best: Winner, saved: TrialPaths
) -> ModelVersion:
    """Make a version of the model. One whose registration was interrupted is made again, with another id."""
    experiment = client.get_run(run_id).info.experiment_id
    block = read_block(study)
    facts: dict[str, Any] = {"block": block.number, "trial": best.searched.number, "final_r2": best.final_r2}
    facts |= {"n_training_frames": block.n_training_frames, "data_hash": block.data_hash}
    tags = {key: str(value) for key, value in facts.items()}
    model = client.create_logged_model(experiment, name=study.study_name, source_run_id=run_id, tags=tags)
    with tempfile.TemporaryDirectory() as folder:
        _write_model(Path(folder), saved)
        client.log_model_artifacts(model.model_id, folder)
    model = client.finalize_logged_model(model.model_id, "READY")
    return client.create_model_version(
        name,
        model.artifact_location,
        run_id,
        tags=tags,
        model_id=model.model_id,
        description=_description(client.tracking_uri, name, study.study_name, facts),
    )


def _description(tracking_uri: str, name: str, alias: str, facts: Mapping[str, Any]) -> str:
    """The text of a version's page: its frames and R2, and the line of Python that loads it."""
    return (
        f"{facts['n_training_frames']} frames, final R2 {shown_r2(facts['final_r2'])}. In Python, as a function of "
        "(t, x, y):\n\n```python\nimport siren_sweep\n\n"
        f"model = siren_sweep.load({f'models:/{name}@{alias}'!r}, tracking_uri={redacted(tracking_uri)!r})\n```\n"
    )


def _write_model(folder: Path, saved: TrialPaths) -> None:
    """Write the folder of MLflow's `python_function` flavour."""
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema

    (folder / "data").mkdir()
    for file in (saved.config, saved.weights):
        shutil.copy(file, folder / "data")
    inputs = Schema([ColSpec("double", name) for name in ("t", "x", "y")])
    model = Model(signature=ModelSignature(inputs, Schema([ColSpec("double")])))
    pyfunc.add_to_model(model, loader_module=LOADER, data="data")
    model.save(str(folder / "MLmodel"))
