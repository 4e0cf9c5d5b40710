"""What is known of a SIREN's parameters before any trial: which act together, and what a config costs.

sin(omega (W x + b)) sees space through omega / xy_period and time through omega / T_period (Sitzmann et al. 2020,
"Implicit Neural Representations with Periodic Activation Functions", section 3.2 and supplement 1.5), and an update of
W moves the phase by omega times the learning rate. A search over other parameters goes without.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from siren_sweep.config.parameters import WINDOW, leaf
from siren_sweep.search.encoding import Axis, Params
from siren_sweep.train.size import n_parameters

OMEGA, RATE, WIDTH, DEPTH = "omega_f", "learning_rate_NNR_f", "hidden_dim_nnr_f", "n_layers_nnr_f"
XY_PERIOD, T_PERIOD, T_RATIO = "nnr_f_xy_period", "nnr_f_T_period", "T_period_ratio"
BATCH, STEPS, STEPS_RATIO = "inr_batch_size", "total_steps", "total_steps_ratio"


@dataclass(frozen=True)
class Coupling:
    """Two parameters that act as one, by `first * second**power`: they may move together, as one mutation."""

    first: str
    second: str
    power: int
    reason: str


COUPLINGS = (
    Coupling(OMEGA, RATE, 1, "an update moves the phase by their product"),
    Coupling(OMEGA, XY_PERIOD, -1, "space enters the phase by their quotient"),
    Coupling(OMEGA, T_PERIOD, -1, "time enters the phase by their quotient"),
    Coupling(OMEGA, T_RATIO, 1, "time enters the phase by their product"),
)


def cost(params: Params) -> float:
    """What its time goes with, in all its windows: steps times network parameters times batch size, 1 where the name is
    absent. Only configs with windows, or only such without, compare.

    The number of windows goes with 1 / their length; `total_steps_ratio` has it in itself, being to steps that go with
    the length.
    """
    known = _known(params)
    networks = 1.0 if STEPS_RATIO in known else 1 / known.get(leaf(WINDOW), 1.0)
    return footprint(params) * known.get(STEPS, 1.0) * known.get(STEPS_RATIO, 1.0) * networks


def footprint(params: Params) -> float:
    """What its memory goes with: network parameters times batch size."""
    known = _known(params)
    return _size(known) * known.get(BATCH, 1.0)


def has_windows(params: Params) -> bool:
    """Whether a config has a network for each window: its steps are counted otherwise than those of one network."""
    return leaf(WINDOW) in _known(params)


def _size(known: Params) -> float:
    """Network parameters; of a width without a depth, its square."""
    if WIDTH in known and DEPTH in known:
        return float(n_parameters(int(known[WIDTH]), int(known[DEPTH])))
    return float(known.get(WIDTH, 1.0)) ** 2


def _known(params: Params) -> dict[str, float]:
    """The numbers above zero, by the names that are used here."""
    numbers = {name: value for name, value in params.items() if isinstance(value, int | float) and value > 0}
    return {leaf(name): float(value) for name, value in numbers.items()}


def couplings(space: Sequence[Axis]) -> list[tuple[str, str, Coupling]]:
    """The couplings of which a space varies both parameters, with the names that these have there."""
    names = {leaf(axis.name): axis.name for axis in space if axis.positive and not axis.fixed}
    return [(names[c.first], names[c.second], c) for c in COUPLINGS if c.first in names and c.second in names]


class Features:
    """Configs as the model sees them: each parameter's coordinate, and those of the products that act as one."""

    def __init__(self, space: Sequence[Axis]) -> None:
        self._space = [axis for axis in space if not axis.fixed]
        by_name = {axis.name: axis for axis in self._space}
        self._products: list[tuple[dict[str, int], float, float]] = []  # powers by name, smallest and largest logarithm
        for first, second, coupling in couplings(space):
            powers = {first: 1, second: coupling.power}
            ends = [
                sorted(power * math.log(by_name[name].from_unit(unit)) for unit in (0.0, 1.0))
                for name, power in powers.items()
            ]
            self._products.append((powers, sum(low for low, _ in ends), sum(high for _, high in ends)))

    def __call__(self, configs: Sequence[Params]) -> np.ndarray:
        """(n, d) float64, each column about [0, 1]; a nominal parameter has one column a choice, half apart."""
        columns: list[list[float]] = []
        for axis in self._space:
            if axis.nominal:
                columns += [[0.5 * (params[axis.name] == choice) for params in configs] for choice in axis.levels or []]
            else:
                columns.append([axis.to_unit(params[axis.name]) for params in configs])
        for powers, low, high in self._products:
            logs = [sum(power * math.log(params[name]) for name, power in powers.items()) for params in configs]
            columns.append([(log - low) / (high - low) for log in logs])
        return np.array(columns, np.float64).T.reshape(len(configs), len(columns))
