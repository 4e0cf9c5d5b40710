"""What is known of a SIREN's parameters before any trial: which act together, and what a config costs.

sin(omega (W x + b)) sees space through omega / xy_period and time through omega / T_period (Sitzmann et al. 2020,
"Implicit Neural Representations with Periodic Activation Functions", section 3.2 and supplement 1.5), and an update of
W moves the phase by omega times the learning rate. A search over other parameters goes without.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from siren_sweep.search.encoding import Axis, Params, leaf

OMEGA, RATE, WIDTH, DEPTH = "omega_f", "learning_rate_NNR_f", "hidden_dim_nnr_f", "n_layers_nnr_f"
XY_PERIOD, T_PERIOD, T_RATIO = "nnr_f_xy_period", "nnr_f_T_period", "T_period_ratio"
BATCH, STEPS, STEPS_RATIO = "inr_batch_size", "total_steps", "total_steps_ratio"
_ALIASES = {
    "omega": OMEGA,
    "omega_0": OMEGA,
    "learning_rate": RATE,
    "lr": RATE,
    "hidden_dim": WIDTH,
    "width": WIDTH,
    "n_layers": DEPTH,
    "depth": DEPTH,
    "xy_period": XY_PERIOD,
    "T_period": T_PERIOD,
    "batch_size": BATCH,
    "steps": STEPS,
}
_COMBINED = (  # exponents of the products that act as one
    {OMEGA: 1, RATE: 1},
    {OMEGA: 1, XY_PERIOD: -1},
    {OMEGA: 1, T_PERIOD: -1},
    {OMEGA: 1, T_RATIO: 1},
)


def canonical(name: str) -> str:
    """The leaf by which a parameter is known here, whatever it is called in a table."""
    return _ALIASES.get(leaf(name), leaf(name))


def n_parameters(width: float, depth: float) -> float:
    """Weights and biases of a SIREN (t, x, y) -> 1 with `depth` hidden layers after the first."""
    return 4 * width + depth * width * (width + 1) + width + 1


def cost(params: Params) -> float:
    """Training steps times network parameters times batch size, as far as the names are there; else 1."""
    known = {canonical(name): value for name, value in params.items()}
    return network_cost(params) * float(known.get(BATCH, 1))


def network_cost(params: Params) -> float:
    """Training steps times network parameters, as far as the names are there (one of width and depth is not enough)."""
    known = {canonical(name): value for name, value in params.items()}
    size = n_parameters(known[WIDTH], known[DEPTH]) if WIDTH in known and DEPTH in known else known.get(WIDTH, 1) ** 2
    return float(size) * float(known.get(STEPS, 1)) * float(known.get(STEPS_RATIO, 1))


class Features:
    """Configs as the model sees them: each parameter's coordinate, and those of the products that act as one."""

    def __init__(self, space: Sequence[Axis]) -> None:
        self._space = [axis for axis in space if not axis.fixed]
        names = {canonical(axis.name): axis.name for axis in self._space if axis.positive}
        self._products = [
            {names[name]: power for name, power in exponents.items()}
            for exponents in _COMBINED
            if all(name in names for name in exponents)
        ]

    def __call__(self, configs: Sequence[Params]) -> np.ndarray:
        """(n, d) float64, each column about [0, 1]; a nominal parameter has one column a choice, half apart."""
        columns: list[list[float]] = []
        for axis in self._space:
            if axis.nominal:
                columns += [[0.5 * (params[axis.name] == choice) for params in configs] for choice in axis.levels or []]
            else:
                columns.append([axis.to_unit(params[axis.name]) for params in configs])
        for powers in self._products:
            columns.append([self._product(powers, params) for params in configs])
        return np.array(columns, np.float64).T.reshape(len(configs), len(columns))

    def _product(self, powers: dict[str, int], params: Params) -> float:
        """The logarithm of a product of powers, scaled to [0, 1] over the space."""
        value = sum(power * math.log(params[name]) for name, power in powers.items())
        ends = [
            [power * math.log(axis.from_unit(unit)) for unit in (0.0, 1.0)]
            for name, power in powers.items()
            for axis in self._space
            if axis.name == name
        ]
        low, high = (sum(pick(pair) for pair in ends) for pick in (min, max))
        return (value - low) / (high - low)
