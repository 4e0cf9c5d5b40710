"""What a slot may take of the machine's memory, so that one greedy config fails alone and takes nothing with it."""

from __future__ import annotations

import resource
from pathlib import Path

from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import cut, spread
from siren_sweep.train.size import n_parameters

SHARE = 0.9  # of the memory, for all slots together
CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
GIB = 2**30


def machine_bytes() -> int:
    """The memory of this machine, or of the container that this process is in."""
    import psutil

    limits = [int(psutil.virtual_memory().total)]
    for file in CGROUP_LIMITS:
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # no such hierarchy, or "max"
            continue
    return min(limits)


def limit_process(n_bytes: int) -> None:
    """Let this process allocate `n_bytes` more than it has; beyond that an allocation fails as a MemoryError.

    RLIMIT_DATA counts what a process may write to on its own: not the memory-mapped field, nor an address space
    that is only reserved.
    """
    had = _status_bytes("VmData")
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = had + n_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def widen_limit() -> None:
    """Let a process that has a slot's share of the memory have what all slots have; one without a limit gets none."""
    if resource.getrlimit(resource.RLIMIT_DATA)[0] != resource.RLIM_INFINITY:
        limit_process(int(SHARE * machine_bytes()))


def lift_limit() -> None:
    """Take the limit away again: a trial that met it has its outcome to write."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def limit_gpu(device: str, n_sharing: int) -> None:
    """Share a GPU's memory equally among `n_sharing` slots; beyond that PyTorch raises OutOfMemoryError."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.set_per_process_memory_fraction(SHARE / n_sharing, torch.device(device))


def refuse_greedy(cfg: TrialConfig, device: str, n_sharing: int) -> None:
    """Raises MemoryError where the weights of the networks that are trained, their gradient and Adam's two moments
    alone are more than a slot has.

    A bound from below, so that nothing is refused that could run; what else a run takes meets the limit itself.
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
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return 0
