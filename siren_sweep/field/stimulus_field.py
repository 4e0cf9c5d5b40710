"""The stimulus field: the function f(t, x, y) that a SIREN learns, at the unique positions of the neurons."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from siren_sweep.errors import DataError
from siren_sweep.field.cache import read_cache, write_cache
from siren_sweep.field.scaling import UNSCALED, Scaling
from siren_sweep.field.source import BLOCK_FRAMES, FieldSource
from siren_sweep.field.statistics import FieldStatistics


@dataclass(frozen=True, eq=False)
class StimulusField:
    """The first frames and input neurons of a stimulus, each position once. The arrays are read-only.

    The sum of squared errors over all frames and neurons is ss_within + the sum over frames and positions of
    multiplicity * (prediction - target)^2.
    """

    positions: np.ndarray  # (n_unique, 2) float32, in the data's unit, in the order in which they first occur
    multiplicity: np.ndarray  # (n_unique,) int64, neurons at each position
    inverse: np.ndarray  # (n_neurons,) int64, each neuron's row in `positions`
    targets: np.ndarray  # (n_frames, n_unique) float32, mean over a position's neurons; memory-mapped from a cache file
    ss_within: float  # sum over frames and neurons of (value - its position's mean)^2
    total: float  # sum of all values
    total_sq: float  # sum of all squared values
    sst: float  # sum of squares about the mean of all values, > 0
    rank_90: int  # smallest k such that the k largest squared singular values, not centred, sum to 0.90 of all
    rank_99: int  # the same for 0.99
    data_hash: str  # sha256; see `FieldStatistics.data_hash`
    scaling: Scaling = UNSCALED  # between the data's units and the network's

    @property
    def n_frames(self) -> int:
        return len(self.targets)

    @property
    def n_neurons(self) -> int:
        return len(self.inverse)

    @property
    def n_unique(self) -> int:
        return len(self.positions)

    def part(self, frames: slice) -> StimulusField:
        """Some consecutive frames as a field. It keeps the ranks and the hash of the whole field.

        `ss_within` is known only for the whole field, so the part gets a share of it in proportion to its frames.
        """
        targets = self.targets[frames]
        values, weight = targets.astype(np.float64), self.multiplicity
        within = self.ss_within * len(targets) / self.n_frames
        total = float((values @ weight).sum())
        mean = total / (len(targets) * self.n_neurons)
        return dataclasses.replace(
            self,
            targets=targets,
            ss_within=within,
            total=total,
            total_sq=float((np.square(values) @ weight).sum()) + within,
            sst=float((np.square(values - mean) @ weight).sum()) + within,
        )

    def first(self, n_frames: int) -> StimulusField:
        """The first frames as the field that `open_field` would make of them, with its statistics and hash.

        The field keeps one value for each position. So the receptors of a position must have equal values; the field's
        hash shows whether they have. Raises DataError where they differ.
        """
        positions = self.positions[self.inverse]
        whole, part = FieldStatistics(positions, self.n_frames), FieldStatistics(positions, n_frames)
        for start in range(0, self.n_frames, BLOCK_FRAMES):
            block = np.take(self.targets[start : start + BLOCK_FRAMES], self.inverse, axis=1)
            whole.add(block)
            if start < n_frames:
                part.add(block[: n_frames - start])
        if whole.data_hash() != self.data_hash:
            raise DataError(f"the field's {self.n_frames} frames must all be used: its receptors' values are not kept")
        return dataclasses.replace(self, targets=self.targets[:n_frames], **_known(part, "the first frames"))

    @property
    def r2_ceiling(self) -> float:
        """The highest R2 that any model can reach: below 1 where neurons of one position have different values."""
        return 1 - self.ss_within / self.sst


def open_field(path: Path, *, n_frames: int, n_input_neurons: int, cache_dir: Path | None) -> StimulusField:
    """The first `n_frames` frames and `n_input_neurons` columns of the field in the folder `path`.

    It is read once, in blocks of frames, into `cache_file`, and memory-mapped from there until a file in use changes.
    Without a `cache_dir` it is read into memory. A line on stderr tells of columns that have values and are not read.

    Raises DataError, with every fault that is found, where the data are missing, broken or too few, and OutputError
    where the cache cannot be written.
    """
    source = FieldSource(Path(path), n_frames, n_input_neurons)
    file = cache_dir and cache_file(path, n_frames=n_frames, n_input_neurons=n_input_neurons, cache_dir=cache_dir)
    if file and (field := _fresh(file, source.fingerprint)):
        return field
    if told := source.left_out():
        print(told, file=sys.stderr)
    statistics = FieldStatistics(source.positions(), n_frames)
    arrays: dict[str, Any] = {name: getattr(statistics, name) for name in ("inverse", "multiplicity", "positions")}
    blocks = (statistics.add(block) for block in source.blocks())
    if file:
        write_cache(
            file,
            arrays,
            blocks,
            lambda: {
                **_known(statistics, path),
                "fingerprint": source.fingerprint,
                "scaling": dataclasses.asdict(statistics.scaling()),
            },
        )
        return load_cached(file)
    arrays["targets"] = np.empty((n_frames, len(statistics.positions)), np.float32)
    n_read = 0
    for block in blocks:
        arrays["targets"][n_read : n_read + len(block)] = block
        n_read += len(block)
    for array in arrays.values():
        array.flags.writeable = False
    return StimulusField(**arrays, **_known(statistics, path))


def load_cached(file: Path) -> StimulusField:
    """The field in one cache file; its zarr stores need not exist. Raises DataError where the file is not whole."""
    arrays, known = read_cache(file)
    return _field(**arrays, **known)


def cache_file(path: Path, *, n_frames: int, n_input_neurons: int, cache_dir: Path) -> Path:
    """Where `open_field` keeps the field of the folder `path`."""
    source = hashlib.sha256(os.fsencode(Path(path).resolve())).hexdigest()[:12]
    return Path(cache_dir) / f"field_{source}_{n_frames}x{n_input_neurons}.safetensors"


def _fresh(file: Path, fingerprint: str) -> StimulusField | None:
    """The field in `file` where that was made of the present files of the data; else None."""
    try:
        arrays, known = read_cache(file)
    except DataError:  # there is none yet, or it cannot be read
        return None
    return _field(**arrays, **known) if known["fingerprint"] == fingerprint else None


def _field(*, fingerprint: str, scaling: dict[str, float], **values: Any) -> StimulusField:
    return StimulusField(scaling=Scaling(**scaling), **values)


def _known(statistics: FieldStatistics, path: Path | str) -> dict[str, Any]:
    if statistics.lowest == statistics.highest:
        raise DataError(f"{path} must hold values that vary, got {statistics.lowest} everywhere: R2 is undefined")
    rank_90, rank_99 = statistics.ranks(0.90, 0.99)
    return {
        "ss_within": statistics.ss_within,
        "total": statistics.total,
        "total_sq": statistics.total_sq,
        "sst": statistics.sst,
        "rank_90": rank_90,
        "rank_99": rank_99,
        "data_hash": statistics.data_hash(),
        "scaling": statistics.scaling(),
    }
