"""What every worker needs, imported once by the server that workers are forked from: a trial begins in a moment."""

from __future__ import annotations

import importlib

from hydra.core.plugins import Plugins

for _name in (
    "torch",
    "alembic.command",
    "alembic.context",
    "alembic.op",
    "sqlalchemy.orm",
    "sqlalchemy.dialects.sqlite",
    "hydra._internal.logging_config",
    "siren_sweep.cli.main",
    "siren_sweep.cli.summary",
    "siren_sweep.search.pruner",
    "siren_sweep.sweep.hydra_jobs",
    "siren_sweep.sweep.worker",
    "siren_sweep.train.engine.cpu",
):
    importlib.import_module(_name)
Plugins.instance()  # looks for plugins, and imports what it finds
