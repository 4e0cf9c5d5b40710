"""A trained SIREN, or those of all windows, as one function of (t, x, y).

    fit = Fit(cfg, weights, field.scaling)
    fit(t, x, y)                     # luminance (n,) at times t (frames) and places x, y, all in the data's units
    fit.frames(frames, positions)    # luminance (n_frames, n_positions)

Between the last frame of a window and the first frame of the next, the two networks are blended linearly, so that the
function is continuous in t. At a whole frame it is the network of the frame's window alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import Scaling, Window, cut
from siren_sweep.train.engine.base import key_prefix
from siren_sweep.train.engine.coordinates import FIRST_WEIGHT
from siren_sweep.train.siren import Siren, normalised

POINTS_AT_ONCE = 1 << 15  # points that `Fit.frames` computes at once; bounds its memory


class Fit:
    """The function that a training run has learned. Where the run trained only some windows, it holds in those alone.

    The weights are constants: gradients exist with respect to t, x and y only.
    """

    def __init__(
        self, cfg: TrialConfig, weights: Mapping[str, Tensor], scaling: Scaling, frames: np.ndarray | None = None
    ) -> None:
        """`weights` are (out, in) and (out,), as in `TrainResult.state_dict`. The networks are on the CPU; see `to`.

        With `frames` (n,), only the networks of their windows are made. Raises KeyError or RuntimeError where the
        weights are not those of the config.
        """
        self._graph, self._scaling = cfg.graph_model, scaling
        windows = cut(cfg.training.n_training_frames, cfg.graph_model.window_frames)
        self.windows: Sequence[Window] = [
            window
            for window in windows
            if f"{key_prefix(window)}{FIRST_WEIGHT}" in weights
            and (frames is None or np.isin(frames, window.frames).any())
        ]
        self._starts = torch.tensor([window.start for window in self.windows], dtype=torch.float64)
        self._models = [self._model(window, weights) for window in self.windows]

    @property
    def device(self) -> torch.device:
        return self._starts.device

    def to(self, device: torch.device) -> None:
        """Move the networks to a device. Inputs must then be on it too. Raises torch's error where there is none."""
        models = [model.to(device) for model in self._models]  # raises where there is no such device
        self._starts, self._models = self._starts.to(device), models

    def __call__(self, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Luminance (n,) float32 at times t (n,), in frames, and positions x, y (n,), in the data's unit."""
        t = t.double()  # a small whole number, such as a byte, would wrap where a window's start is taken off
        if len(self.windows) == 1:
            return self._value(0, t, x, y)
        owner = (torch.searchsorted(self._starts, t.detach().contiguous(), right=True) - 1).clamp(min=0)
        order = torch.argsort(owner, stable=True)
        parts = order.split(torch.bincount(owner, minlength=len(self.windows)).tolist())
        values = [self._blended(place, t[own], x[own], y[own]) for place, own in enumerate(parts) if len(own)]
        return torch.cat(values or [self._value(0, t, x, y)])[torch.argsort(order)]

    def frames(self, frames: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Luminance (n_frames, n_positions) float32 at frames (n_frames,) and positions (n_positions, 2)."""
        x, y = self._places(positions)
        rows = np.empty((len(frames), len(x)), np.float32)
        size = max(1, POINTS_AT_ONCE // max(1, len(x)))
        with torch.no_grad():
            for start in range(0, len(frames), size):
                own = torch.from_numpy(np.array(frames[start : start + size], np.float64)).to(self.device)
                t = own.repeat_interleave(len(x))
                values = self(t, x.repeat(len(own)), y.repeat(len(own)))
                rows[start : start + size] = values.reshape(len(own), len(x)).cpu().numpy()
        return rows

    def border_jump(self, targets: np.ndarray, positions: np.ndarray) -> float | None:
        """How much neighbouring networks differ half way between their windows, relative to the change of one frame.

        It is a ratio of root mean squares over all borders and positions: of the difference of the two networks'
        predictions half way between the two frames at a border, over the difference of these frames' `targets`
        (n_frames, n_positions). None where there is no border, or these targets do not change.
        """
        x, y = self._places(positions)
        jumps, changes = [], []
        with torch.no_grad():
            for place in range(len(self.windows) - 1):
                border = self.windows[place].stop
                if border == self.windows[place + 1].start:
                    t = torch.full_like(x, border - 0.5)
                    jumps.append(self._value(place, t, x, y) - self._value(place + 1, t, x, y))
                    changes.append(torch.from_numpy(targets[border] - targets[border - 1]))
        if not jumps or not (change := float(torch.stack(changes).double().square().mean().sqrt())):
            return None
        return float(torch.stack(jumps).double().square().mean().sqrt()) / change

    def _places(self, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        x, y = torch.from_numpy(np.array(positions, np.float64)).to(self.device).T
        return x, y

    def _blended(self, place: int, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Luminance (n,) of a window's network; after its last frame it is blended with the next network's."""
        window, value = self.windows[place], self._value(place, t, x, y)
        beyond = (t - (window.stop - 1)).clamp(0, 1).to(value.dtype)
        follows = place + 1 < len(self.windows) and self.windows[place + 1].start == window.stop
        if not follows or not bool((beyond > 0).any()):
            return value
        return torch.lerp(value, self._value(place + 1, t, x, y), beyond)

    def _value(self, place: int, t: Tensor, x: Tensor, y: Tensor) -> Tensor:
        space, local = self._graph.nnr_f_xy_period, t - self.windows[place].start
        x, y = self._scaling.places(x.double(), y.double())
        inputs = [normalised(local, self._graph.nnr_f_T_period), normalised(x, space), normalised(y, space)]
        output: Tensor = self._scaling.unscaled(self._models[place](torch.stack(inputs, dim=1)))
        return output

    def _model(self, window: Window, weights: Mapping[str, Tensor]) -> Siren:
        with torch.device("meta"):  # nothing is drawn, since every value is given
            model = Siren(self._graph.hidden_dim_nnr_f, self._graph.n_layers_nnr_f, self._graph.omega_f)
        own = {key: weights[f"{key_prefix(window)}{key}"] for key in model.state_dict()}
        model.load_state_dict(own, assign=True)  # not a copy: there may be a thousand networks
        return model.requires_grad_(False)
