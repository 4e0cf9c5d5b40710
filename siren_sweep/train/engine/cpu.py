"""Training steps on a CPU, with hand-written passes and Adam in one pass over all parameters.

A `Team` trains the networks of windows in parallel where there are cores for it. The result of a network depends on its
window and the seed alone, not on the number of cores or on the other windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField, Window
from siren_sweep.train.engine import kernels
from siren_sweep.train.engine.base import (
    CLIP_NORM,
    Engine,
    explosion_limit,
    initial_model,
    key_prefix,
    learning_rate,
    update_limit,
    window_seed,
)
from siren_sweep.train.engine.batches import Batch, BatchSampler
from siren_sweep.train.engine.coordinates import coordinates
from siren_sweep.train.engine.passes import SirenPasses, Workspace
from siren_sweep.train.engine.precision import hidden_products, is_reduced
from siren_sweep.train.engine.team import Team, shared
from siren_sweep.train.machine import n_threads
from siren_sweep.train.siren import n_parameters

CPU = torch.device("cpu")
VECTORS = ("parameters", "mean", "square")  # of a network: its parameters and Adam's moments, each (n_parameters,)


class CpuEngine(Engine):
    """The engine of every run on a CPU that has numba."""

    def __init__(self, field: StimulusField, cfg: TrialConfig, windows: Sequence[Window]) -> None:
        self.step, self.device, self.windows = 0, CPU, tuple(windows)
        if len(windows) > 1:
            self.chunks_at_once = 32  # so that each process of a team has windows to predict
            torch.set_num_threads(1)  # the cores work on different windows, not on parts of a product
        self._n_unique = field.n_unique
        self._reduced = is_reduced(cfg.training.hidden_precision, CPU)
        limit, workspace = explosion_limit(field), Workspace()
        self._n_processes = min(n_threads(cfg), len(windows))
        zeros = shared if self._n_processes > 1 else torch.zeros
        n = n_parameters(cfg.graph_model.hidden_dim_nnr_f, cfg.graph_model.n_layers_nnr_f)
        self._vectors = {name: zeros(len(windows), n) for name in VECTORS}
        self._networks = [
            _Network(
                field,
                cfg,
                window,
                limit,
                self._reduced,
                workspace,
                {name: vectors[place] for name, vectors in self._vectors.items()},
            )
            for place, window in enumerate(windows)
        ]
        self._team: Team | None = None

    def advance(self, n_steps: int) -> int | None:
        if self._n_processes > 1:
            ends = self._its_team().advance(n_steps)
        else:
            with hidden_products(self._reduced, CPU):
                ends = [network.advance(n_steps) for network in self._networks]
        exploded = min((step for step in ends if step is not None), default=None)
        self.step = exploded or self.step + n_steps
        return exploded

    def train_on(self, batch: Batch) -> float:
        """One step of the only network on `batch`; returns its loss before the step."""
        with hidden_products(self._reduced, CPU):
            loss = self._networks[0].train_on(batch)
        self.step += 1
        return loss

    def predict(self, frames: np.ndarray) -> Tensor:
        owner = self._owners(frames)
        asked = {place: frames[owner == place] for place in np.unique(owner).tolist()}
        if self._n_processes > 1:
            said = self._its_team().predict(asked)
        else:
            said = {place: self._networks[place].predict(some) for place, some in asked.items()}
        output = torch.empty(len(frames), self._n_unique)
        for place, its in said.items():
            output[torch.from_numpy(owner == place)] = its
        return output

    def weights(self) -> dict[str, Tensor]:
        return {
            f"{prefix}{key}": value
            for prefix, network in self._named_networks()
            for key, value in network.weights().items()
        }

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        for prefix, network in self._named_networks():
            network.load_weights({key: weights[f"{prefix}{key}"] for key in network.keys})

    def snapshot(self) -> dict[str, Any]:
        vectors = {name: value.clone() for name, value in self._vectors.items()}
        if self._team is not None:
            states = self._team.random_states()
        else:
            states = [network.random_state() for network in self._networks]
        return {"step": self.step, "samplers": states, **vectors}

    def restore(self, snapshot: dict[str, Any]) -> None:
        if self._team is not None:  # its processes have random states of their own
            self._team.close()
            self._team = None
        self.step = snapshot["step"]
        for name, value in self._vectors.items():
            value.copy_(snapshot[name])
        for network, state in zip(self._networks, snapshot["samplers"], strict=True):
            network.step, network.sampler.state = self.step, state

    def _its_team(self) -> Team:
        """The team; it is started where there is none, with the networks' present random states."""
        self._team = self._team or Team(self._networks, self._n_processes, lambda: hidden_products(self._reduced, CPU))
        return self._team

    def _named_networks(self) -> Iterable[tuple[str, _Network]]:
        return ((key_prefix(network.window), network) for network in self._networks)


