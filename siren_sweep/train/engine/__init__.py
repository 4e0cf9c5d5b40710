"""What carries out training steps: on a CPU with the passes written out, elsewhere by PyTorch's autograd."""

from siren_sweep.train.engine.base import Engine, initial_model, learning_rate
from siren_sweep.train.engine.make import make_engine

__all__ = ["Engine", "initial_model", "learning_rate", "make_engine"]
