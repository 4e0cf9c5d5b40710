"""Prepares the server from which workers are forked, so that a trial starts fast.

It imports what every worker needs, and does once what is slow the first time. Nothing here may call CUDA: a forked
process could then not use it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib

from siren_sweep.train.machine import has_driver

gc.disable()  # what is imported stays: to look for garbage in it would take a quarter of the server's start
_ON_GPU = ["torch._dynamo"] if has_driver() else []  # an optimizer imports it when it is made, in a second or more
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
    *_ON_GPU,
):
    importlib.import_module(_name)


def _rehearse() -> None:
    """Compose a config, use a storage and find the commit, so that what these need is cached."""
    import optuna
    from hydra import compose, initialize_config_dir

    from siren_sweep.config.compose import conf_dir, typed
    from siren_sweep.train.provenance import commit

    commit()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        typed(compose("config", ["training.learning_rate_NNR_f=3e-4", "trial.number=0", "trial.folder=block_01/trial"]))
    storage = optuna.storages.RDBStorage("sqlite://")
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    trial.set_user_attr("attempt", 1)
    trial.report(0.5, 1)
    study.get_trials(deepcopy=False)
    storage.engine.dispose()


with contextlib.suppress(Exception):  # a worker meets the same error, and reports it
    _rehearse()
gc.freeze()  # a worker's garbage collection passes over all that is here, and so copies none of its pages
gc.enable()
