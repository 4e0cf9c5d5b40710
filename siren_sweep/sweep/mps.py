"""Runs NVIDIA's Multi-Process Service (MPS) during a sweep whose trials share GPUs.

Without MPS a GPU runs the kernels of one process at a time, and the short kernels of the other trials wait. With it the
kernels of all processes run at once (NVIDIA, "Multi-Process Service", chapter 1). Where it is not installed, or does
not work, the sweep runs without it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

CONTROL = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
PATIENCE_S = 60.0
PROBE = "import torch; torch.ones(8, device='cuda').sum().item()"


@contextmanager
def shared_gpus(n_trials: int, n_gpus: int) -> Iterator[bool]:
    """Run MPS inside the context where more trials than GPUs run at once; yields whether it runs.

    Processes that are started inside find it by environment variables. An MPS that a person has started is used as it
    is.
    """
    control = shutil.which(CONTROL)
    if n_gpus == 0 or n_trials <= n_gpus or control is None or PIPES in os.environ:
        yield PIPES in os.environ
        return
    # In the temporary folder, since a socket's path must be short. MPS may still write while the folder is removed.
    with tempfile.TemporaryDirectory(prefix="mps_", ignore_cleanup_errors=True) as folder:
        os.environ |= {PIPES: folder, LOGS: folder}
        try:
            # MPS numbers the GPUs that it sees from 0, and its clients' CUDA_VISIBLE_DEVICES has these numbers. So MPS
            # must see all GPUs, and only its clients get the variable.
            all_gpus = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
            runs = _succeeds(control, "-d", env=all_gpus) and _succeeds(sys.executable, "-c", PROBE)
            if not runs:
                _quit(control)
                del os.environ[PIPES], os.environ[LOGS]
                print(f"{CONTROL} does not work here: trials that share a GPU take turns", file=sys.stderr)
            yield runs
        finally:
            if PIPES in os.environ:
                _quit(control)
                del os.environ[PIPES], os.environ[LOGS]


def _succeeds(*command: str, env: dict[str, str] | None = None) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=PATIENCE_S, env=env).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _quit(control: str) -> None:
    try:
        subprocess.run([control], input=b"quit\n", capture_output=True, timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        print(f"{CONTROL} could not be stopped", file=sys.stderr)
