"""Evaluates an engine's weights: over all frames, or over a fixed choice of frames where all would cost too much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from siren_sweep.config.schema import N_REPORTS, TrialConfig
from siren_sweep.field import StimulusField, Window, frames_of
from siren_sweep.train.engine.base import Engine
from siren_sweep.train.metrics import Metrics, Moments

EVALUATION_SHARE = 0.025  # of the training's arithmetic, for all reports together
SMALL_FIELD_FRAMES = 32  # a report evaluates at least so many frames, or all
POINTS_PER_CHUNK = 1 << 15


def report_frames(windows: Sequence[Window], cfg: TrialConfig) -> np.ndarray:
    """The frames (n,) int64 that each report evaluates: the windows' frames, or a random one in each of n equal parts.

    n follows from `EVALUATION_SHARE`: a point costs one forward pass here, and about three in a training step.
    """
    frames = frames_of(windows)
    trained_frames = cfg.claude.total_steps * cfg.training.inr_batch_size * len(windows)
    affordable = int(EVALUATION_SHARE * 3 * trained_frames / N_REPORTS)
    n = max(affordable, SMALL_FIELD_FRAMES)
    if n >= len(frames):
        return frames
    edges = np.linspace(0, len(frames), n + 1).astype(np.int64)
    return frames[np.random.default_rng(cfg.training.seed).integers(edges[:-1], edges[1:])]


def evaluate(engine: Engine, field: StimulusField, frames: np.ndarray) -> Metrics:
    """The exact metrics over all neurons of `frames` (n,) int64.

    Where all their targets are equal, as in the dark, R2 is relative to the variance of the whole field.
    """
    (moments,) = _moments(engine, field, [frames])
    return moments.metrics(field.sst * len(frames) / field.n_frames)


def evaluate_windows(engine: Engine, field: StimulusField) -> list[Moments]:
    """For each window of the engine, the sums over its frames and neurons from which its metrics follow."""
    return _moments(engine, field, [window.frames for window in engine.windows])


def _moments(engine: Engine, field: StimulusField, parts: Sequence[np.ndarray]) -> list[Moments]:
    """The sums over the frames (n,) of each part.

    `ss_within` is known only for the whole field, so a part gets a share of it in proportion to its frames.
    """
    pivot, within = field.total / (field.n_frames * field.n_neurons), field.ss_within / field.n_frames
    every = [Moments(pivot, engine.device, within * len(frames)) for frames in parts]
    multiplicity = torch.from_numpy(np.array(field.multiplicity)).to(engine.device)
    size = max(1, POINTS_PER_CHUNK // field.n_unique)
    chunks = [
        (moments, frames[start : start + size])
        for moments, frames in zip(every, parts, strict=True)
        for start in range(0, len(frames), size)
    ]
    for first in range(0, len(chunks), engine.chunks_at_once):
        some = chunks[first : first + engine.chunks_at_once]
        said = engine.predict(np.concatenate([chunk for _, chunk in some]))
        for (moments, chunk), predicted in zip(some, said.split([len(chunk) for _, chunk in some]), strict=True):
            targets = torch.from_numpy(np.array(field.targets[chunk])).to(engine.device)
            moments.update(field.scaling.unscaled(predicted), targets, multiplicity)
    return every
