"""Where a model comes from: the versions, the seed and the hardware of its training."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from siren_sweep.config.choices import Precision
from siren_sweep.config.schema import TrialConfig
from siren_sweep.train.engine.precision import is_reduced

_UNKNOWN = "unknown"


def provenance(cfg: TrialConfig, device: str) -> dict[str, Any]:
    """Versions, commit, seed, device, and the precision of the hidden layers' products, of a run on `device` here."""
    on = torch.device(device)
    reduced = is_reduced(Precision(cfg.training.hidden_precision), on)
    return {
        "siren_sweep": version(),
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "seed": cfg.training.seed,
        "device": torch.cuda.get_device_name(on) if on.type == "cuda" else device,
        "cpu": cpu_name(),
        "precision": ("tf32" if on.type == "cuda" else "bfloat16") if reduced else "float32",
    }


def version() -> str:
    """The version of this package; "unknown" where it is not installed."""
    try:
        return importlib.metadata.version("siren_sweep")
    except importlib.metadata.PackageNotFoundError:  # run from its folder
        return _UNKNOWN


@functools.cache
def commit() -> str:
    """The commit of the checkout that this code is run from, `-dirty` where files differ; "unknown" without one."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return _UNKNOWN
    ask = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(ask, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return _UNKNOWN


@functools.cache
def cpu_name() -> str:
    """The processor's name; "unknown" where the system does not give it."""
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine() or _UNKNOWN
