"""What a setting may be that is one of a few words."""

from __future__ import annotations

from enum import StrEnum


class Scheduler(StrEnum):
    """What gives the jobs of a cluster their machines."""

    slurm = "slurm"
    lsf = "lsf"


class Sampling(StrEnum):
    """How a training batch is drawn: whole frames, or as many random (frame, position) points."""

    frames = "frames"
    points = "points"


class LrSchedule(StrEnum):
    """The learning rate over a run: constant; half a cosine down to zero; or that, after a linear rise."""

    constant = "constant"
    cosine = "cosine"
    warm_cosine = "warm_cosine"


class FirstLayerInit(StrEnum):
    """The first layer's frequencies in t at the start: over many scales of time, or all of one."""

    multiscale = "multiscale"
    plain = "plain"


class FirstLayerRate(StrEnum):
    """How far a step moves the first layer: less where coordinates exceed 1, or as far as any other layer."""

    scaled = "scaled"
    plain = "plain"


class Precision(StrEnum):
    """The hidden layers' matrix products in training: float32, or what the device does much faster (TF32, bfloat16)."""

    reduced = "reduced"
    float32 = "float32"


class Strategy(StrEnum):
    """How a batch of configs is laid out; `auto` chooses by what is known, `none` leaves all to the proposer."""

    auto = "auto"
    grid = "grid"
    latin_square = "latin_square"
    focused = "focused"
    none = "none"
