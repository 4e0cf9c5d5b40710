"""Shows ground truth and prediction of a block's best model: a film, and luminance over time."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go
from safetensors import SafetensorError
from safetensors.torch import load_file

from siren_sweep.config.config_file import read_config
from siren_sweep.errors import DataError, SweepError
from siren_sweep.field.dataset import field_of
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.train.pictures import TRACE_FRAMES, middle_frames, predict, trace_columns
from siren_sweep.train.weights_file import read_description
from siren_sweep.views.best import PICTURES, provenance
from siren_sweep.views.blocks import UNTRAINED_WHOLE, BlockView
from siren_sweep.views.report import figures


@dataclass(frozen=True)
class Prediction:
    """What the report shows of a model, or `why_not`, the reason why it shows nothing.

    `film` is a data URI; it is empty where there is no exported film. `files` are the exported pictures, with paths
    relative to the report.
    """

    why_not: str = ""
    traces: go.Figure | None = None
    film: str = ""
    files: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def prediction(block: BlockView, paths: SweepPaths, outputs: OutputPaths) -> Prediction:
    """What the report shows of a block's best model."""
    if block.winner is None:
        why = "no trial of this block has finished" if block.best is None else UNTRAINED_WHOLE
        return Prediction(f"There is no model to show: {why}.")
    if block.block.imported is not None:
        return Prediction("An imported log has no models.")
    files = [paths.best_file(block.number, ending) for ending in PICTURES]
    film = paths.best_file(block.number, ".webp")
    saved = paths.trial(block.winner.study, block.winner.run.number)
    try:
        said = read_description(saved.weights)
        return Prediction(
            traces=_traces(block, paths, outputs),
            film=f"data:image/webp;base64,{base64.b64encode(film.read_bytes()).decode()}" if film.is_file() else "",
            provenance=provenance(block, block.winner, said.provenance if said else {}),
            files=tuple(str(file.relative_to(paths.root)) for file in files if file != film and file.is_file()),
        )
    except (SweepError, OSError, SafetensorError) as error:
        return Prediction(f"The best model (trial {block.winner.searched.number}) cannot be shown: {error}")


def _traces(block: BlockView, paths: SweepPaths, outputs: OutputPaths) -> go.Figure:
    assert block.winner is not None
    saved = paths.trial(block.winner.study, block.winner.run.number)
    weights, cfg = load_file(saved.weights), read_config(saved.config)
    of = field_of(cfg, outputs)
    if of.data_hash != block.block.data_hash:
        raise DataError("the data are not those that it was trained on")
    frames, columns = middle_frames(of, TRACE_FRAMES), trace_columns(of)
    shown, truth = predict(cfg, weights, of, frames, columns), np.array(of.targets[frames])[:, columns]
    series = {
        "{:.3g}, {:.3g}".format(*of.positions[column]): (truth[:, place].tolist(), shown[:, place].tolist())
        for place, column in enumerate(columns)
    }
    return figures.traces(frames.tolist(), series)
