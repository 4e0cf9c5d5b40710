"""Loads a registered model for MLflow: `mlflow.pyfunc.load_model("models:/NAME@block_01")`. Nothing is pickled.

MLflow calls `_load_pyfunc` with a folder that holds a trial's `config.yaml` and `weights.safetensors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from siren_sweep.config.config_file import read_config
from siren_sweep.field import UNSCALED
from siren_sweep.paths import TrialPaths
from siren_sweep.train.fit import Fit
from siren_sweep.train.weights_file import read_description


class Luminance:
    """A trained SIREN as a function of (t, x, y)."""

    def __init__(self, saved: TrialPaths) -> None:
        said = read_description(saved.weights)  # None for weights of an older version, which did not scale
        self._fit = Fit(read_config(saved.config), load_file(saved.weights), said.scaling if said else UNSCALED)

    def predict(self, model_input: Mapping[str, Any]) -> np.ndarray:
        """Luminance (n,) for a data frame with the columns `t` (frames), `x` and `y`, each (n,)."""
        t, x, y = (torch.tensor(np.asarray(model_input[name], np.float64)) for name in ("t", "x", "y"))
        with torch.no_grad():
            return np.asarray(self._fit(t, x, y))


def _load_pyfunc(data_path: str) -> Luminance:
    return Luminance(TrialPaths(Path(data_path)))
