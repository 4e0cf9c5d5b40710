"""What is known of a SIREN's hyperparameters before any trial: a smooth fit to random runs on the embedded scene.

`bench/search/prior.py` records the runs and fits them; none of them saw the data of a sweep. What a search space
leaves out, or calls by a name that is not known, is taken at its middle: over unknown names the prior is flat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FEATURES = (
    "omega_f",
    "learning_rate_NNR_f",
    "nnr_f_xy_period",
    "nnr_f_T_period",
    "hidden_dim_nnr_f",
    "n_layers_nnr_f",
    "total_steps",
    "inr_batch_size",
    "n_frames",
)
_FILE = Path(__file__).with_name("prior.npz")
_EDGE = 2.0  # standard deviations of the runs beyond which the fit is not followed


@dataclass(frozen=True)
class Prior:
    """The mean of a Gaussian process over the standardised logarithms of `FEATURES`; a score, as in `curves`.

    `points` (n, 9) are the runs, `weights` (n,) theirs, `scales` (12,) the length scales of `coordinates`.
    """

    centre: np.ndarray
    unit: np.ndarray
    scales: np.ndarray
    points: np.ndarray
    weights: np.ndarray
    mean: np.ndarray  # ()

    @classmethod
    @cache
    def load(cls) -> Prior:
        with np.load(_FILE) as values:
            return cls(**{name: np.asarray(values[name], np.float64) for name in values.files})

    def save(self) -> None:
        """Replace the fit that ships with the sampler."""
        arrays: dict[str, Any] = {name: np.asarray(value, np.float32) for name, value in asdict(self).items()}
        np.savez_compressed(_FILE, **arrays)

    def __call__(self, configs: Sequence[Mapping[str, float]]) -> np.ndarray:
        """Scores (n,) of configs that hold any of the features, by name."""
        rows = [
            [
                (np.log10(config[name]) - centre) / unit if name in config else 0.0
                for name, centre, unit in zip(FEATURES, self.centre, self.unit, strict=True)
            ]
            for config in configs
        ]
        x = np.clip(np.array(rows, np.float64).reshape(-1, len(FEATURES)), -_EDGE, _EDGE)
        a, b = coordinates(x) / self.scales, coordinates(self.points) / self.scales
        squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * a @ b.T
        return np.asarray(self.mean + np.exp(-0.5 * np.maximum(squares, 0)) @ self.weights)


def coordinates(x: np.ndarray) -> np.ndarray:
    """Standardised features (n, 9), and omega's combinations with the rate, the xy period and the T period."""
    return np.column_stack([x, x[:, 0] + x[:, 1], x[:, 0] - x[:, 2], x[:, 0] - x[:, 3]])
