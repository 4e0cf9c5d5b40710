"""Training steps on a CPU by the written-out passes, and Adam in one sweep over all parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from siren_sweep.config import TrialConfig
from siren_sweep.engine import kernels
from siren_sweep.engine.base import CLIP_NORM, Engine, explosion_limit, initial_model, learning_rate
from siren_sweep.engine.batches import Batch, BatchSampler
from siren_sweep.engine.coordinates import coordinates
from siren_sweep.engine.passes import SirenPasses
from siren_sweep.engine.precision import is_reduced
from siren_sweep.field import StimulusField


class CpuEngine(Engine):
    """The engine of every run on a CPU that has numba."""

    def __init__(self, field: StimulusField, cfg: TrialConfig) -> None:
        self.step, self.device = 0, torch.device("cpu")
        self._cfg = cfg
        self._limit = explosion_limit(field)
        self._n_unique = field.n_unique
        self._sampler = BatchSampler(
            field, n_frames=cfg.training.inr_batch_size, sampling=cfg.training.sampling, seed=cfg.training.seed
        )
        self._coordinates = coordinates(field, cfg)
        self._passes = SirenPasses(
            self._coordinates.learned(initial_model(cfg).state_dict()),
            cfg.graph_model.omega_f,
            self._coordinates.t.numpy(),
            self._coordinates.xy.numpy(),
            reduced=is_reduced(cfg.training.hidden_precision, self.device),
        )
        vector = self._passes.parameters.vector
        self._mean, self._square = torch.zeros_like(vector), torch.zeros_like(vector)

    def advance(self, n_steps: int) -> int | None:
        for _ in range(n_steps):
            if not self.train_on(self._sampler.draw()) <= self._limit:
                return self.step
        return None

    def train_on(self, batch: Batch) -> float:
        """One step on `batch`; its loss before the step."""
        passes = self._passes
        loss = passes.accumulate(batch)
        rate = learning_rate(self._cfg, self.step)
        self.step += 1
        moments = self._mean.numpy(), self._square.numpy()
        kernels.adam(passes.parameters.array, passes.gradient.array, *moments, rate, self.step, CLIP_NORM)
        return loss

    def predict(self, frames: np.ndarray) -> Tensor:
        position = np.tile(np.arange(self._n_unique), len(frames))
        return self._passes.predict(np.repeat(frames, self._n_unique), position).view(len(frames), self._n_unique)

    def weights(self) -> dict[str, Tensor]:
        return self._coordinates.handed_out({key: value.clone() for key, value in self._named.items()})

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        for key, value in self._coordinates.learned(weights).items():
            self._named[key].copy_(value)

    def snapshot(self) -> dict[str, Any]:
        vectors = {name: vector.clone() for name, vector in self._vectors().items()}
        return {"step": self.step, "sampler": self._sampler.state, **vectors}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self.step = snapshot["step"]
        self._sampler.state = snapshot["sampler"]
        for name, vector in self._vectors().items():
            vector.copy_(snapshot[name])

    @property
    def _named(self) -> dict[str, Tensor]:
        return self._passes.parameters.named

    def _vectors(self) -> dict[str, Tensor]:
        return {"parameters": self._passes.parameters.vector, "mean": self._mean, "square": self._square}
