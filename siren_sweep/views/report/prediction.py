"""Ground truth beside prediction, for the best model of a block: a short video, lattices and traces."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from siren_sweep.config.schema import TrialConfig
from siren_sweep.config.written import read_config
from siren_sweep.errors import DataError
from siren_sweep.field import StimulusField
from siren_sweep.field.dataset import field_of
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.train.pictures import (
    TRACE_FRAMES,
    draw_lattices,
    draw_traces,
    lattice_raster,
    middle_frames,
    predict,
    spread_frames,
)
from siren_sweep.views.report.figures import figure_element, inline_svg, new_figure, styled
from siren_sweep.views.report.markup import Markup, element, image, joined
from siren_sweep.views.report.view import ReportedBlock

VIDEO_S, VIDEO_FRAMES = 5.0, 80
_PANEL, _GAP = 270, 20  # pixels


def predictions(block: ReportedBlock, paths: SweepPaths, outputs: OutputPaths) -> Markup:
    """The figures of a block's best model, or a sentence that says why there are none."""
    from safetensors import SafetensorError

    if block.winner is None:
        return element("p", "No trial of this block has finished, so there is no model to show.", class_="none")
    try:
        return _figures(block, paths, outputs)
    except (DataError, OSError, SafetensorError) as error:
        told = f"The best model (trial {block.winner.searched.number}) cannot be shown: {error}"
        return element("p", told, class_="none")


def _figures(block: ReportedBlock, paths: SweepPaths, outputs: OutputPaths) -> Markup:
    from safetensors.torch import load_file

    assert block.winner is not None
    saved = paths.trial(block.winner.study, block.winner.run.number)
    weights = load_file(saved.weights)
    cfg: TrialConfig = read_config(saved.config)
    field = field_of(cfg, outputs)
    if field.data_hash != block.block.data_hash:
        raise DataError("the data are not those that it was trained on")
    filmed, window = middle_frames(field, VIDEO_FRAMES), middle_frames(field, TRACE_FRAMES)
    frames = spread_frames(field)
    name, whose = f"block-{block.number}", f"the best model of block {block.number}"
    shown = predict(cfg, weights, field, window)
    with styled():
        lattices = new_figure(6.4, 8.0)
        draw_lattices(lattices, field, frames, predict(cfg, weights, field, frames))
        traces = new_figure(6.4, 4.6)
        draw_traces(traces, field, window, shown)
        still = inline_svg(lattices, f"lattices-{name}", f"Truth, prediction and difference on the lattice, {whose}")
        lines = inline_svg(traces, f"traces-{name}", f"Luminance over time, truth and prediction, {whose}")
    beside = joined(
        _video(name, field, filmed, shown[filmed - window[0]]),
        figure_element(lines, "Luminance over time at a central column, one further out and one at the edge (x, y)."),
    )
    told = f"Luminance at {len(frames)} of {field.n_frames} frames; the difference on half the scale to either side."
    return element("div", element("div", beside), figure_element(still, told, "stage"), class_="grid")


def _video(name: str, field: StimulusField, frames: np.ndarray, shown: np.ndarray) -> Markup:
    """A loop that a reader can halt; where the system asks for little motion it begins halted."""
    pictures = _video_frames(field, np.array(field.targets[frames]), shown)
    told = f"Ground truth (left) and prediction (right), frames {frames[0]} to {frames[-1]}"
    switch = joined(
        Markup(f'<input type="checkbox" id="halt-{name}">'),
        element(
            "label", element("span", "pause", class_="on"), element("span", "play", class_="off"), for_=f"halt-{name}"
        ),
    )
    loop = joined(
        image(_data_uri(pictures), f"{told}, as a loop", "moving"), image(_data_uri(pictures[:1]), told, "still")
    )
    heads = element("div", element("span", "ground truth"), element("span", "prediction"), class_="heads")
    caption = element("figcaption", f"Frames {frames[0]} to {frames[-1]}, {len(frames) / VIDEO_S:.3g} a second.")
    return element("figure", switch, heads, element("div", loop), caption, class_="video")


def _video_frames(field: StimulusField, truth: np.ndarray, shown: np.ndarray) -> list[Image.Image]:
    """Pairs of lattices in grey, transparent around."""
    raster = lattice_raster(field.positions, _PANEL)
    low, high = float(truth.min()), float(truth.max())
    gap = np.zeros((len(raster), _GAP), np.uint8)
    opaque = np.where(raster < 0, 0, 255).astype(np.uint8)
    alpha = np.hstack([opaque, gap, opaque])
    frames = []
    for pair in zip(truth, shown, strict=True):
        greys = [np.clip(np.rint(255 * (values - low) / (high - low or 1.0)), 0, 255) for values in pair]
        left, right = (np.where(raster < 0, 0, grey[raster]).astype(np.uint8) for grey in greys)
        grey = np.hstack([left, gap, right])
        frames.append(Image.fromarray(np.dstack([grey, grey, grey, alpha])))
    return frames


def _data_uri(frames: list[Image.Image]) -> str:
    """A loop of `VIDEO_S`, or a still where there is one frame: lossless WebP, a quarter of the size of a GIF."""
    buffer = io.BytesIO()
    duration_ms = round(1000 * VIDEO_S / len(frames))
    shape = {"save_all": True, "append_images": frames[1:], "duration": duration_ms, "loop": 0}
    frames[0].save(buffer, format="WEBP", lossless=True, quality=50, method=2, **shape)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
