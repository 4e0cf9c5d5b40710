"""Pictures of a trained model: truth beside prediction, on the lattice and as traces over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField
from siren_sweep.field.scaling import lattice_spacing
from siren_sweep.paths import replacing

N_LATTICES, N_TRACES, TRACE_FRAMES = 4, 3, 200
TRUTH, PREDICTION = "#222222", "#d1495b"
_REACH = 0.6  # lattice spacings from a column's centre to its farthest pixels; a hexagon's corners are at 0.577
LUMINANCE, ERROR = "gray", "YlOrBr"  # colour maps whose lightness only rises or only falls, so that they print in grey


def predict(
    cfg: TrialConfig,
    weights: Mapping[str, Any],
    field: StimulusField,
    frames: np.ndarray,
    columns: Sequence[int] | slice = slice(None),
) -> np.ndarray:
    """Luminance (n_frames, n_columns) float32 of a model's weights, computed on the CPU.

    `frames` are (n_frames,), `columns` are indices into the field's positions.
    """
    from siren_sweep.train.fit import Fit  # here, since it imports torch

    return Fit(cfg, weights, field.scaling, frames).frames(frames, field.positions[columns])


def prediction_figure(cfg: TrialConfig, weights: Mapping[str, Any], field: StimulusField, title: str) -> Figure:
    """A figure of truth, prediction and error: on the lattice at evenly spaced frames, and as luminance over time."""
    figure = Figure(figsize=(14, 9), layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.add_gridspec(1, 2)
    figure.suptitle(title)
    frames = np.linspace(0, field.n_frames - 1, min(N_LATTICES, field.n_frames)).astype(np.int64)
    _draw_lattices(figure.add_subfigure(parts[0]), field, frames, predict(cfg, weights, field, frames))
    window = middle_frames(field, TRACE_FRAMES)
    shown = predict(cfg, weights, field, window, trace_columns(field))
    _draw_traces(figure.add_subfigure(parts[1]), field, window, shown)
    figure.draw_without_rendering()  # computes the layout once,
    figure.set_layout_engine(None)  # so that nothing is drawn twice for each form that is saved
    return figure


def save_figure(figure: Figure, file: Path, provenance: str) -> None:
    """Write a figure as .png, .svg or .pdf, by the file's ending, with `provenance` in its metadata.

    Equal figures with equal provenance make equal files. Raises OutputError where the file cannot be written.
    """
    form = file.suffix[1:]
    says = {"pdf": {"Subject": provenance, "CreationDate": None}, "svg": {"Description": provenance, "Date": None}}
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": file.stem, "pdf.fonttype": 42}),
        replacing(file) as temporary,
    ):
        figure.savefig(temporary, format=form, dpi=150, metadata=says.get(form, {"Description": provenance}))


def frame_picture(positions: np.ndarray, prediction: np.ndarray, truth: np.ndarray | None, title: str) -> Figure:
    """A figure of `prediction` (n_positions,) on the lattice of `positions` (n_positions, 2).

    With a `truth` (n_positions,) it also shows this and the error.
    """
    columns = panels(prediction[None], None if truth is None else truth[None])
    figure = Figure(figsize=(4 * len(columns), 5.4), layout="compressed")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    raster, extent = lattice_raster(positions, 240), _extent(positions)
    for axes, panel in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        drawn = _lattice(axes, panel.values[0], raster, extent, panel)
        axes.set_title(panel.name)
        bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.8, aspect=30, label=panel.label)
        bar.locator = MaxNLocator(4)
        _scale_bar(axes, extent)
    return figure


def middle_frames(field: StimulusField, n_frames: int) -> np.ndarray:
    """Up to `n_frames` consecutive frames (n,) int64 in the middle of the field."""
    n_shown = min(field.n_frames, n_frames)
    return np.arange(n_shown) + (field.n_frames - n_shown) // 2


def trace_columns(field: StimulusField) -> list[int]:
    """Indices into the field's positions: of a central column, one further out, and one at the edge."""
    outwards = np.argsort(np.hypot(*field.scaling.places(*field.positions.T)))
    return [int(column) for column in outwards[[0, field.n_unique // 3, field.n_unique - 1]]]


@dataclass(frozen=True)
class Panel:
    """A column of a figure's lattices: values (n_frames, n_positions), their colour map, and the ends of its scale."""

    name: str
    values: np.ndarray
    colours: str
    low: float
    high: float
    label: str


def panels(prediction: np.ndarray, truth: np.ndarray | None) -> list[Panel]:
    """Panels of truth, prediction and error, from arrays (n_frames, n_positions); without truth, only prediction."""
    values = [prediction] if truth is None else [truth, prediction]
    low, high = min(float(value.min()) for value in values), max(float(value.max()) for value in values)
    shown = Panel("prediction", prediction, LUMINANCE, low, high, "luminance (data's unit)")
    if truth is None:
        return [shown]
    error = np.abs(prediction - truth)
    most = float(error.max()) or 1.0
    return [
        replace(shown, name="truth", values=truth),
        shown,
        Panel("error", error, ERROR, 0.0, most, "|prediction - truth| (same)"),
    ]


def _draw_lattices(part: FigureBase, field: StimulusField, frames: np.ndarray, shown: np.ndarray) -> None:
    """Draw columns of lattices: truth, prediction `shown` (n_frames, n_unique) and error. Each row is a frame."""
    columns = panels(shown, np.array(field.targets[frames]))
    raster, extent = lattice_raster(field.positions, 240), _extent(field.positions)
    grid = part.subplots(len(frames), len(columns), squeeze=False)
    for axes_column, panel in zip(grid.T, columns, strict=True):
        for axes, value in zip(axes_column, panel.values, strict=True):
            drawn = _lattice(axes, value, raster, extent, panel)
        axes_column[0].set_title(panel.name)
        bar = part.colorbar(drawn, ax=list(axes_column), location="bottom", shrink=0.8, aspect=30, label=panel.label)
        assert bar.solids is not None
        bar.solids.set_rasterized(True)
    for axes, frame in zip(grid[:, 0], frames, strict=True):
        axes.set_ylabel(f"frame {frame}")
    _scale_bar(grid[-1, 0], extent)


def _draw_traces(part: FigureBase, field: StimulusField, window: np.ndarray, shown: np.ndarray) -> None:
    """Truth, and of the same columns the prediction `shown` (n_frames, 3), over `window`."""
    grid = part.subplots(N_TRACES, 1, sharex=True)
    for axes, column, predicted in zip(grid, trace_columns(field), shown.T, strict=True):
        x, y = field.positions[column]
        axes.plot(window, field.targets[window, column], color=TRUTH, linewidth=2.4, label="truth")
        axes.plot(window, predicted, color=PREDICTION, linewidth=1.1, linestyle="--", label="prediction")
        axes.set_ylabel("luminance")
        axes.set_title(f"column at ({x:.3g}, {y:.3g})", loc="left", fontsize="medium")
        axes.spines[["top", "right"]].set_visible(False)
    grid[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False)
    grid[-1].set_xlabel("time (frames)")


def lattice_raster(positions: np.ndarray, size: int) -> np.ndarray:
    """The column that each pixel shows: (height, width) indices into `positions` (n, 2), -1 outside the lattice.

    The longer side has `size` pixels; the first row is the top one. A pixel shows the nearest column, so that the
    columns of a hexagonal lattice become hexagons.
    """
    reach = _REACH * lattice_spacing(positions)
    low, high = positions.min(axis=0) - reach, positions.max(axis=0) + reach
    pixel = float((high - low).max()) / size
    xs, ys = (_centres(float(low[axis]), float(high[axis]), pixel) for axis in (0, 1))
    rows = []
    for y in ys[::-1]:
        distance = (positions[:, 0, None] - xs) ** 2 + (positions[:, 1, None] - y) ** 2
        nearest = distance.argmin(axis=0)
        rows.append(np.where(distance.min(axis=0) <= reach**2, nearest, -1))
    return np.stack(rows)


def _centres(low: float, high: float, pixel: float) -> np.ndarray:
    """The centres of pixels from `low` to `high`; of a side that is no longer than a pixel, as of a line's, its own."""
    if high - low <= pixel:
        return np.array([(low + high) / 2])
    return np.arange(low + pixel / 2, high, pixel)


def _extent(positions: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of the lattice's picture, in lattice spacings."""
    spacing = lattice_spacing(positions)
    (left, bottom), (right, top) = positions.min(axis=0) / spacing - _REACH, positions.max(axis=0) / spacing + _REACH
    return float(left), float(right), float(bottom), float(top)


def _lattice(
    axes: Axes, value: np.ndarray, raster: np.ndarray, extent: tuple[float, float, float, float], panel: Panel
) -> AxesImage:
    """Draw values (n_positions,) on a lattice; `raster` as of `lattice_raster`, `extent` as of `_extent`."""
    pixels = np.ma.masked_array(value[raster], raster < 0)
    drawn = axes.imshow(
        pixels, cmap=panel.colours, vmin=panel.low, vmax=panel.high, extent=extent, interpolation="none"
    )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return drawn


def _scale_bar(axes: Axes, extent: tuple[float, float, float, float]) -> None:
    """Draw a scale bar below a lattice: a round number of lattice spacings, at most a third of the width."""
    third = (extent[1] - extent[0]) / 3
    length = next((size for size in (500, 200, 100, 50, 20, 10, 5, 2) if size <= third), 1)
    words = f"{length} lattice spacing{'s' if length > 1 else ''}"
    bar = AnchoredSizeBar(axes.transData, length, words, "upper left", frameon=False, borderpad=0, sep=3)
    bar.set_bbox_to_anchor((0.0, -0.02), transform=axes.transAxes)
    axes.add_artist(bar)
