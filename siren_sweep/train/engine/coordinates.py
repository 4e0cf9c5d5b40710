"""The coordinates that a SIREN gets for a field's points, and the scale at which its first layer is trained.

Adam moves every weight by about the learning rate in each step. Where the frames span many periods, a first-layer
weight is multiplied by a large t, and such a step turns its phase by radians: nothing is learned. So the first layer is
trained on coordinates scaled into [-1, 1], the range for which Sitzmann et al. (2020, section 3.2) derive the
initialisation. When the weights are exported they are scaled back. The function is the same; only the steps are
smaller. The scales are powers of two, so that scaling does not round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from siren_sweep.config.choices import FirstLayerRate
from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField
from siren_sweep.train.siren import IN_FEATURES, normalised

FIRST_WEIGHT = "net.0.linear.weight"


@dataclass(frozen=True)
class Coordinates:
    """t (n_frames,) and xy (n_unique, 2), normalised by their periods and divided by `scale` (3,); all float64."""

    t: Tensor
    xy: Tensor
    scale: Tensor

    def learned(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights for these coordinates, from those for normalised ones. Only the first, (hidden, 3), changes."""
        return {**weights, FIRST_WEIGHT: weights[FIRST_WEIGHT] * self._factor(weights)}

    def handed_out(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights for normalised coordinates, as they are exported: the inverse of `learned`."""
        return {**weights, FIRST_WEIGHT: weights[FIRST_WEIGHT] / self._factor(weights)}

    def _factor(self, weights: dict[str, Tensor]) -> Tensor:
        return self.scale.to(weights[FIRST_WEIGHT])


def coordinates(frames: np.ndarray, field: StimulusField, cfg: TrialConfig) -> Coordinates:
    """The coordinates of frames (n_frames,) and of a field's positions, with the periods of a config.

    Frames are counted from the start of the network's window; the frame before it is -1.
    """
    t = normalised(torch.from_numpy(frames), cfg.graph_model.nnr_f_T_period)
    places = np.stack(field.scaling.places(*field.positions.T.astype(np.float64)), axis=1)
    xy = normalised(torch.from_numpy(places), cfg.graph_model.nnr_f_xy_period)
    scale = torch.ones(IN_FEATURES, dtype=torch.float64)
    if cfg.training.first_layer_rate == FirstLayerRate.scaled:
        largest = torch.cat([t.abs().max()[None], xy.abs().amax(0)])
        scale = torch.exp2(torch.ceil(torch.log2(largest.clamp(min=1))))
    return Coordinates(t / scale[0], xy / scale[1:], scale)
