"""The training engines: on a CPU with hand-written passes, on a GPU with PyTorch's autograd."""

from siren_sweep.train.engine.base import Engine, initial_model, learning_rate
from siren_sweep.train.engine.make import make_engine

__all__ = ["Engine", "initial_model", "learning_rate", "make_engine"]
