"""What carries out training steps: on a CPU with the passes written out, elsewhere by PyTorch's autograd."""

from siren_sweep.engine.base import (
    Engine,
    initial_model,
    learning_rate,
    make_engine,
    n_cores,
    n_gpus,
    n_threads,
    resolve_device,
)

__all__ = [
    "Engine",
    "initial_model",
    "learning_rate",
    "make_engine",
    "n_cores",
    "n_gpus",
    "n_threads",
    "resolve_device",
]