class _Network:
    """One network, its optimizer's state and its source of batches."""

    def __init__(
        self,
        field: StimulusField,
        cfg: TrialConfig,
        window: Window,
        limit: float,
        reduced: bool,
        workspace: Workspace,
        vectors: dict[str, Tensor],
    ) -> None:
        """`vectors` are the memory of the parameters and moments, each (n_parameters,) float32.

        `limit` is the loss above which the network has exploded; `reduced` see `is_reduced`.
        """
        self.window, self.step = window, 0
        self._cfg, self._limit, self._n_unique = cfg, limit, field.n_unique
        seen, seed = field if window.alone else field.part(window.seen), window_seed(cfg, window)
        self.sampler = BatchSampler(
            seen, n_frames=cfg.training.inr_batch_size, sampling=cfg.training.sampling, seed=seed
        )
        times = np.arange(window.seen.start, window.seen.stop) - window.start
        self._first_time = int(times[0])
        self._coordinates = coordinates(times, field, cfg)
        self._passes = SirenPasses(
            self._coordinates.learned(initial_model(cfg, seed).state_dict()),
            cfg.graph_model.omega_f,
            self._coordinates.t.numpy(),
            self._coordinates.xy.numpy(),
            reduced,
            workspace,
            vectors["parameters"],
        )
        self._moments = vectors["mean"].numpy(), vectors["square"].numpy()

    @property
    def keys(self) -> Iterable[str]:
        """The keys of the weights and biases in `Siren`."""
        return self._passes.parameters.named.keys()

    def random_state(self) -> dict[str, Any]:
        """The state of the batches' source, as plain values."""
        return self.sampler.state

    def advance(self, n_steps: int) -> int | None:
        """Run steps. Returns the number of the first one whose loss was not finite or exploded, or None."""
        for _ in range(n_steps):
            if not self.train_on(self.sampler.draw()) <= self._limit:
                return self.step
        return None

    def train_on(self, batch: Batch) -> float:
        """One step on `batch`; returns the loss before the step."""
        passes = self._passes
        loss = passes.accumulate(batch)
        rate, limit = learning_rate(self._cfg, self.step), update_limit(self._cfg, self.step)
        beta2, theta = self._cfg.training.adam_beta2, passes.parameters
        self.step += 1
        kernels.adam(
            theta.array, passes.gradient.array, *self._moments, rate, beta2, self.step, CLIP_NORM, theta.hidden, limit
        )
        return loss

    def predict(self, frames: np.ndarray) -> Tensor:
        """The network's output (n, n_unique) float32 at frames (n,) of the field."""
        seen = frames - self.window.start - self._first_time
        position = np.tile(np.arange(self._n_unique), len(seen))
        with hidden_products(False, CPU):
            said = self._passes.predict(np.repeat(seen, self._n_unique), position)
        return said.view(len(seen), self._n_unique)

    def weights(self) -> dict[str, Tensor]:
        named = self._passes.parameters.named
        return self._coordinates.handed_out({key: value.clone() for key, value in named.items()})

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        for key, value in self._coordinates.learned(weights).items():
            self._passes.parameters.named[key].copy_(value)
