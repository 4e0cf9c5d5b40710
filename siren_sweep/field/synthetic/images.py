"""Still images with the statistics of natural ones: opaque leaves of all sizes, each with a 1/f texture.

Leaves whose radii have the density r^-3 make the image look alike at all scales: Lee, Mumford & Huang (2001),
"Occlusion models for natural images", section 3. Amplitude spectra fall as 1/f: Field (1987), "Relations between the
statistics of natural images and the response properties of cortical cells".
"""

from __future__ import annotations

import numpy as np

PIXELS = 4  # per column spacing
SIZE = 512  # pixels a side, of a torus, so that one can walk over it without an end
ACCEPTANCE_SIGMA = 0.32  # column spacings, of a Gaussian; a square pixel as wide as a column has 0.29

_N_LEAVES = 1000
_SMALLEST, _LARGEST = 5.0, 160.0  # pixels
_TEXTURE_CONTRAST = 0.01, 0.12


def still_image(rng: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE) float32: luminance, as seen through the acceptance function."""
    texture = _texture(rng)
    image = 0.5 + 0.2 * texture
    for _ in range(_N_LEAVES):
        _lay_leaf(image, texture, rng)
    return _filtered(image, _gaussian()).astype(np.float32)


def random_luminance(rng: np.random.Generator) -> float:
    """In [0, 1], dark and light more often than grey."""
    return float(0.5 - 0.5 * np.cos(np.pi * rng.random()))


def random_polygon(rng: np.random.Generator, radius: float) -> np.ndarray:
    """(n_sides, 3) float32, a convex polygon about the origin: outward unit normals, and the sides' distances."""
    n_sides = int(rng.integers(3, 7))
    angles = 2 * np.pi * (np.arange(n_sides) + rng.uniform(-0.2, 0.2, n_sides) + rng.random()) / n_sides
    return np.stack([np.cos(angles), np.sin(angles), radius * rng.uniform(0.4, 1, n_sides)], axis=1).astype(np.float32)


def distance_outside(polygon: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far each point (x, y), arrays of one shape, lies outside a polygon, negative within; near a corner, of its
    nearest side's line. A side is a row of `polygon` (n, 3): the normal's x and y, and its distance from the origin."""
    distance: np.ndarray = polygon[0, 0] * x + polygon[0, 1] * y - polygon[0, 2]
    for normal_x, normal_y, side in polygon[1:]:
        np.maximum(distance, normal_x * x + normal_y * y - side, out=distance)
    return distance


def _lay_leaf(image: np.ndarray, texture: np.ndarray, rng: np.random.Generator) -> None:
    """Lay one opaque leaf over the image, in place."""
    ratio = _SMALLEST / _LARGEST
    radius = _SMALLEST / np.sqrt(1 - rng.random() * (1 - ratio**2))  # inverse of the distribution of density r^-3
    window = np.arange(-int(radius) * 2, int(radius) * 2 + 1, dtype=np.float32)
    inside = distance_outside(random_polygon(rng, radius), window[None, :], window[:, None]) < 0
    rows, columns = np.nonzero(inside)
    y, x, from_y, from_x = rng.integers(0, SIZE, 4)
    grain = texture[(rows + from_y) % SIZE, (columns + from_x) % SIZE]
    luminance = random_luminance(rng) + rng.uniform(*_TEXTURE_CONTRAST) * grain
    image[(rows + y) % SIZE, (columns + x) % SIZE] = luminance


def _texture(rng: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE) of mean 0 and variance 1, with the amplitude spectrum 1/f."""
    frequency = _frequency()
    frequency[0, 0] = np.inf
    texture: np.ndarray = _filtered(rng.standard_normal((SIZE, SIZE)), 1 / frequency)
    texture /= texture.std()
    return texture


def _gaussian() -> np.ndarray:
    return np.asarray(np.exp(-2 * (np.pi * ACCEPTANCE_SIGMA * PIXELS * _frequency()) ** 2))


def _frequency() -> np.ndarray:
    """Cycles per pixel of each term of the real Fourier transform of an image."""
    return np.asarray(np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :]))


def _filtered(image: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    return np.fft.irfft2(np.fft.rfft2(image) * transfer, image.shape)
