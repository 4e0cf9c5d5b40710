"""Measures what a network does between frames, and its R2, for three starts of the frequencies in t.

    python bench/between_frames.py PATH --json FILE

It trains networks of 96 x 3 for 500 steps in eight windows of 125 frames: four pairs of neighbours. The starts are
`plain`, frequencies of one scale; `multiscale`, frequencies over three decades; and `limited`, the default, which is
`multiscale` without frequencies above `siren.MOST_PHASE`, since frames cannot tell those apart. Each row has three
figures. `r2` is over the windows' frames. `between` is how far the function half way between two frames is from the
mean of the two. `mismatch` is how far two neighbouring networks are from each other half way between their frames. The
last two are root mean squares, in units of the root mean square change from one frame to the next.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from common import arguments, config, opened, write

from siren_sweep.field import StimulusField, cut
from siren_sweep.train import loop, siren
from siren_sweep.train.fit import Fit

N_FRAMES, WINDOW, PAIRS = 64_000, 125, (40, 170, 300, 430)
MOST_PHASE = siren.MOST_PHASE
CASES = {"plain": ("plain", MOST_PHASE), "multiscale": ("multiscale", math.inf), "limited": ("multiscale", MOST_PHASE)}
SEEDS = (42, 43)


def main() -> None:
    """Train with every start and every seed, print and write a row for each."""
    options = arguments(__doc__, ", of 64,000 frames")
    field = opened(options.path, N_FRAMES)
    windows = cut(N_FRAMES, WINDOW)
    pairs = tuple(windows[place + k] for place in PAIRS for k in (0, 1))
    setattr(loop, "spread", lambda windows, n: pairs)  # noqa: B010 - a sample would have no neighbours
    rows = []
    for name, (init, most_phase) in CASES.items():
        for seed in SEEDS:
            siren.MOST_PHASE = most_phase
            row = {"start": name, "seed": seed, **measured(field, init, seed)}
            rows.append(row)
            print(
                f"{name:11} {seed}" + "".join(f"  {key} {value:.4f}" for key, value in row.items() if key[0] in "rbm")
            )
            write(rows, options.json)


def measured(field: StimulusField, init: str, seed: int) -> dict[str, Any]:
    """Train one run; returns `r2`, `between` and `mismatch`."""
    model = {"omega": 12, "t_period": 42, "window": WINDOW}
    cfg = config((96, 3), **model, frames=N_FRAMES, rate=1.5e-3, steps=500, first_layer_init=init, seed=seed)
    result = loop.train(field, cfg, n_windows=2 * len(PAIRS))
    assert result.sample is not None
    fit = Fit(cfg, result.state_dict, field.scaling)
    x, y = torch.from_numpy(np.array(field.positions, np.float64)).T
    off, change = [], []
    with torch.no_grad():
        for frame in (frame for window in fit.windows for frame in window.frames[:-1:5]):
            between = fit(torch.full((len(x),), frame + 0.5, dtype=torch.float64), x, y).numpy()
            before, after = field.targets[frame], field.targets[frame + 1]
            off.append(between - (before + after) / 2)
            change.append(after - before)
    told = math.sqrt(np.square(off).mean() / np.square(change).mean())
    return {"r2": result.sample.r2, "between": told, "mismatch": fit.border_jump(field.targets, field.positions)}


if __name__ == "__main__":
    main()
