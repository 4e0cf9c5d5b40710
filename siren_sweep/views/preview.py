"""A preview of a stimulus made of a video: which part of the picture the lattice covers, and what its columns see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import RegularPolygon
from PIL import Image

from siren_sweep.field.lattice import N_TYPES
from siren_sweep.field.video import Written
from siren_sweep.paths import replacing
from siren_sweep.train.pictures import lattice_raster
from siren_sweep.views.film import write_mp4

FILM_S = 20.0  # longest film, in seconds of the stimulus
_FILM_PIXELS, _STILL_PIXELS, _N_STILLS = 320, 240, 4


def write_preview(folder: Path, written: Written) -> None:
    """Write `preview.png` and `preview.mp4` beside the stimulus in `folder`. Raises OutputError."""
    import zarr

    n_columns = written.n_neurons // N_TYPES
    stimulus: Any = zarr.open_array(folder / "stimulus.zarr", mode="r")
    positions = np.asarray(zarr.open_array(folder / "pos.zarr", mode="r")[:n_columns])
    stills = np.linspace(0, written.n_frames - 1, _N_STILLS).astype(int)
    with replacing(folder / "preview.png") as file:
        seen = {int(frame): np.asarray(stimulus[frame, :n_columns]) for frame in stills}
        _still(written, seen, positions).savefig(file, format="png", dpi=100)
    n_filmed = min(written.n_frames, max(2, round(FILM_S * written.fps)))
    light = np.asarray(stimulus[:n_filmed, :n_columns])
    write_mp4(_film(light, positions), folder / "preview.mp4", "siren-sweep video", written.fps)


def _still(written: Written, seen: dict[int, np.ndarray], positions: np.ndarray) -> Figure:
    """A figure of the first picture with the lattice's hexagons, and frames of the stimulus beside it.

    `seen` is the light (n_columns,) of each of these frames, `positions` are the columns' (n_columns, 2).
    """
    figure = Figure(figsize=(14, 5), layout="constrained")
    FigureCanvasAgg(figure)
    halves = figure.add_gridspec(1, 2)
    axes = figure.add_subfigure(halves[0]).subplots()
    axes.imshow(written.picture, cmap="gray", vmin=0, vmax=65535)
    hexagons = [RegularPolygon((x, y), 6, radius=written.spacing / np.sqrt(3)) for x, y in written.places]
    axes.add_collection(PatchCollection(hexagons, facecolor="none", edgecolor="#d1495b", linewidth=0.5))
    axes.set_title(f"first picture, {len(hexagons)} columns")
    raster = lattice_raster(positions, _STILL_PIXELS)
    for panel, (frame, light) in zip(
        figure.add_subfigure(halves[1]).subplots(2, 2).ravel(), seen.items(), strict=False
    ):
        panel.imshow(np.ma.masked_array(light[raster], raster < 0), cmap="gray", vmin=0, vmax=1, interpolation="none")
        panel.set_title(f"frame {frame}")
        panel.spines[:].set_visible(False)
        panel.set(xticks=[], yticks=[])
    height, width = written.picture.shape
    axes.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    return figure


def _film(light: np.ndarray, positions: np.ndarray) -> Iterator[Image.Image]:
    """Grey images of the light (n_frames, n_columns) on the lattice."""
    raster = lattice_raster(positions, _FILM_PIXELS)
    height, width = (2 * (size // 2) for size in raster.shape)  # the codec needs even sides
    raster = raster[:height, :width]
    for values in light:
        grey = np.where(raster < 0, 0, np.rint(255 * values)[raster])
        yield Image.fromarray(grey.astype(np.uint8)).convert("RGB")
