"""A trained model as an ONNX graph: t, x, y (n,) float64 in the data's units to luminance (n,) float32, for any n.

The graph computes what the model computes, its scaling included. With windows, the weights of their networks are
stacked. A loop goes over the windows that the given times need, and computes the points of each with its own weights.
Between the last frame of a window and the first frame of the next, both networks are computed and blended.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from siren_sweep.errors import OutputError
from siren_sweep.field import cut
from siren_sweep.paths import replacing
from siren_sweep.train.engine.base import key_prefix
from siren_sweep.train.weights_file import ENTRY, Description, description_text

_OPSET, _IR = 18, 9
_MOST_BYTES = 2**31 - 2**20  # of weights: a protobuf file holds less than 2 GiB


def write_onnx(description: Description, weights: Mapping[str, Any], file: Path) -> None:
    """Write the model, with its description as metadata. Raises OutputError where it is too large for an ONNX file."""
    size = sum(value.numel() * value.element_size() for value in weights.values())
    if size > _MOST_BYTES:
        raise OutputError(f"an ONNX file holds at most {_MOST_BYTES} bytes of weights, got {size}; export safetensors")
    model = _Graph(description, weights).model()
    onnx.checker.check_model(model)
    with replacing(file) as temporary:
        temporary.write_bytes(model.SerializeToString())


class _Graph:
    """Builds the graph of a model: each method adds nodes and constants, and returns the name of its output."""

    def __init__(self, description: Description, weights: Mapping[str, Any]) -> None:
        cfg = description.config
        self._description, self._config = description, cfg.graph_model
        self._windows = cut(cfg.training.n_training_frames, cfg.graph_model.window_frames)
        self._nodes: list[Any] = []
        self._count = 0
        self._constants: dict[str, Any] = {}
        self._n_layers = cfg.graph_model.n_layers_nnr_f + 2
        for place in range(self._n_layers):
            name = f"net.{place}." + ("linear." if place < self._n_layers - 1 else "")
            for kind in ("weight", "bias"):
                own = [weights[f"{key_prefix(window)}{name}{kind}"].numpy() for window in self._windows]
                self._constants[f"{kind}_{place}"] = self._layer(np.stack(own), place, kind)
        self._layers = list(self._constants)

    def _layer(self, values: np.ndarray, place: int, kind: str) -> np.ndarray:
        """Weights (n_windows, in, out) or biases (n_windows, out) as the graph uses them, multiplied by omega.

        Those of the first layer are float64, since `FirstSineLayer` forms its phase in float64.
        """
        if kind == "weight":
            values = values.transpose(0, 2, 1)
        if place == 0:
            return np.ascontiguousarray(values.astype(np.float64) * self._config.omega_f)
        omega = 1.0 if place == self._n_layers - 1 else self._config.omega_f
        return np.ascontiguousarray(values * np.float32(omega))

    def model(self) -> Any:
        """The whole graph, as an ONNX model."""
        inputs = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["n"]) for name in ("t", "x", "y")]
        output = helper.make_tensor_value_info("luminance", TensorProto.FLOAT, ["n"])
        value = self._one_window() if len(self._windows) == 1 else self._several()
        scaling = self._description.scaling
        scaled = self._do("Mul", value, self._constant(np.float32(scaling.spread)))
        self._do("Add", scaled, self._constant(np.float32(scaling.mean)), out="luminance")
        graph = helper.make_graph(self._nodes, "siren_sweep", inputs, [output], self._initializers())
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        helper.set_model_props(model, {ENTRY: description_text(self._description)})
        return model

    def _one_window(self) -> str:
        for name in self._layers:
            self._constants[name] = self._constants[name][0]
        return self._network(self._points("t"), {name: name for name in self._layers})

    def _several(self) -> str:
        """The value (n,) of each point's own window, blended with the next one's beyond the window's last frame."""
        own = self._owner()
        ends = self._constant(np.array([window.stop - 1.0 for window in self._windows[:-1]] + [np.inf]))
        beyond = self._do(
            "Clip", self._do("Sub", "t", self._do("Gather", ends, own)), self._number(0.0), self._number(1.0)
        )
        between = self._indices(self._do("Greater", beyond, self._number(0.0)))
        following = self._do("Add", self._do("Gather", own, between), self._constant(np.int64(1)))
        window = self._do("Concat", own, following, axis=0)
        starts = self._constant(np.array([float(window.start) for window in self._windows]))
        everywhere = {name: self._do("Concat", name, self._do("Gather", name, between), axis=0) for name in "txy"}
        local = self._do("Sub", everywhere["t"], self._do("Gather", starts, window))
        values = self._loop(self._points(local, everywhere["x"], everywhere["y"]), window)
        n = self._do("Shape", "t")
        value = self._do("Slice", values, self._constant(np.array([0])), n)
        other = self._do("Slice", values, n, self._do("Shape", values))
        before, share = self._do("Gather", value, between), self._do("Gather", beyond, between)
        step = self._do("Mul", self._do("Cast", share, to=1), self._do("Sub", other, before))
        return self._do("ScatterElements", value, between, self._do("Add", before, step))

    def _owner(self) -> str:
        """Each point's window (n,): as k starts at floor(k F / n), frame f is in window floor(((f + 1) n - 1) / F)."""
        n_frames, n = self._windows[-1].stop, len(self._windows)
        frame = self._do("Clip", self._do("Floor", "t"), self._number(0.0), self._number(n_frames - 1.0))
        whole = self._do("Cast", frame, to=7)
        scaled = self._do("Add", self._do("Mul", whole, self._constant(np.int64(n))), self._constant(np.int64(n - 1)))
        return self._do("Div", scaled, self._constant(np.int64(n_frames)))

    def _loop(self, points: str, window: str) -> str:
        """The outputs (m,) at points (m, 3), each from the network of its window; `window` is (m,)."""
        needed = self._do("Unique", window, sorted=1)
        n_needed = self._do("Squeeze", self._do("Shape", needed))
        start = self._do("ConstantOfShape", self._do("Shape", window), value=helper.make_tensor("z", 1, [1], [0.0]))
        outer, self._nodes = self._nodes, []
        own = self._do("Gather", needed, "turn")
        mine = self._indices(self._do("Equal", window, own))
        layers = {name: self._do("Gather", name, own) for name in self._layers}
        output = self._network(self._do("Gather", points, mine), layers)
        self._do("ScatterElements", "so_far", mine, output, out="then")
        self._do("Identity", "on", out="on_then")
        body = helper.make_graph(
            self._nodes,
            "windows",
            [
                helper.make_tensor_value_info("turn", TensorProto.INT64, []),
                helper.make_tensor_value_info("on", TensorProto.BOOL, []),
                helper.make_tensor_value_info("so_far", TensorProto.FLOAT, ["m"]),
            ],
            [
                helper.make_tensor_value_info("on_then", TensorProto.BOOL, []),
                helper.make_tensor_value_info("then", TensorProto.FLOAT, ["m"]),
            ],
        )
        self._nodes = outer
        return self._do("Loop", n_needed, self._constant(np.array(True)), start, body=body)

    def _points(self, t: str, x: str = "x", y: str = "y") -> str:
        """A network's inputs (m, 3) float64, from frames since its window's start and positions in the data's unit."""
        scaling, turn = self._description.scaling, 2 * math.pi
        columns = [self._do("Mul", t, self._number(turn / self._config.nnr_f_T_period))]
        for value, centre in ((x, scaling.x), (y, scaling.y)):
            unit = turn / (self._config.nnr_f_xy_period * scaling.spacing)
            columns.append(self._do("Mul", self._do("Sub", value, self._number(centre)), self._number(unit)))
        last = self._constant(np.array([1]))
        return self._do("Concat", *(self._do("Unsqueeze", column, last) for column in columns), axis=1)

    def _network(self, points: str, named: Mapping[str, str]) -> str:
        """The output (m,) of one network at points (m, 3); `named` has the nodes of its weights and biases."""
        phase = self._do("Add", self._do("MatMul", points, named["weight_0"]), named["bias_0"])
        turns = self._do("Round", self._do("Div", phase, self._number(2 * math.pi)))
        part = self._do("Sub", phase, self._do("Mul", turns, self._number(2 * math.pi)))
        h = self._do("Sin", self._do("Cast", part, to=1))
        for place in range(1, self._n_layers):
            h = self._do("Add", self._do("MatMul", h, named[f"weight_{place}"]), named[f"bias_{place}"])
            if place < self._n_layers - 1:
                h = self._do("Sin", h)
        return self._do("Squeeze", h, self._constant(np.array([1])))

    def _indices(self, mask: str) -> str:
        """The indices at which a mask (m,) is true."""
        return self._do("Squeeze", self._do("NonZero", mask), self._constant(np.array([0])))

    def _do(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Add a node of some kind; returns the name of its output."""
        self._count += 1
        out = out or f"v{self._count}"
        self._nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def _constant(self, value: Any) -> str:
        name = f"c{len(self._constants)}"
        self._constants[name] = np.asarray(value)
        return name

    def _number(self, value: float) -> str:
        return self._constant(np.float64(value))

    def _initializers(self) -> list[Any]:
        return [numpy_helper.from_array(value, name) for name, value in self._constants.items()]
