"""Loads a trained model from its file. It needs none of the search's libraries.

model = load("outputs/demo/best/block_02")
model(t, x, y)                   # luminance at any frame and place: numpy, or torch with gradients
model.frame(12)                  # (n_neurons,), in the data's own order of neurons
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import ConfigError, DataError, OutputError
from siren_sweep.field import Scaling
from siren_sweep.field.source import FieldSource
from siren_sweep.paths import SweepPaths, TrialPaths
from siren_sweep.text import one_line
from siren_sweep.train.fit import POINTS_AT_ONCE, Fit
from siren_sweep.train.report import shown_r2
from siren_sweep.train.weights_file import Data, Description, read_saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The endings of the files that an export writes for a block.
ENDINGS = (".safetensors", ".yaml", ".pt", ".png", ".svg", ".pdf", ".mp4", ".webp")
MLFLOW_FILE, MLFLOW_DATA = "MLmodel", "data"  # in the folder of an MLflow model


class Model:
    """A trained SIREN, or those of all windows, as one function of time and position.

    The input t is a frame, counted from 0, and may lie between two frames; x and y are in the unit of the data's
    positions. The output is in the data's unit. A network's inputs are
    t_in = (t - start of its window) * 2 pi / nnr_f_T_period and
    x_in = (x - scaling.x) / scaling.spacing * 2 pi / nnr_f_xy_period, y_in likewise; its output is
    (luminance - scaling.mean) / scaling.spread.

    Outside the frames and positions that it was trained on, the values are extrapolated and mean nothing.
    """

    config: TrialConfig
    final_r2: float  # exact, over all frames and neurons of `data`
    data: Data  # path, n_input_neurons, n_training_frames, data_hash
    positions: np.ndarray  # (n_neurons, 2) float32, in the data's unit and order of neurons
    scaling: Scaling  # converts between the data's units and the network's
    provenance: Mapping[str, Any]  # versions, seed, device and precision of the training

    def __init__(self, description: Description, weights: Mapping[str, Tensor]) -> None:
        """A model on the CPU. Raises ConfigError where the weights do not fit the description's config."""
        self.config, self.final_r2, self.data = description.config, description.final_r2, description.data
        self.positions, self.provenance = description.positions, description.provenance
        self.scaling = description.scaling
        self._unique, inverse = np.unique(self.positions, axis=0, return_inverse=True)  # each position is computed once
        self._inverse = inverse.reshape(-1)
        try:
            self._fit = Fit(description.config, weights, self.scaling)
        except (KeyError, RuntimeError) as error:
            raise ConfigError(f"the weights must be those of the config ({_said(error)})") from None
        n_windows, n_frames = len(self._fit.windows), self.data.n_training_frames
        if sum(len(window.frames) for window in self._fit.windows) != n_frames:
            raise ConfigError(f"the weights must be those of all {n_frames} frames, got {n_windows} windows of them")

    def __call__(self, t: Any, x: Any, y: Any) -> Any:
        """Luminance, float32, at frames t and positions x, y: numbers, numpy arrays or tensors that broadcast together.

        Where one of them is a tensor, the result is a tensor on the model's device, with gradients with respect to t, x
        and y; else it is a numpy array. Its shape is the broadcast shape of the three. Raises ConfigError where they do
        not broadcast, or are not real numbers.
        """
        tensors = [self._tensor(name, value) for name, value in (("t", t), ("x", x), ("y", y))]
        try:
            shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))
        except RuntimeError:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
            raise ConfigError(f"t, x and y must have one shape, or be scalars, got {shapes}") from None
        flat = [tensor.expand(shape).reshape(-1) for tensor in tensors]
        if any(isinstance(value, Tensor) for value in (t, x, y)):
            return self._fit(*flat).reshape(shape)
        with torch.no_grad():
            parts = zip(*(tensor.split(POINTS_AT_ONCE) for tensor in flat), strict=True)
            return torch.cat([self._fit(*part) for part in parts]).reshape(shape).cpu().numpy()

    def frame(self, k: int) -> np.ndarray:
        """Luminance (n_neurons,) float32 of every neuron at frame k, in the data's order of neurons.

        Raises ConfigError unless k is a whole number with 0 <= k < n_frames.
        """
        last = self.data.n_training_frames - 1
        k = self._whole("the frame", k, f"from 0 to {last}", 0, last)
        (values,) = self.frames(k, k + 1)
        return np.asarray(values)

    def frames(self, a: int, b: int) -> np.ndarray:
        """Luminance (b - a, n_neurons) float32 at frames a, ..., b - 1, in the data's order of neurons.

        Raises ConfigError unless 0 <= a <= b <= n_frames.
        """
        n = self.data.n_training_frames
        b = self._whole("the end of the frames", b, f"from 0 to {n}", 0, n)
        a = self._whole("the first frame", a, f"from 0 to the end, {b}", 0, b)
        values: np.ndarray = self._fit.frames(np.arange(a, b), self._unique)[:, self._inverse]
        return values

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return self._fit.device

    def to(self, device: str | torch.device) -> Model:
        """Move the networks to a device, and return this model. Raises ConfigError where there is no such device."""
        try:
            self._fit.to(torch.device(device))
        except (RuntimeError, AssertionError) as error:  # torch raises either
            fault = f"device must be one that torch has here, got {str(device)!r} ({_said(error)})"
            raise ConfigError(fault) from None
        return self

    def plot(self, frame: int) -> Figure:
        """A matplotlib figure of a frame on the lattice: the prediction, with truth and error where the data are there.

        Raises ConfigError unless 0 <= frame < n_frames.
        """
        from siren_sweep.train.pictures import frame_picture

        first = np.unique(self._inverse, return_index=True)[1]  # one neuron of each position
        prediction = self.frame(frame)[first]
        title = f"frame {frame} of {self.data.n_training_frames}, final R2 {shown_r2(self.final_r2)}"
        return frame_picture(self._unique, prediction, self._truth(operator.index(frame)), title)

    def __repr__(self) -> str:
        graph, windows = self.config.graph_model, len(self._fit.windows)
        return (
            f"Model(final_r2={self.final_r2!r}, n_training_frames={self.data.n_training_frames}, "
            f"n_neurons={len(self.positions)}, hidden_dim_nnr_f={graph.hidden_dim_nnr_f}, "
            f"n_layers_nnr_f={graph.n_layers_nnr_f}, omega_f={graph.omega_f:g}, windows={windows}, "
            f"device={str(self.device)!r})"
        )

    def _tensor(self, name: str, value: Any) -> Tensor:
        """`value` as a tensor on the model's device; gradients pass through. Raises ConfigError unless it is real."""
        if not isinstance(value, Tensor):
            try:
                numbers = np.asarray(value)
            except ValueError:  # rows of different lengths
                numbers = np.asarray(None)
            if numbers.dtype.kind not in "biuf":
                raise ConfigError(f"{name} must be real numbers, got {type(value).__name__}: {value!r:.80}")
            value = torch.from_numpy(numbers.astype(np.float64))
        if value.is_complex():
            raise ConfigError(f"{name} must be real numbers, got {value.dtype}")
        moved: Tensor = value.to(self.device)
        return moved

    def _whole(self, what: str, value: Any, rule: str, low: int, high: int) -> int:
        try:
            number = operator.index(value)
        except TypeError:
            number = None
        if number is None or not low <= number <= high:
            raise ConfigError(f"{what} must be a whole number {rule}, got {value!r}")
        return number

    def _truth(self, frame: int) -> np.ndarray | None:
        """The data's luminance (n_unique,) at a frame, the mean over each position's neurons.

        None where the data cannot be read, or have other positions than the model.
        """
        if self.data.path is None:
            return None
        try:
            source = FieldSource(Path(self.data.path), self.data.n_training_frames, self.data.n_input_neurons)
            if not np.array_equal(source.positions(), self.positions):
                return None
            values = source.frame(frame)
        except DataError:
            return None
        return np.bincount(self._inverse, weights=values) / np.bincount(self._inverse)


