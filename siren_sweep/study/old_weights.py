"""Evaluates weights of the old loop again. The old loop reports a squared correlation; this computes the exact R2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from siren_sweep.config.parameters import HIDDEN_DIM, N_LAYERS, OMEGA, T_PERIOD, XY_PERIOD, leaf
from siren_sweep.errors import DataError
from siren_sweep.field import StimulusField
from siren_sweep.text import one_line
from siren_sweep.train.metrics import Metrics, Moments
from siren_sweep.train.siren import Siren, normalised

_POINTS = 1 << 15  # points that are evaluated at once


def evaluate_weights(file: Path, config: Mapping[str, Any], field: StimulusField) -> Metrics:
    """The metrics of a `.pt` state dict over all frames and neurons of `field`.

    The inputs are those of the old loop: t and the positions, unscaled, times 2 pi / period. Raises DataError where the
    file holds no weights of such a config, or a needed parameter of `config` is unknown.
    """
    if unknown := [leaf(one) for one in (HIDDEN_DIM, N_LAYERS, OMEGA, T_PERIOD, XY_PERIOD) if config[one] is None]:
        raise DataError(f"cannot be evaluated: {', '.join(unknown)} of its config is unknown")
    model = Siren(config[HIDDEN_DIM], config[N_LAYERS], config[OMEGA])
    try:
        model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    except Exception as error:  # torch, pickle and zipfile raise many kinds
        raise DataError(
            f"must be a state dict of {config[N_LAYERS]} hidden layers of width {config[HIDDEN_DIM]} "
            f"({type(error).__name__}: {one_line(error, 200)})"
        ) from None
    moments = Moments(field.total / (field.n_frames * field.n_neurons), torch.device("cpu"), field.ss_within)
    places = normalised(torch.from_numpy(np.array(field.positions)), config[XY_PERIOD])
    multiplicity = torch.from_numpy(np.array(field.multiplicity))
    size = max(1, _POINTS // field.n_unique)
    with torch.no_grad():
        for start in range(0, field.n_frames, size):
            targets = torch.from_numpy(np.array(field.targets[start : start + size]))
            t = normalised(torch.arange(start, start + len(targets)), config[T_PERIOD])
            inputs = torch.cat([t.repeat_interleave(len(places))[:, None], places.repeat(len(targets), 1)], 1)
            moments.update(model(inputs).reshape(targets.shape), targets, multiplicity)
    return moments.metrics()
