"""Makes MLflow's client, and reads runs with it from stores that may be out of reach or empty."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from optuna.study import Study

from siren_sweep.paths import OutputPaths, sqlite_url
from siren_sweep.study.stored import read_tracked_to, sweep_id
from siren_sweep.views.mlflow.address import HOST, PORT
from siren_sweep.views.mlflow.experiment import SweepIdentity
from siren_sweep.views.mlflow.run_texts import Links

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def run_pages(outputs: OutputPaths, name: str, first: Study) -> dict[str, str]:
    """The address of each run's page in MLflow, by the run's key, such as `block_01/trial_0003`.

    `first` is the study of the sweep's first block. Empty where MLflow has no runs or cannot be reached.
    """
    tracked = read_tracked_to(first)
    if tracked is None or (tracked.uri is None and not outputs.mlflow_db.is_file()):
        return {}
    pages = tracked.uri if tracked.uri and tracked.uri.startswith("http") else f"http://{HOST}:{PORT}"
    try:
        client = client_of(tracked.uri or sqlite_url(outputs.mlflow_db))
        own = client.search_experiments(filter_string=SweepIdentity(name, sweep_id(first)).tag)[:1]
        return {
            run.data.tags.get("key", ""): f"{pages.rstrip('/')}/{Links(one.experiment_id).run(run.info.run_id)}"
            for one in own
            for run in all_runs(client, one.experiment_id)
        }
    except Exception:  # MLflow's, the driver's and the network's own kinds
        return {}


def all_runs(client: MlflowClient, experiment: str, deleted_too: bool = False) -> Iterator[Run]:
    """All runs of an experiment, given by its id, read page by page."""
    from mlflow.entities import ViewType

    kind, token = ViewType.ALL if deleted_too else ViewType.ACTIVE_ONLY, None
    while page := client.search_runs([experiment], "", kind, max_results=1000, page_token=token):
        yield from page
        if not (token := page.token):
            return


def client_of(uri: str) -> MlflowClient:
    """A client that gives up within seconds when the server is gone."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # a run's address may hold a password
    import logging

    from mlflow import MlflowClient

    for name in ("alembic", "mlflow.store.db.utils", "mlflow.store.model_registry.abstract_store"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(uri)  # the model registry is at the same address, unless MLFLOW_REGISTRY_URI is set
