"""A model's weights file: a `.safetensors` file whose metadata describe the model.

The tensors are those of `TrainResult.state_dict`. The header's `__metadata__` has one entry, `siren_sweep`: a JSON text
with the config, the exact R2, the data, the positions of all neurons, the model's formula, and its provenance.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from siren_sweep.config.checks import trial_config
from siren_sweep.config.config_file import plain
from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import ConfigError, OutputError
from siren_sweep.field import UNSCALED, Scaling, StimulusField, cut

ENTRY, FORMAT = "siren_sweep", 2
_OLDER = 1  # the format before values and positions were scaled
FORMULA = """\
t_in = (frame - start of its window) * 2 pi / nnr_f_T_period, \
x_in = (x - scaling.x) / scaling.spacing * 2 pi / nnr_f_xy_period and likewise y_in; \
frames are counted from 0, x and y are in the unit of the positions. \
h = sin(omega_f * (W h + b)) for each layer but the last, from h = (t_in, x_in, y_in) on; \
luminance = scaling.mean + scaling.spread * (W h + b) of the last. \
{windows}"""
ONE_WINDOW = "One network has all frames: its window starts at 0."
SEVERAL = """\
Window k of {n}, from 0, starts at floor(k * {frames} / {n}) and its tensors' names begin with window_ and k as four \
digits; between the last frame of a window and the first of the next, the two networks are blended linearly."""


@dataclass(frozen=True)
class Data:
    """What a model was trained on: the first frames and neurons of the field in the folder `path`."""

    path: str | None
    n_input_neurons: int
    n_training_frames: int
    data_hash: str  # sha256; see `StimulusField.data_hash`


@dataclass(frozen=True, eq=False)
class Description:
    """The description of a model in its weights file. `positions` is (n_neurons, 2) float32, in the data's unit."""

    config: TrialConfig
    final_r2: float
    data: Data
    positions: np.ndarray
    provenance: Mapping[str, Any] = field(default_factory=dict)
    scaling: Scaling = UNSCALED


def describe(cfg: TrialConfig, of: StimulusField, final_r2: float, provenance: Mapping[str, Any]) -> Description:
    """The description of a model that was trained on the field `of`."""
    data = Data(cfg.dataset.path, of.n_neurons, of.n_frames, of.data_hash)
    return Description(cfg, final_r2, data, of.positions[of.inverse], provenance, of.scaling)


def saved_bytes(weights: Mapping[str, Tensor], description: Description) -> bytes:
    """The content of a weights file. Equal weights and descriptions give equal bytes."""
    return save(dict(weights), {ENTRY: description_text(description)})  # one entry: the order of several is not fixed


def description_text(description: Description) -> str:
    """The description as the JSON text in a weights file."""
    return json.dumps(_values(description))


def read_saved(file: Path) -> tuple[Description, dict[str, Tensor]]:
    """The description and the tensors, on the CPU, of a weights file.

    Raises OutputError where it is missing, damaged, or has no description.
    """
    description = read_description(file)
    if description is None:
        raise OutputError(f"{file} must say what its model is, and does not: an older version wrote it{_again(file)}")
    try:
        return description, load_file(file)
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, error) from None


def read_description(file: Path) -> Description | None:
    """The description in a weights file; None where it has none. Raises OutputError where it is missing or damaged."""
    try:
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(ENTRY)
    except (OSError, SafetensorError) as error:
        raise _unreadable(file, error) from None
    if text is None:
        return None
    try:
        values = json.loads(text)
        if (found := values["format"]) not in (FORMAT, _OLDER):
            raise OutputError(f"{file} must be of format {FORMAT}, got {found!r}: another version wrote it")
        return _description(values)
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: Exception) -> OutputError:
    return OutputError(f"{file} must be a whole file of weights ({type(error).__name__}: {error}){_again(file)}")


def _again(file: Path) -> str:
    """The end of a message: the command that exports the file again; empty for a trial's own file."""
    if file.parent.name != "best":
        return ""
    return f"; `siren-sweep export {shlex.quote(str(file.parent.parent))}` writes it again"


def _values(description: Description) -> dict[str, Any]:
    cfg = description.config
    frames = cfg.training.n_training_frames
    n = len(cut(frames, cfg.graph_model.window_frames))
    windows = ONE_WINDOW if n == 1 else SEVERAL.format(n=n, frames=frames)
    positions = np.ascontiguousarray(description.positions, "<f4")
    return {
        "format": FORMAT,
        "config": plain(cfg),
        "final_r2": description.final_r2,
        "data": asdict(description.data),
        "provenance": dict(description.provenance),
        "formula": FORMULA.format(windows=windows),
        "scaling": asdict(description.scaling),
        "positions": base64.b64encode(positions.tobytes()).decode(),  # (n_input_neurons, 2) float32, little-endian
    }


def _description(values: Mapping[str, Any]) -> Description:
    data = Data(**values["data"])
    positions = np.frombuffer(base64.b64decode(values["positions"]), "<f4").reshape(data.n_input_neurons, 2)
    config, r2, provenance = trial_config(values["config"]), float(values["final_r2"]), dict(values["provenance"])
    return Description(config, r2, data, positions, provenance, Scaling(**values.get("scaling", {})))
