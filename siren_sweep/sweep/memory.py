"""Limits the memory of a slot, so that a config that needs too much fails alone and harms no other."""

from __future__ import annotations

import resource
from pathlib import Path

from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import cut, spread
from siren_sweep.train.size import n_parameters

SHARE = 0.9  # share of the memory that all slots together may use
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
GIB = 2**30


def machine_bytes() -> int:
    """The memory, in bytes, of this machine, or of this process's container where that has less."""
    import psutil

    limits = [int(psutil.virtual_memory().total)]
    for file in CGROUP_LIMITS:
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # no such hierarchy, or "max"
            continue
    return min(limits)


def limit_process(n_bytes: int) -> None:
    """Let this process allocate `n_bytes` more than it has. A larger allocation then raises MemoryError.

    The limit is RLIMIT_DATA, which counts a process's private writable memory. It does not count the memory-mapped
    field, or address space that is only reserved.
    """
    had = _status_bytes("VmData")
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = had + n_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def widen_limit() -> None:
    """Raise a process's limit from the share of one slot to that of all slots. Without a limit it does nothing."""
    if resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY:
        limit_process(int(SHARE * machine_bytes()))


def lift_limit() -> None:
    """Remove the limit, so that a trial that has reached it can still write its outcome."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def limit_gpu(device: str, n_sharing: int) -> None:
    """Share a GPU's memory equally among `n_sharing` slots; beyond that PyTorch raises OutOfMemoryError."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.set_per_process_memory_fraction(SHARE / n_sharing, torch.device(device))


def refuse_greedy(cfg: TrialConfig, device: str, n_sharing: int) -> None:
    """Raises MemoryError where a slot's memory is too small for the networks' weights, gradients and Adam's moments.

    This is a lower bound of what a run needs, so no run is refused that could succeed.
    """
    model = cfg.graph_model
    networks = spread(cut(cfg.training.n_training_frames, model.window_frames), cfg.claude.search_windows)
    needed = 4 * 4 * len(networks) * n_parameters(model.hidden_dim_nnr_f, model.n_layers_nnr_f)
    available = _available_bytes(device, n_sharing)
    if needed > available:
        raise MemoryError(
            f"the weights, their gradient and Adam's moments take {needed / GIB:.2f} GiB, "
            f"and the slot has {available / GIB:.2f} GiB"
        )


def _available_bytes(device: str, n_sharing: int) -> int:
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory * SHARE / n_sharing)
    soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return machine_bytes() if soft == resource.RLIM_INFINITY else soft - _status_bytes("VmData")


def _status_bytes(key: str) -> int:
    """A value of /proc/self/status, in bytes; 0 where it is missing."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0
