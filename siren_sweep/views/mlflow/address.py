"""Which MLflow a sweep's runs go to: one rule for every command.

The address is the config's `tracking.uri`, else the environment's MLFLOW_TRACKING_URI, else the sqlite file in the
outputs folder. A sweep stores it at its first start, without user and password.
"""

from __future__ import annotations

import os
import re

from siren_sweep.errors import ConfigError, OutputError, redacted
from siren_sweep.paths import OutputPaths, sqlite_url
from siren_sweep.study.records import TrackedTo

HOST, PORT = "127.0.0.1", 5000  # of the pages that `siren-sweep ui` shows, unless the port is taken
TRAINING = "workflowType=machine_learning"  # in a page's address: shows training runs, not those of language models
VARIABLE = "MLFLOW_TRACKING_URI"
_LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_TOKEN")  # a login that MLflow takes where the address has none
_DATABASES, _SERVERS = ("sqlite", "postgresql", "mysql", "mssql"), ("http", "https", "databricks")


def tracking_uri(given: str | None) -> str | None:
    """The address by this rule; None for the file in the outputs folder. Raises ConfigError for an unknown kind."""
    uri = given or os.environ.get(VARIABLE) or None
    if uri is None:
        return None
    scheme = re.match(r"(\w+)(\+\w+)?:", uri)
    known = scheme and scheme[1] in (_SERVERS if scheme[2] is None else ()) + _DATABASES
    if not known and uri != "databricks":
        raise ConfigError(
            f"{'tracking.uri' if given else VARIABLE} must begin with http://, https://, databricks://, or a database's"
            f" {', '.join(f'{name}://' for name in _DATABASES)} (a folder as a store is refused by MLflow 3; a file is "
            f"sqlite:////FOLDER/mlflow.db), got {redacted(uri)!r}"
        )
    file = re.fullmatch(r"(sqlite(?:\+\w+)?):///([^/:].*)", uri)  # a path relative to where the command was typed
    return f"{file[1]}:///{os.path.abspath(file[2])}" if file else uri


def tracked_to(uri: str | None) -> TrackedTo:
    """The form in which a sweep stores an address."""
    return TrackedTo(None) if uri is None else TrackedTo(redacted(uri), redacted(uri) != uri)


def shown(uri: str | None, outputs: OutputPaths) -> str:
    """An address as messages show it."""
    return redacted(uri or sqlite_url(outputs.mlflow_db))


def sync_uri(stored: TrackedTo | None, given: str | None, outputs: OutputPaths) -> str | None:
    """The sweep's own address, with user and password, to which missing runs are sent. `given` is `--tracking-uri`.

    Raises ConfigError where `given` is another address, and OutputError where a password is needed and not given.
    """
    if stored is None:  # a sweep that has not tracked yet
        return tracking_uri(given)
    own = shown(stored.uri, outputs)
    if given and shown(tracking_uri(given), outputs) != own:
        raise ConfigError(
            f"--tracking-uri must be where the sweep tracks to, {own}, got {redacted(given)}; to have all of it there, "
            "start the sweep once more with that tracking.uri"
        )
    whole = given or os.environ.get(VARIABLE)
    if whole and shown(tracking_uri(whole), outputs) == own:
        return tracking_uri(whole) if stored.uri else None
    if stored.credentials and not any(name in os.environ for name in _LOGIN):
        raise OutputError(
            f"the sweep tracks to {own} with a user or password, which it does not keep: give the whole address by "
            f"{VARIABLE} or --tracking-uri" + (f", got {shown(whole, outputs)}" if whole else "")
        )
    return stored.uri
