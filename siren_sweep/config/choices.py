"""The settings whose value is one of a few words."""

from __future__ import annotations

from enum import StrEnum


class Scheduler(StrEnum):
    """The program that runs a cluster's jobs."""

    slurm = "slurm"
    lsf = "lsf"


class Sampling(StrEnum):
    """How a training batch is drawn: whole frames, or as many random (frame, position) points."""

    frames = "frames"
    points = "points"


class LrSchedule(StrEnum):
    """The learning rate over a run: constant; half a cosine, down to 0; or this cosine with a linear rise before it."""

    constant = "constant"
    cosine = "cosine"
    warm_cosine = "warm_cosine"


class FirstLayerInit(StrEnum):
    """The first layer's initial frequencies in t: spread over many time scales, or all of one scale."""

    multiscale = "multiscale"
    plain = "plain"


class FirstLayerRate(StrEnum):
    """How far a step moves the first layer's weights: less where coordinates exceed 1, or as far as other weights."""

    scaled = "scaled"
    plain = "plain"


class Precision(StrEnum):
    """The hidden layers' matrix products in training: in float32, or in the device's faster TF32 or bfloat16."""

    reduced = "reduced"
    float32 = "float32"


class Strategy(StrEnum):
    """How a batch is laid out. `auto` lays out only the first batch of a block; `none` leaves all to the proposer."""

    auto = "auto"
    grid = "grid"
    latin_square = "latin_square"
    focused = "focused"
    none = "none"
