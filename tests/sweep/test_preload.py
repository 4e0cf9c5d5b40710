"""The server that workers are forked from."""

from __future__ import annotations

import subprocess
import sys

SERVER = """
import sys
from siren_sweep.train import machine
machine.has_driver = lambda: True
import siren_sweep.sweep.preload
import torch
from siren_sweep.config.checks import trial_config
from siren_sweep.train.engine.update import Update
known = set(sys.modules)
update = Update(torch.zeros(1, 2305), trial_config({"graph_model": {"hidden_dim_nnr_f": 32, "n_layers_nnr_f": 2}}))
update.step(torch.tensor(0))
assert not torch.cuda.is_initialized()
print(sorted(set(sys.modules) - known))
"""


def test_where_there_is_a_gpu_the_server_has_imported_what_an_optimizer_needs() -> None:
    """And has not used CUDA: a forked process could not, after that."""
    ran = subprocess.run([sys.executable, "-c", SERVER], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
