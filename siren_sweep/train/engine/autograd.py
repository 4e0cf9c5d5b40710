"""Training steps by PyTorch's autograd: on a GPU, and on a CPU without numba.

On a GPU the field, the batches, the learning rate and the check for explosion are all in the GPU's memory, and a step
is one CUDA graph, so nothing in the loop waits for the device. The hidden layers' products may be TF32. The first
layer's phase is float64, as in every engine, and predictions, from which all metrics come, are float32.

The networks of windows are trained together, with stacked parameters. The activations that a forward pass keeps for the
backward pass may not fit: 1032 windows of 1736 points a step and 6 sine layers of 128 units keep 20 GB. So the windows
are processed in groups whose activations take at most `GROUP_BYTES`, at least one window each. A step runs the forward
and backward pass of one group after the other in the same memory, then updates all windows. Weights, gradients and
Adam's moments of all windows stay in memory: 16 bytes a parameter.

A window's result does not depend on its group or on the other windows, except for rounding: the kernel of a batched
product may depend on the number of products.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField, Window
from siren_sweep.train.engine.base import Engine, explosion_limit, initial_model, key_prefix, window_seed
from siren_sweep.train.engine.coordinates import Coordinates, coordinates
from siren_sweep.train.engine.device_batches import DeviceBatch, DeviceSampler
from siren_sweep.train.engine.precision import hidden_products, is_reduced
from siren_sweep.train.engine.stacked import Stacked, activation_bytes, forward, named, rows
from siren_sweep.train.engine.update import Update

EAGER_STEPS = 3  # steps before a graph is captured, since libraries initialise themselves on their first calls
GROUP_BYTES = 2 * 2**30  # activations of a group; they keep a GPU busy, and leave room for three other trials


class TorchEngine(Engine):
    """Autograd over stacked networks, one for each window, with PyTorch's fused Adam."""

    def __init__(self, field: StimulusField, cfg: TrialConfig, device: torch.device, windows: Sequence[Window]) -> None:
        self.step, self.device, self.windows = 0, device, tuple(windows)
        self._omega, self._limit = cfg.graph_model.omega_f, explosion_limit(field)
        self._reduced = device.type == "cuda" and is_reduced(cfg.training.hidden_precision, device)
        self._place_points(field, cfg)
        seeds = [window_seed(cfg, window) for window in windows]
        starts = zip(self._coordinates, (initial_model(cfg, seed).state_dict() for seed in seeds), strict=True)
        drawn = [own.learned(weights) for own, weights in starts]
        self._rows = rows(drawn).to(device)  # (n_windows, n_parameters)
        self._like = drawn[0]  # has the names and shapes of a network's parameters
        self._update = Update(self._rows, cfg)
        self._groups = [
            (group, {key: value.detach().requires_grad_() for key, value in named(self._rows[group], drawn[0]).items()})
            for group in _groups(len(windows), cfg, field.n_unique)
        ]  # each with views of its parameters as leaf tensors
        self._sampler = DeviceSampler(
            field, windows, seeds, n_frames=cfg.training.inr_batch_size, sampling=cfg.training.sampling, device=device
        )
        self._steps_done = torch.zeros((), dtype=torch.int64, device=device)
        self._exploded_at = torch.zeros((), dtype=torch.int64, device=device)  # step of the explosion; 0: none
        self._graph: torch.cuda.CUDAGraph | None = None
        self._eager_steps = 0

    def _place_points(self, field: StimulusField, cfg: TrialConfig) -> None:
        """Set the coordinates of each window's points, t (n_windows, longest) and xy (n_windows, n_unique, 2), float64.

        A window that sees fewer frames than the longest has zeros after its own, which no batch draws.
        """
        times = [np.arange(window.seen.start, window.seen.stop) - window.start for window in self.windows]
        self._coordinates: list[Coordinates] = [coordinates(own, field, cfg) for own in times]
        t = torch.nn.utils.rnn.pad_sequence([own.t for own in self._coordinates], batch_first=True)
        self._t = t.to(self.device)
        self._xy = torch.stack([own.xy for own in self._coordinates]).to(self.device)

    def advance(self, n_steps: int) -> int | None:
        with torch.cuda.device_of(self._t):  # a graph is captured on the current device; on a CPU this does nothing
            for _ in range(n_steps):
                self._advance_once()
        self.step += n_steps
        if exploded_at := int(self._exploded_at):  # only here the host waits for the device
            self.step = exploded_at
            return exploded_at
        return None

    def _advance_once(self) -> None:
        if self._graph is not None:
            self._graph.replay()
        elif self._eager_steps < EAGER_STEPS or self.device.type != "cuda":
            self.train_on(self._sampler.draw(self._steps_done))
            self._eager_steps += 1
        else:
            self._graph = self._captured()
            self._graph.replay()

    def _captured(self) -> torch.cuda.CUDAGraph:
        """A step as a CUDA graph. Capturing does not execute the step."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=torch.cuda.Stream(self.device)):  # the default stream is on device 0
            self.train_on(self._sampler.draw(self._steps_done))
        return graph

    def train_on(self, batch: DeviceBatch) -> None:
        """One step on `batch`. It reads no value back from the device."""
        with hidden_products(self._reduced, self.device):
            losses = torch.cat([self._accumulate(batch, group, own) for group, own in self._groups])
        self._update.step(self._steps_done)
        self._steps_done += 1
        first_bad = (self._exploded_at == 0) & ~(losses <= self._limit).all()
        self._exploded_at.copy_(torch.where(first_bad, self._steps_done, self._exploded_at))

    def _accumulate(self, batch: DeviceBatch, group: slice, own: Stacked) -> Tensor:
        """Write the gradients of a group's windows to the update's `gradient`; returns their losses (n_group,)."""
        inputs = self._inputs(group, batch.frame[group], batch.position[group])
        error = forward(own, inputs, self._omega) - batch.target[group]
        losses = (batch.weight[group] * error.square()).sum(1)
        gradients = torch.autograd.grad(losses.sum(), list(own.values()))
        torch.cat([part.flatten(1) for part in gradients], dim=1, out=self._update.gradient[group])
        return losses.detach()

    def _inputs(self, places: slice | Tensor, frame: Tensor, position: Tensor) -> Tensor:
        """The inputs (n, n_points, 3) float64 of the windows at `places`, at frames and positions (n, n_points)."""
        t = self._t[places].gather(1, frame)[:, :, None]
        xy = self._xy[places].gather(1, position[:, :, None].expand(-1, -1, 2))
        return torch.cat([t, xy], dim=2)

    @torch.no_grad()
    def predict(self, frames: np.ndarray) -> Tensor:
        owners, row, counts = np.unique(self._owners(frames), return_inverse=True, return_counts=True)
        order = np.argsort(row, kind="stable")
        column = np.empty(len(frames), np.int64)  # a frame's index among those of its window
        column[order] = np.arange(len(frames)) - np.repeat(np.cumsum(counts) - counts, counts)
        firsts = np.array([self.windows[owner].seen.start for owner in owners])
        seen = np.zeros((len(owners), int(counts.max())), np.int64)
        seen[row, column] = frames - firsts[row]
        places, frame = torch.from_numpy(owners).to(self.device), torch.from_numpy(seen).to(self.device)
        n_unique = self._xy.shape[1]
        position = torch.arange(n_unique, device=self.device).repeat(frame.shape[1]).expand(len(frame), -1)
        inputs = self._inputs(places, frame.repeat_interleave(n_unique, dim=1), position)
        with hidden_products(False, self.device):
            output = forward(named(self._rows[places], self._like), inputs, self._omega)
        return output.view(*frame.shape, n_unique)[torch.from_numpy(row), torch.from_numpy(column)]

    def weights(self) -> dict[str, Tensor]:
        on_cpu, all_windows = named(self._rows.cpu(), self._like), {}
        for place, window in enumerate(self.windows):
            own = {key: value[place].clone() for key, value in on_cpu.items()}
            handed_out = self._coordinates[place].handed_out(own)
            all_windows.update({f"{key_prefix(window)}{key}": value for key, value in handed_out.items()})
        return all_windows

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        networks = [
            own.learned({key: weights[f"{key_prefix(window)}{key}"] for key in self._like})
            for own, window in zip(self._coordinates, self.windows, strict=True)
        ]
        self._rows.copy_(rows(networks))

    def snapshot(self) -> dict[str, Any]:
        return {"step": self.step, "parameters": self._rows.cpu().clone(), "update": self._update.snapshot()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        self._graph, self._eager_steps = None, 0  # the old graph refers to tensors that are replaced here
        self.step = snapshot["step"]
        self._steps_done.fill_(self.step)
        self._exploded_at.zero_()
        self._rows.copy_(snapshot["parameters"])
        self._update.restore(snapshot["update"])


def _groups(n_windows: int, cfg: TrialConfig, n_unique: int) -> list[slice]:
    """Slices of the windows, of nearly equal length, whose activations fit into `GROUP_BYTES`."""
    model = cfg.graph_model
    each = activation_bytes(cfg.training.inr_batch_size * n_unique, model.hidden_dim_nnr_f, model.n_layers_nnr_f)
    n_groups = -(-n_windows // max(1, GROUP_BYTES // each))
    edges = np.linspace(0, n_windows, n_groups + 1).astype(int)
    return [slice(int(start), int(stop)) for start, stop in itertools.pairwise(edges)]
