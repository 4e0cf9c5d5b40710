"""Pictures of a trained model: ground truth beside prediction, on the lattice and as traces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from siren_sweep.config import TrialConfig
from siren_sweep.field import StimulusField
from siren_sweep.paths import replacing

N_LATTICES, N_TRACES, TRACE_FRAMES = 4, 3, 200
TRUTH, PREDICTION = "#222222", "#d1495b"


def predict(cfg: TrialConfig, weights: Mapping[str, object], field: StimulusField, frames: np.ndarray) -> np.ndarray:
    """Luminance (n_frames, n_unique) of saved weights at whole frames, on the CPU."""
    import torch

    from siren_sweep.siren import Siren, normalised

    graph = cfg.graph_model
    model = Siren(graph.hidden_dim_nnr_f, graph.n_layers_nnr_f, graph.omega_f)
    model.load_state_dict(dict(weights))
    xy = normalised(torch.from_numpy(np.array(field.positions)), graph.nnr_f_xy_period)
    times = normalised(torch.from_numpy(frames), graph.nnr_f_T_period)
    with torch.no_grad():
        rows = [model(torch.cat([t.expand(len(xy), 1), xy], dim=1)).numpy() for t in times]
    return np.stack(rows)


def prediction_picture(
    file: Path, cfg: TrialConfig, weights: Mapping[str, object], field: StimulusField, title: str
) -> None:
    """Write a PNG: truth, prediction and their difference at evenly spaced frames; traces of three columns below."""
    frames = np.linspace(0, field.n_frames - 1, min(N_LATTICES, field.n_frames)).astype(np.int64)
    window = np.arange(min(field.n_frames, TRACE_FRAMES))
    window += (field.n_frames - len(window)) // 2
    shown = predict(cfg, weights, field, frames)
    figure = Figure(figsize=(11, 10), layout="constrained")
    FigureCanvasAgg(figure)
    parts = figure.add_gridspec(2, 1, height_ratios=(3, 2))
    upper, lower = figure.add_subfigure(parts[0]), figure.add_subfigure(parts[1])
    figure.suptitle(title)
    _lattices(upper.subplots(3, len(frames), squeeze=False), field, frames, shown)
    traces = predict(cfg, weights, field, window)
    columns = np.argsort(np.hypot(*field.positions.T))[[0, field.n_unique // 3, field.n_unique - 1]]
    for axes, column in zip(lower.subplots(N_TRACES, 1, sharex=True), columns, strict=True):
        _trace(axes, field, window, traces, int(column))
    lower.axes[0].legend(loc="upper right", ncols=2, frameon=False)
    lower.axes[-1].set_xlabel("frame")
    with replacing(file) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _lattices(grid: np.ndarray, field: StimulusField, frames: np.ndarray, shown: np.ndarray) -> None:
    truth = np.array(field.targets[frames])
    low, high = float(truth.min()), float(truth.max())
    half = 0.5 * (high - low)
    rows = [("truth", truth, "gray", low, high), ("prediction", shown, "gray", low, high)]
    rows.append(("difference", shown - truth, "RdBu_r", -half, half))
    for axes_row, (name, values, colours, bottom, top) in zip(grid, rows, strict=True):
        for axes, frame, value in zip(axes_row, frames, values, strict=True):
            dots = axes.scatter(*field.positions.T, c=value, s=34, marker="h", cmap=colours, vmin=bottom, vmax=top)
            axes.set(aspect="equal", xticks=[], yticks=[], title=f"frame {frame}" if name == "truth" else "")
            axes.spines[:].set_visible(False)
        axes_row[0].set_ylabel(name)
        axes_row[0].figure.colorbar(dots, ax=list(axes_row), shrink=0.8)


def _trace(axes: Axes, field: StimulusField, window: np.ndarray, traces: np.ndarray, column: int) -> None:
    x, y = field.positions[column]
    axes.plot(window, field.targets[window, column], color=TRUTH, linewidth=1.2, label="truth")
    axes.plot(window, traces[:, column], color=PREDICTION, linewidth=1.2, label="prediction")
    axes.set_ylabel(f"({x:.1f}, {y:.1f})")
    axes.spines[["top", "right"]].set_visible(False)
