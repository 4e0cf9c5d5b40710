"""How well an engine's weights meet the field: exactly, or on frames chosen once where the whole costs too much."""

from __future__ import annotations

import numpy as np
import torch

from siren_sweep.config import N_REPORTS, TrialConfig
from siren_sweep.engine.base import Engine
from siren_sweep.field import StimulusField
from siren_sweep.metrics import Metrics, Moments

EVALUATION_SHARE = 0.025  # of the training's arithmetic, for all reports together
SMALL_FIELD_FRAMES = 32  # never fewer than these, or all there are
POINTS_PER_CHUNK = 1 << 15


def report_frames(field: StimulusField, cfg: TrialConfig) -> np.ndarray:
    """Frames (n,) int64 that every report looks at: all of them, or a random one from each of n equal stretches.

    A point costs a forward pass here and about three in a training step, which sets n.
    """
    trained_frames = cfg.claude.total_steps * cfg.training.inr_batch_size
    affordable = int(EVALUATION_SHARE * 3 * trained_frames / N_REPORTS)
    n = max(affordable, SMALL_FIELD_FRAMES)
    if n >= field.n_frames:
        return np.arange(field.n_frames)
    edges = np.linspace(0, field.n_frames, n + 1).astype(np.int64)
    return np.random.default_rng(cfg.training.seed).integers(edges[:-1], edges[1:])


def evaluate(engine: Engine, field: StimulusField, frames: np.ndarray) -> Metrics:
    """Metrics over all neurons of `frames` (n,) int64, exact.

    Where receptors of a position differ, the spread among them is known for the whole field only; a part of the frames
    is charged its part of it.
    """
    moments = Moments(field.total / (field.n_frames * field.n_neurons), engine.device)
    multiplicity = torch.from_numpy(np.array(field.multiplicity)).to(engine.device)
    size = max(1, POINTS_PER_CHUNK // field.n_unique)
    for start in range(0, len(frames), size):
        chunk = frames[start : start + size]
        targets = torch.from_numpy(np.array(field.targets[chunk])).to(engine.device)
        moments.update(engine.predict(chunk), targets, multiplicity)
    return moments.metrics(field.ss_within * len(frames) / field.n_frames)
