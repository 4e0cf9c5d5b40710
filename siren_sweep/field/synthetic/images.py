"""Still images with the statistics of natural ones: opaque leaves of all sizes, each with a 1/f texture.

Leaves whose radii have the density r^-3 make the image look alike at all scales: Lee, Mumford & Huang (2001),
"Occlusion models for natural images", section 3. Amplitude spectra fall as 1/f: Field (1987), "Relations between the
statistics of natural images and the response properties of cortical cells".
"""

from __future__ import annotations

import numpy as np

PIXELS = 4  # per column spacing
SIZE = 512  # pixels a side; an image is a torus, so that the camera never comes to an edge
ACCEPTANCE_SIGMA = 0.32  # column spacings, of a Gaussian; a square pixel as wide as a column has 0.29

_N_LEAVES = 1000
_SMALLEST, _LARGEST = 5.0, 160.0  # pixels
_TEXTURE_CONTRAST = 0.01, 0.12  # lowest and highest standard deviation of a leaf's texture


def still_image(rng: np.random.Generator) -> np.ndarray:
    """The luminance (SIZE, SIZE) float32 of an image, blurred by the columns' Gaussian acceptance function."""
    texture = _texture(rng)
    image = 0.5 + 0.2 * texture
    for _ in range(_N_LEAVES):
        _lay_leaf(image, texture, rng)
    return _filtered(image, _gaussian()).astype(np.float32)


def random_luminance(rng: np.random.Generator) -> float:
    """A luminance in [0, 1]; values near 0 and 1 are more frequent than those between."""
    return float(0.5 - 0.5 * np.cos(np.pi * rng.random()))


def random_polygon(rng: np.random.Generator, radius: float) -> np.ndarray:
    """A convex polygon around the origin, (n_sides, 3) float32: each side's outward unit normal and distance."""
    n_sides = int(rng.integers(3, 7))
    angles = 2 * np.pi * (np.arange(n_sides) + rng.uniform(-0.2, 0.2, n_sides) + rng.random()) / n_sides
    return np.stack([np.cos(angles), np.sin(angles), radius * rng.uniform(0.4, 1, n_sides)], axis=1).astype(np.float32)


def distance_outside(polygon: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The signed distance of points (x, y), arrays of one shape, from a polygon: negative inside it.

    It is the largest distance from a side's line, and so too small outside near a corner. A row of `polygon` (n, 3) is
    a side: its normal's x and y, and its distance from the origin.
    """
    distance: np.ndarray = polygon[0, 0] * x + polygon[0, 1] * y - polygon[0, 2]
    for normal_x, normal_y, side in polygon[1:]:
        np.maximum(distance, normal_x * x + normal_y * y - side, out=distance)
    return distance


def _lay_leaf(image: np.ndarray, texture: np.ndarray, rng: np.random.Generator) -> None:
    """Draw one opaque leaf onto the image (SIZE, SIZE), in place."""
    ratio = _SMALLEST / _LARGEST
    radius = _SMALLEST / np.sqrt(1 - rng.random() * (1 - ratio**2))  # inverse transform sampling of r^-3
    window = np.arange(-int(radius) * 2, int(radius) * 2 + 1, dtype=np.float32)
    inside = distance_outside(random_polygon(rng, radius), window[None, :], window[:, None]) < 0
    rows, columns = np.nonzero(inside)
    y, x, from_y, from_x = rng.integers(0, SIZE, 4)
    grain = texture[(rows + from_y) % SIZE, (columns + from_x) % SIZE]
    luminance = random_luminance(rng) + rng.uniform(*_TEXTURE_CONTRAST) * grain
    image[(rows + y) % SIZE, (columns + x) % SIZE] = luminance


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Noise (SIZE, SIZE) of mean 0 and variance 1, with the amplitude spectrum 1/f."""
    frequency = _frequency()
    frequency[0, 0] = np.inf
    texture: np.ndarray = _filtered(rng.standard_normal((SIZE, SIZE)), 1 / frequency)
    texture /= texture.std()
    return texture


def _gaussian() -> np.ndarray:
    """The Fourier transform (SIZE, SIZE // 2 + 1) of the acceptance function."""
    return np.asarray(np.exp(-2 * (np.pi * ACCEPTANCE_SIGMA * PIXELS * _frequency()) ** 2))


def _frequency() -> np.ndarray:
    """The frequency, in cycles per pixel, of each term (SIZE, SIZE // 2 + 1) of an image's real Fourier transform."""
    return np.asarray(np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None, :]))


def _filtered(image: np.ndarray, transfer: np.ndarray) -> np.ndarray:
    return np.fft.irfft2(np.fft.rfft2(image) * transfer, image.shape)
