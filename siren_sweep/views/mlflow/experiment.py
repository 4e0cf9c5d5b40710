"""Finds or makes a sweep's own experiment and registered model in MLflow.

They are found by the sweep's id in their tags, since a name may be taken: by a sweep that was begun anew in an emptied
folder, or by another person's on the same server. So a person may also rename them.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siren_sweep.errors import OutputError
from siren_sweep.paths import OutputPaths

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

TAG, MARK, MADE = "sweep_id", "mark", "made"  # tags of an experiment: its sweep, its last sender's mark, its own id
KIND = {"mlflow.experimentKind": "custom_model_development"}  # makes MLflow show the pages of training runs
_ARTIFACTS = {
    "experiments": ["artifact_location"],
    "runs": ["artifact_uri"],
    "logged_models": ["artifact_location"],
    "model_versions": ["source", "storage_location"],
}


@dataclass(frozen=True)
class SweepIdentity:
    """The name of a sweep, and an id that tells it from others of that name."""

    name: str
    id: str

    @property
    def names(self) -> Iterator[str]:
        """`name`, `name_2` and so on. The sweep takes the first one that is free."""
        return itertools.chain([self.name], (f"{self.name}_{number}" for number in itertools.count(2)))

    @property
    def tag(self) -> str:
        """The filter by which MLflow finds what belongs to the sweep."""
        return f"tags.{TAG} = '{self.id}'"


def experiment_of(client: MlflowClient, sweep: SweepIdentity, artifacts: str | None) -> Experiment:
    """The experiment of a sweep. Where there is none it is made, with its artifacts at the address `artifacts`.

    Raises OutputError where a person has deleted it, for good or not.
    """
    from mlflow.entities import ViewType

    found = client.search_experiments(ViewType.ALL, filter_string=sweep.tag)
    if not found:
        if models := client.search_registered_models(sweep.tag):
            raise OutputError(
                f"the experiment of this sweep was deleted in MLflow for good, and its model {models[0].name!r} was "
                "not: it is sent nothing; where all of it is to be sent anew, delete that model too"
            )
        free = next(one for one in sweep.names if client.get_experiment_by_name(one) is None)
        tags = {TAG: sweep.id, MADE: uuid.uuid4().hex, **KIND}
        return client.get_experiment(client.create_experiment(free, artifact_location=artifacts, tags=tags))
    if found[0].lifecycle_stage == "deleted":
        raise OutputError(
            f"the experiment {found[0].name!r} of this sweep was deleted in MLflow: it is sent nothing until it is "
            "restored there"
        )
    return found[0]


def model_of(client: MlflowClient, sweep: SweepIdentity) -> str:
    """The name of a sweep's registered model, which is made where there is none."""
    from mlflow.exceptions import MlflowException

    if found := client.search_registered_models(sweep.tag):
        return str(found[0].name)
    for free in sweep.names:
        try:
            what = f"The best SIREN of each block of the sweep {sweep.name}."
            client.create_registered_model(free, {TAG: sweep.id}, what)
            return free
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
    raise AssertionError


def find_artifacts(outputs: OutputPaths) -> None:
    """Correct the addresses of artifacts in the outputs' MLflow file, where the outputs were moved or copied.

    The addresses are absolute, and MLflow has no call that changes them.
    """
    if not outputs.mlartifacts.is_dir():
        return
    own = outputs.mlartifacts.absolute().as_uri()
    with contextlib.closing(sqlite3.connect(outputs.mlflow_db, timeout=60)) as database, database:
        rows = database.execute("SELECT DISTINCT artifact_location FROM experiments WHERE artifact_location LIKE ?",
                                (f"file:%/{outputs.mlartifacts.name}",)).fetchall()  # fmt: skip
        for (before,) in rows:
            for table, column in ((table, column) for table, columns in _ARTIFACTS.items() for column in columns):
                if before != own:
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR "
                        f"substr({column}, 1, ?) = ?",
                        (own, len(before) + 1, before, len(before) + 1, f"{before}/"),
                    )