def load(path: str | PathLike[str], *, block: int | None = None, device: str | torch.device = "cpu") -> Model:
    """The model at `path`: an export such as `outputs/demo/best/block_02`, with any ending or none, or a sweep's folder
    with a `block`, or the folder of a training run or of an MLflow model.

    Raises OutputError where there is no such file or it is not whole, and ConfigError where `block` or `device` is
    wrong.
    """
    file = _file(Path(path), block)
    if not file.is_file():
        raise OutputError(f"a model must be a file of weights that an export wrote; there is no {file}{_others(file)}")
    description, weights = read_saved(file)
    try:
        model = Model(description, weights)
    except ConfigError as error:
        raise OutputError(f"{file} is no whole model: {error}") from None
    return model.to(device)


def _file(path: Path, block: int | None) -> Path:
    """The file of the weights. Raises ConfigError where `block` is missing, or no whole number from 1 on."""
    if block is not None:
        if isinstance(block, bool) or not isinstance(block, int) or block < 1:
            raise ConfigError(f"block must be a whole number from 1 on, got {block!r}")
        return SweepPaths(path).best_file(block, ".safetensors")
    if path.is_dir():
        if (path / MLFLOW_FILE).is_file():
            path = path / MLFLOW_DATA
        if SweepPaths(path).best.is_dir():
            raise ConfigError(f"block must be given with a sweep's folder: load({str(path)!r}, block=1)")
        return TrialPaths(path).weights
    return path.with_suffix(".safetensors") if path.suffix in ENDINGS else path.with_name(f"{path.name}.safetensors")


def _others(file: Path) -> str:
    """The end of a message: the models that are in the folder instead."""
    found = sorted(other.stem for other in file.parent.glob("*.safetensors")) if file.parent.is_dir() else []
    return f"; the folder holds {', '.join(found[:20])}" if found else ""


def _said(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}", 200)
