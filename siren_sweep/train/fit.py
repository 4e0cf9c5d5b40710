"""A trained SIREN, or one for each window of frames, as a function of (t, x, y).

    fit = Fit(cfg, weights)
    fit(t, x, y)                     # luminance (n,) at times t (frames) and places x, y (lattice spacings)
    fit.frames(frames, positions)    # luminance (n_frames, n_positions)

Between the last frame of a window and the first one of the next the two networks are blended linearly, so that the
function is continuous in t; at whole frames it is the network of the frame's window alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import Window, cut
from siren_sweep.train.engine.base import key_prefix
from siren_sweep.train.engine.coordinates import FIRST_WEIGHT
from siren_sweep.train.siren import Siren, normalised


class Fit:
    """What a training run leaves, on the CPU. A run that trained some of its windows answers for those alone."""

    def __init__(self, cfg: TrialConfig, weights: Mapping[str, Tensor]) -> None:
        """`weights` as `TrainResult.state_dict` holds them."""
        self._graph = cfg.graph_model
        windows = cut(cfg.training.n_training_frames, cfg.graph_model.window_frames)
        self.windows: Sequence[Window] = [
            window for window in windows if f"{key_prefix(window)}{FIRST_WEIGHT}" in weights
        ]
        self._starts = np.array([window.start for window in self.windows])
        self._models = [self._model(window, weights) for window in self.windows]

    def __call__(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Luminance (n,) at times t (n,), in frames, and places x, y (n,), in lattice spacings."""
        owner = np.maximum(np.searchsorted(self._starts, t.detach().numpy(), side="right") - 1, 0)
        output = torch.empty(len(t), dtype=torch.float32)
        for place in np.unique(owner):
            mine = torch.from_numpy(owner == place)
            output = output.masked_scatter(mine, self._blended(int(place), t[mine], x[mine], y[mine]))
        return output

    def frames(self, frames: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Luminance (n_frames, n_positions) float32 at whole frames and positions (n_positions, 2)."""
        x, y = torch.from_numpy(np.array(positions, np.float64)).T
        with torch.no_grad():
            rows = [self(torch.full((len(x),), float(frame), dtype=torch.float64), x, y).numpy() for frame in frames]
        return np.stack(rows)

    def border_jump(self, targets: np.ndarray, positions: np.ndarray) -> float | None:
        """How far neighbouring networks differ half a frame from either, against what one frame changes there.

        The root mean square over borders and positions of the difference of the two networks, over that of the
        difference of the two frames' targets (n_frames, n_positions). None without a border, or where nothing changes.
        """
        x, y = torch.from_numpy(np.array(positions, np.float64)).T
        jumps, changes = [], []
        with torch.no_grad():
            for place in range(len(self.windows) - 1):
                border = self.windows[place].stop
                if border == self.windows[place + 1].start:
                    t = torch.full((len(x),), border - 0.5, dtype=torch.float64)
                    jumps.append(self._value(place, t, x, y) - self._value(place + 1, t, x, y))
                    changes.append(torch.from_numpy(targets[border] - targets[border - 1]))
        if not jumps or not (change := float(torch.stack(changes).double().square().mean().sqrt())):
            return None
        return float(torch.stack(jumps).double().square().mean().sqrt()) / change

    def _blended(self, place: int, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The network of a window, and beyond its last frame the next one's in proportion."""
        window, value = self.windows[place], self._value(place, t, x, y)
        beyond = (t - (window.stop - 1)).clamp(0, 1).to(value.dtype)
        follows = place + 1 < len(self.windows) and self.windows[place + 1].start == window.stop
        if not follows or not bool((beyond > 0).any()):
            return value
        return torch.lerp(value, self._value(place + 1, t, x, y), beyond)

    def _value(self, place: int, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        space, local = self._graph.nnr_f_xy_period, t - self.windows[place].start
        inputs = [normalised(local, self._graph.nnr_f_T_period), normalised(x, space), normalised(y, space)]
        output: Tensor = self._models[place](torch.stack(inputs, dim=1))
        return output

    def _model(self, window: Window, weights: Mapping[str, Tensor]) -> Siren:
        model = Siren(self._graph.hidden_dim_nnr_f, self._graph.n_layers_nnr_f, self._graph.omega_f)
        model.load_state_dict({key: weights[f"{key_prefix(window)}{key}"] for key in model.state_dict()})
        return model
