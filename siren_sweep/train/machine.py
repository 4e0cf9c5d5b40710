"""The cores and GPUs of this machine, and which of them a run gets. torch is imported only where there may be a GPU."""

from __future__ import annotations

import ctypes
import functools
import os

from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import ConfigError


def n_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def n_threads(cfg: TrialConfig) -> int:
    """CPU threads of a run: the config's number, or as many as there are cores where that is 0."""
    return cfg.training.n_threads or n_cores()


def n_gpus(device: str) -> int:
    """How many GPUs a sweep uses for a value of `training.device`."""
    if device == "cpu" or not has_driver():
        return 0
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return min(count, 1) if ":" in device else count


def resolve_device(device: str, slot: int = 0) -> str:
    """The device, "cpu" or "cuda:N", for a value of `training.device`.

    `auto` and `cuda` become the slot's GPU: its number is slot modulo the number of GPUs. Without a GPU `auto` is the
    CPU. Raises ConfigError where the machine does not have the device.
    """
    count = n_gpus("cuda")
    if device == "auto":
        device = "cuda" if count else "cpu"
    if device == "cuda" and count:
        device = f"cuda:{slot % count}"
    known = ["cpu", *(f"cuda:{index}" for index in range(count))]
    if device not in known:
        raise ConfigError(
            f"training.device must be auto or one that this machine has ({', '.join(known)}), got {device!r}"
        )
    return device


@functools.cache
def has_driver() -> bool:
    """Whether this machine has a GPU's driver. Without one torch, whose import takes seconds, need not be asked."""
    if os.path.exists("/dev/kfd"):  # AMD's driver
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
