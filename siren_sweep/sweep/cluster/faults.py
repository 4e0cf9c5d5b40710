"""Checks the settings of a sweep on a cluster before it starts."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from siren_sweep.config.choices import Scheduler
from siren_sweep.config.schema import Config
from siren_sweep.study.studies import STORAGE_URL_VARIABLE

COMMANDS = {Scheduler.slurm: ("sbatch", "squeue", "scancel"), Scheduler.lsf: ("bsub", "bjobs", "bkill")}


def cluster_faults(cfg: Config) -> Iterator[str]:
    """A line for each fault: the rule and the value."""
    cluster = cfg.cluster
    if cluster.n_batches > 1 and cfg.agent.command:
        yield f"cluster.n_batches must be 1 with proposer=agent, which waits for results, got {cluster.n_batches}"
    if cluster.scheduler is None:
        if cluster.n_batches > 1:
            yield f"cluster.n_batches above 1 needs cluster=slurm or cluster=lsf, got {cluster.n_batches}"
        return
    name = f"cluster={cluster.scheduler}"
    address = os.environ.get(STORAGE_URL_VARIABLE) or cfg.storage.url
    if address is None or address.startswith("sqlite"):
        yield (
            f"{name} needs storage.url of a database server that its nodes reach, such as postgresql://me@host/db: a "
            "file's locks do not hold between machines"
        )
    if importlib.util.find_spec("parsl") is None:
        yield f"{name} needs parsl: pip install 'siren_sweep[cluster]'"
    if missing := [command for command in COMMANDS[cluster.scheduler] if shutil.which(command) is None]:
        yield f"{name} needs {', '.join(COMMANDS[cluster.scheduler])} where the sweep is started, got no {missing[0]}"
    folder = str(Path(cfg.outputs_dir) / cfg.sweep.name)
    if any(mark.isspace() or mark in "\"'$`\\%" for mark in folder):  # a job's script does not quote them
        yield f"with {name} outputs_dir and sweep.name must hold no spaces, quotes, $, % and \\, got {folder!r}"
