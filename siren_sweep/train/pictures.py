"""Pictures of a trained model: ground truth beside prediction, on the lattice and as traces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
from matplotlib.image import AxesImage

from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField
from siren_sweep.paths import replacing

N_LATTICES, N_TRACES, TRACE_FRAMES = 4, 3, 200
TRUTH, PREDICTION = "#222222", "#d1495b"


def predict(cfg: TrialConfig, weights: Mapping[str, Any], field: StimulusField, frames: np.ndarray) -> np.ndarray:
    """Luminance (n_frames, n_unique) of saved weights at whole frames, on the CPU."""
    from siren_sweep.train.fit import Fit  # here, since it brings torch

    return Fit(cfg, weights, field.scaling).frames(frames, field.positions)


def prediction_picture(
    file: Path, cfg: TrialConfig, weights: Mapping[str, Any], field: StimulusField, title: str
) -> None:
    """Write a PNG: truth, prediction and their difference at evenly spaced frames; traces of three columns beside."""
    figure = Figure(figsize=(14, 9), layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.add_gridspec(1, 2)
    figure.suptitle(title)
    frames = spread_frames(field)
    draw_lattices(figure.add_subfigure(parts[0]), field, frames, predict(cfg, weights, field, frames))
    window = middle_frames(field, TRACE_FRAMES)
    draw_traces(figure.add_subfigure(parts[1]), field, window, predict(cfg, weights, field, window))
    with replacing(file) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def frame_picture(positions: np.ndarray, prediction: np.ndarray, truth: np.ndarray | None, title: str) -> Figure:
    """Luminance (n_positions,) on the lattice of `positions` (n_positions, 2), between its truth and the difference."""
    values = [prediction] if truth is None else [truth, prediction]
    low, high = min(float(value.min()) for value in values), max(float(value.max()) for value in values)
    columns = [("prediction", prediction, "gray", low, high)]
    if truth is not None:
        error = prediction - truth
        half = float(np.abs(error).max()) or 1.0
        columns = [("truth", truth, "gray", low, high), *columns, ("difference", error, "RdBu_r", -half, half)]
    figure = Figure(figsize=(4 * len(columns), 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    raster = lattice_raster(positions, 240)
    for axes, (name, value, colours, bottom, top) in zip(
        figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True
    ):
        drawn = _lattice(axes, value, raster, colours, bottom, top)
        axes.set_title(name)
        figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.8, aspect=30)
    return figure


def spread_frames(field: StimulusField) -> np.ndarray:
    """The frames (n,) whose lattices are shown, evenly spaced from the first to the last."""
    return np.linspace(0, field.n_frames - 1, min(N_LATTICES, field.n_frames)).astype(np.int64)


def middle_frames(field: StimulusField, n_frames: int) -> np.ndarray:
    """Up to `n_frames` frames (n,) in a row, from the middle of the field."""
    n_shown = min(field.n_frames, n_frames)
    return np.arange(n_shown) + (field.n_frames - n_shown) // 2


def draw_lattices(part: FigureBase, field: StimulusField, frames: np.ndarray, shown: np.ndarray) -> None:
    """Columns of lattices: truth, prediction `shown` (n_frames, n_unique) and their difference; a row a frame."""
    truth = np.array(field.targets[frames])
    low, high = float(truth.min()), float(truth.max())
    half = 0.5 * (high - low)
    columns = [("truth", truth, "gray", low, high), ("prediction", shown, "gray", low, high)]
    columns.append(("difference", shown - truth, "RdBu_r", -half, half))
    raster = lattice_raster(field.positions, 240)
    grid = part.subplots(len(frames), len(columns), squeeze=False)
    for axes_column, (name, values, colours, bottom, top) in zip(grid.T, columns, strict=True):
        for axes, value in zip(axes_column, values, strict=True):
            drawn = _lattice(axes, value, raster, colours, bottom, top)
        axes_column[0].set_title(name)
        bar = part.colorbar(drawn, ax=list(axes_column), location="bottom", shrink=0.8, aspect=30)
        assert bar.solids is not None
        bar.solids.set_rasterized(True)
    for axes, frame in zip(grid[:, 0], frames, strict=True):
        axes.set_ylabel(f"frame {frame}")


def draw_traces(part: FigureBase, field: StimulusField, window: np.ndarray, shown: np.ndarray) -> None:
    """Truth and prediction `shown` (n_frames, n_unique) over `window`: a central, a middle, an outer column."""
    columns = np.argsort(np.hypot(*field.positions.T))[[0, field.n_unique // 3, field.n_unique - 1]]
    grid = part.subplots(N_TRACES, 1, sharex=True)
    for axes, column in zip(grid, columns, strict=True):
        _trace(axes, field, window, shown, int(column))
    grid[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    grid[-1].set_xlabel("frame")


def lattice_raster(positions: np.ndarray, size: int) -> np.ndarray:
    """Which column each pixel shows: (height, width) indices into `positions`, -1 outside; the longer side has `size`.

    A pixel belongs to the nearest column, which on a hexagonal lattice makes hexagons. Rows run from the top down.
    """
    spread = positions[:, None] - positions[None]
    squared = (spread.astype(np.float64) ** 2).sum(axis=2)
    np.fill_diagonal(squared, np.inf)
    reach = 0.6 * float(np.sqrt(np.median(squared.min(axis=1))))  # a hexagon's corners lie at 0.577 spacings
    low, high = positions.min(axis=0) - reach, positions.max(axis=0) + reach
    pixel = float((high - low).max()) / size
    xs, ys = (np.arange(low[axis] + pixel / 2, high[axis], pixel) for axis in (0, 1))
    rows = []
    for y in ys[::-1]:
        distance = (positions[:, 0, None] - xs) ** 2 + (positions[:, 1, None] - y) ** 2
        nearest = distance.argmin(axis=0)
        rows.append(np.where(distance.min(axis=0) <= reach**2, nearest, -1))
    return np.stack(rows)


def _lattice(axes: Axes, value: np.ndarray, raster: np.ndarray, colours: str, low: float, high: float) -> AxesImage:
    """Draw values (n_positions,) on the lattice that `raster` says."""
    pixels = np.ma.masked_array(value[raster], raster < 0)
    drawn = axes.imshow(pixels, cmap=colours, vmin=low, vmax=high, interpolation="none")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return drawn


def _trace(axes: Axes, field: StimulusField, window: np.ndarray, traces: np.ndarray, column: int) -> None:
    x, y = field.positions[column]
    axes.plot(window, field.targets[window, column], color=TRUTH, linewidth=2.4, label="truth")
    axes.plot(window, traces[:, column], color=PREDICTION, linewidth=1.1, label="prediction")
    axes.set_ylabel(f"({x:.1f}, {y:.1f})")
    axes.spines[["top", "right"]].set_visible(False)
