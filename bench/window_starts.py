"""Measures three changes of how windows are trained: scaled values, a learned start, and windows of whole clips.

    python bench/window_starts.py PATH --json FILE

It trains networks of 96 x 3 in windows of 125 frames, in four ways:

- `own`: every window has its own random start, as in a sweep; values have mean 0 and standard deviation 1.
- `as it is`: as `own`, but light in [0, 1] is learned without scaling.
- `common`: as `own`, but all windows start from the same weights, which Reptile has learned on 16 other windows (Nichol
  et al., "On First-Order Meta-Learning Algorithms", 2018; for coordinate networks see Tancik et al., "Learned
  Initializations for Optimizing Coordinate-Based Neural Representations", CVPR 2021).
- `cuts`: as `own`, but a window begins and ends at cuts of the video, and has about 125 frames on average.

The result is R2, by the number of steps. It is exact over the frames of eight windows that Reptile has not seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from common import arguments, config, opened, write
from torch import Tensor

from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import UNSCALED, StimulusField, Window, cut
from siren_sweep.train.engine import make_engine
from siren_sweep.train.engine.base import key_prefix
from siren_sweep.train.engine.evaluate import evaluate_windows
from siren_sweep.train.metrics import pooled

N_FRAMES, WINDOW = 64_000, 125
STEPS = (100, 200, 400, 1000)
SEEDS = (42, 43)
TAUGHT, HELD_OUT = range(16, 512, 31), range(9, 512, 64)  # places among the 512 windows
ROUNDS, INNER_STEPS, TOWARDS = 10, 60, 1.0  # of Reptile; `TOWARDS` is the step size by which the start moves
CUT_RISE = 3.0  # at a cut the frame changes `CUT_RISE` times as much as the median frame, and twice its neighbours


def main() -> None:
    """Train in each way with every number of steps, print and write a row for each way and seed."""
    options = arguments(__doc__, ", of 64,000 frames")
    field = opened(options.path, N_FRAMES)
    every = cut(N_FRAMES, WINDOW)
    held_out = [every[place] for place in HELD_OUT]
    whole_clips = at_cuts(field, held_out)
    common = learned_start(field, [every[place] for place in TAUGHT])
    rows = []
    as_it_is = dataclasses.replace(field, scaling=UNSCALED)
    cases: list[tuple[str, StimulusField, list[Window], dict[str, Tensor] | None]] = [
        ("as it is", as_it_is, held_out, None),
        ("own", field, held_out, None),
        ("common", field, held_out, common),
        ("cuts", field, whole_clips, None),
    ]
    for name, own, windows, start in cases:
        for seed in SEEDS:
            r2 = [r2_of(own, windows, own_config(n, seed), start) for n in STEPS]
            frames = sum(len(window.frames) for window in windows) / len(windows)
            rows.append({"start": name, "seed": seed, "frames": frames, "steps": STEPS, "r2": r2})
            print(f"{name:9} seed {seed}  {frames:5.1f} frames " + "".join(f"{one:10.5f}" for one in r2), flush=True)
            write(rows, options.json)


def own_config(steps: int, seed: int) -> TrialConfig:
    """The config of a run of `steps` steps."""
    model = {"omega": 12, "t_period": 42, "window": WINDOW}
    return config((96, 3), **model, frames=N_FRAMES, rate=1.5e-3, steps=steps, seed=seed, n_threads=1)


def r2_of(
    field: StimulusField, windows: Sequence[Window], cfg: TrialConfig, start: dict[str, Tensor] | None = None
) -> float:
    """R2 over the windows' frames after all steps; `start` are the weights from which all windows start."""
    engine = make_engine(field, cfg, "cpu", windows)
    if start is not None:
        engine.load_weights({f"{key_prefix(one)}{key}": value for one in windows for key, value in start.items()})
    engine.advance(cfg.claude.total_steps)
    return pooled(evaluate_windows(engine, field)).r2


def learned_start(field: StimulusField, windows: Sequence[Window]) -> dict[str, Tensor]:
    """Weights learned by Reptile: in each round they move towards the mean of what four windows learn from them."""
    start: dict[str, Tensor] = {}
    for turn in range(ROUNDS):
        some = sorted((windows[(4 * turn + k) % len(windows)] for k in range(4)), key=lambda window: window.start)
        engine = make_engine(field, own_config(INNER_STEPS, 7 + turn), "cpu", some)
        if not start:
            prefix = key_prefix(some[0])
            start = {key.removeprefix(prefix): one for key, one in engine.weights().items() if key.startswith(prefix)}
        engine.load_weights({f"{key_prefix(one)}{key}": value for one in some for key, value in start.items()})
        engine.advance(INNER_STEPS)
        learned = engine.weights()
        for key, value in start.items():
            mean = torch.stack([learned[f"{key_prefix(one)}{key}"] for one in some]).mean(0)
            start[key] = value + TOWARDS * (mean - value)
    return start


def at_cuts(field: StimulusField, windows: Sequence[Window]) -> list[Window]:
    """For each window one of whole clips: from the cut nearest to its start to the cut nearest to 125 frames later."""
    frames = np.asarray(field.targets, dtype=np.float32)
    change = np.sqrt(np.square(np.diff(frames, axis=0)).mean(1))
    inner, beside = change[1:-1], np.maximum(change[:-2], change[2:])
    cuts = np.flatnonzero((inner > 2 * beside) & (inner > CUT_RISE * np.median(change))) + 2
    found = []
    for window in windows:
        first = nearest(cuts, window.start)
        found.append(Window(window.index, first, nearest(cuts, first + WINDOW), N_FRAMES))
    return found


def nearest(cuts: np.ndarray, frame: int) -> int:
    """Of the frames at which there is a cut, `cuts` (n,), the one nearest to `frame`."""
    return int(cuts[np.abs(cuts - frame).argmin()])


if __name__ == "__main__":
    main()
