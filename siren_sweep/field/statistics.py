"""Statistics of a stimulus field from one pass over its frames: targets, sums of squares, ranks, hash."""

from __future__ import annotations

import hashlib
import math

import numpy as np

from siren_sweep.field.scaling import Scaling, scaling_of


class FieldStatistics:
    """Takes blocks of frames in order, and keeps float64 sums whose size does not depend on the number of frames.

    Neurons at one position have the same prediction, so their mean is the exact target: in each frame, the sum over a
    position's m neurons of (prediction - value)^2 is m (prediction - mean)^2 plus a constant. `ss_within` is the sum of
    these constants.
    """

    def __init__(self, positions: np.ndarray, n_frames: int) -> None:
        """positions: (n_neurons, 2) float32; unique ones are numbered in the order in which they first occur."""
        self._stored = positions
        positions = positions + np.float32(0)  # -0.0 and 0.0 are one place
        _, first, inverse, counts = np.unique(
            positions, axis=0, return_index=True, return_inverse=True, return_counts=True
        )
        by_occurrence = np.argsort(first)
        self._first = first[by_occurrence]  # (n_unique,) the first neuron of each position
        self.inverse = np.argsort(by_occurrence)[inverse.ravel()].astype(np.int64)
        self.multiplicity = counts[by_occurrence].astype(np.int64)
        self.positions = positions[self._first]
        self._grouped = np.argsort(self.inverse, kind="stable")  # neurons, those of one position side by side
        self._gram = np.zeros((len(self._first), len(self._first)))  # (n_neurons, n_neurons) once receptors differ
        self._hash = hashlib.sha256(np.array([n_frames, len(positions)], "<i8").tobytes())
        self._n_values = 0
        self.total = self.total_sq = self.sst = self.ss_within = 0.0
        self.lowest, self.highest = np.inf, -np.inf

    def add(self, block: np.ndarray) -> np.ndarray:
        """The next n frames, (n, n_neurons) float32 -> their targets (n, n_unique) float32, means over a position."""
        self._hash.update(block.astype("<f4", copy=False).data)
        self.lowest, self.highest = min(self.lowest, float(block.min())), max(self.highest, float(block.max()))
        unique = block[:, self._first]
        if np.array_equal(unique[:, self.inverse], block):
            means, within = unique.astype(np.float64), 0.0
        else:
            starts = np.cumsum(self.multiplicity) - self.multiplicity
            sums = np.add.reduceat(block[:, self._grouped], starts, axis=1, dtype=np.float64)
            means = sums / self.multiplicity
            within = float(np.square(block - means[:, self.inverse]).sum())
        self._add_gram(means, block, identical=within == 0)
        self._add_moments(means, within)
        return means.astype(np.float32)

    def _add_moments(self, means: np.ndarray, within: float) -> None:
        """Add the sums of a block's `means` (n, n_unique) to earlier ones, in the stable way of Chan, Golub & LeVeque
        (1979), "Updating formulae and a pairwise algorithm for computing sample variances", eq. 2.1.
        """
        n = len(means) * int(self.multiplicity.sum())
        total = float((means @ self.multiplicity).sum())
        sst = float((np.square(means - total / n) @ self.multiplicity).sum()) + within
        if self._n_values:
            m = self._n_values
            sst += m / (n * (m + n)) * (n / m * self.total - total) ** 2
        self._n_values += n
        self.total += total
        self.total_sq += float((np.square(means) @ self.multiplicity).sum()) + within
        self.sst += sst
        self.ss_within += within

    def _add_gram(self, means: np.ndarray, block: np.ndarray, *, identical: bool) -> None:
        """Add the Gram matrix: of `means` (n, n_unique), or once receptors differ of the `block` (n, n_neurons)."""
        full = len(self._gram) == len(self.inverse)
        if not identical and not full:
            weight = 1 / np.sqrt(self.multiplicity)[self.inverse]
            self._gram = self._gram[np.ix_(self.inverse, self.inverse)] * weight[:, None] * weight
            full = True
        values = block.astype(np.float64) if full else means * np.sqrt(self.multiplicity)
        self._gram += values.T @ values

    def ranks(self, *shares: float) -> list[int]:
        """For each share, the smallest k such that the k largest squared singular values sum to that share of all.

        The matrix is (n_frames, n_neurons), not centred. Its squared singular values are the eigenvalues of its Gram
        matrix, so the ranks are exact. Where the receptors of a position are identical, the unique columns, weighted by
        the square root of their multiplicity, have the same singular values.
        """
        squared = np.maximum(np.linalg.eigvalsh(self._gram)[::-1], 0)
        cumulative = np.cumsum(squared)
        return [int(np.searchsorted(cumulative, share * cumulative[-1])) + 1 for share in shares]

    def scaling(self) -> Scaling:
        """The `Scaling` of the values and positions."""
        mean, std = self.total / self._n_values, math.sqrt(self.sst / self._n_values)
        return scaling_of(mean, std, self.positions)

    def data_hash(self) -> str:
        """The sha256, in hexadecimal, of these bytes, all little-endian: n_frames and n_neurons as int64; the values as
        float32, frame by frame, in the order of the neurons; x and y of each neuron as float32.
        """
        whole = self._hash.copy()
        whole.update(self._stored.astype("<f4", copy=False).data)
        return whole.hexdigest()
