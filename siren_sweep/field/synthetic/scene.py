"""A moving scene, as the columns of the lattice see it: a camera moves over an image, with moving objects before it.

The constants here and in `images` are chosen so that the ranks, the contrast, and the correlations in time and space
are near those of real video on the same lattice.
"""

from __future__ import annotations

import numpy as np

from siren_sweep.field.synthetic.images import (
    ACCEPTANCE_SIGMA,
    PIXELS,
    SIZE,
    distance_outside,
    random_luminance,
    random_polygon,
    still_image,
)

CLIP_FRAMES = 50, 80  # between two hard cuts
_N_IMAGES = 16
# Speeds are log-normal, since most video moves little and some moves much. The highest is one still seen as motion.
_MEDIAN_SPEED, _SPEED_SPREAD, _HIGHEST_SPEED = 0.05, 2.2, 1.5  # column spacings a frame
_EDGE_WIDTH = np.float32(np.sqrt(20) * ACCEPTANCE_SIGMA)  # a smoothstep of this width has that Gaussian's variance


class Scene:
    """Clips of natural motion. Clip k depends on the seed alone, not on the other clips that are made."""

    def __init__(self, positions: np.ndarray, seed: int) -> None:
        """positions: (n_columns, 2), in column spacings."""
        self._columns = positions.astype(np.float32)
        self._seed = seed
        self._images: dict[int, np.ndarray] = {}

    def clip(self, number: int) -> np.ndarray:
        """The luminance (n_frames, n_columns) float32 in [0, 1] between two cuts; 50 to 80 frames."""
        rng = np.random.default_rng([self._seed, 1, number])
        n_frames = int(rng.integers(CLIP_FRAMES[0], CLIP_FRAMES[1] + 1))
        camera = _path(rng, n_frames)
        growth, turn = _drift(rng, n_frames, 0.02), _drift(rng, n_frames, 0.05)
        seen = _turned(self._columns, turn) * np.exp(growth)[:, None, None]  # relative to the camera
        light = self._luminance(rng, seen + camera[:, None])
        for _ in range(rng.integers(1, 6)):
            self._add_object(rng, light, seen, camera)
        low = rng.uniform(0, 0.3)
        return np.clip(low + rng.uniform(0.75, 1.05) * (1 - low) * light, 0, 1).astype(np.float32)

    def _add_object(self, rng: np.random.Generator, light: np.ndarray, seen: np.ndarray, camera: np.ndarray) -> None:
        """Draw an opaque polygon with a motion of its own onto `light` (n_frames, n_columns), in place."""
        n_frames = len(light)
        nearness = rng.uniform(0.8, 1.8)  # how far it shifts with the camera, relative to the background
        frame, column = rng.integers(n_frames), rng.integers(len(self._columns))
        path = nearness * camera - _path(rng, n_frames)
        path -= path[frame] + seen[frame, column]  # so that it is in sight in that frame
        polygon = random_polygon(rng, 1.5 * np.exp(rng.uniform(0, 2.2)))
        place = _turned(seen + path[:, None], _drift(rng, n_frames, 0.05))
        cover = np.clip(0.5 - distance_outside(polygon, place[..., 0], place[..., 1]) / _EDGE_WIDTH, 0, 1)
        cover *= cover * (3 - 2 * cover)
        covered = np.nonzero(cover)
        texture = self._luminance(rng, place[covered])
        value = random_luminance(rng) + rng.uniform(0.1, 0.6) * (texture - np.float32(0.5))
        light[covered] += cover[covered] * (value - light[covered])

    def _luminance(self, rng: np.random.Generator, place: np.ndarray) -> np.ndarray:
        """The luminance (...) float32 at places (..., 2), in column spacings, of a random image at a random offset.

        It is interpolated bilinearly.
        """
        image = self._image(int(rng.integers(_N_IMAGES)))
        place = place * np.float32(PIXELS) + rng.uniform(0, SIZE, 2).astype(np.float32)
        corner = np.floor(place).astype(np.int32)
        fraction = place - corner
        row, column = corner[..., 0] % SIZE, corner[..., 1] % SIZE
        below, right = (row + 1) % SIZE, (column + 1) % SIZE
        down, across = fraction[..., 0], fraction[..., 1]
        upper = image[row, column] * (1 - across) + image[row, right] * across
        lower = image[below, column] * (1 - across) + image[below, right] * across
        return np.asarray(upper * (1 - down) + lower * down)

    def _image(self, number: int) -> np.ndarray:
        """One of the scene's still images (SIZE, SIZE) float32, made at its first use."""
        if number not in self._images:
            self._images[number] = still_image(np.random.default_rng([self._seed, 0, number]))
        return self._images[number]


def _path(rng: np.random.Generator, n_frames: int) -> np.ndarray:
    """A path (n_frames, 2) float32 of smoothly changing velocity, in column spacings."""
    speed = min(_MEDIAN_SPEED * np.exp(_SPEED_SPREAD * rng.standard_normal()), _HIGHEST_SPEED)
    angle = rng.uniform(0, 2 * np.pi)
    velocity = np.stack([np.cos(angle) + _wobble(rng, n_frames), np.sin(angle) + _wobble(rng, n_frames)], axis=1)
    return np.cumsum(speed * velocity, axis=0).astype(np.float32)


def _drift(rng: np.random.Generator, n_frames: int, spread: float) -> np.ndarray:
    """A number in each frame, (n_frames,) float32: about 0 at first, then changing by about `spread` in ten frames."""
    rate = spread / 10 * rng.standard_normal() * (1 + _wobble(rng, n_frames))
    return np.cumsum(rate).astype(np.float32)


def _wobble(rng: np.random.Generator, n_frames: int) -> np.ndarray:
    """A smooth random function of time, (n_frames,) float64, of variance about 1/2."""
    t = np.arange(n_frames)
    periods, phases = rng.uniform(15, 100, 3), rng.uniform(0, 2 * np.pi, 3)
    return np.asarray(np.sin(2 * np.pi * t[:, None] / periods + phases).sum(axis=1) / np.sqrt(3))


def _turned(places: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Places ([n_frames,] n_columns, 2), rotated by the angle (n_frames,) of each frame, in rad.

    Returns (n_frames, n_columns, 2).
    """
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = places[..., 0], places[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
