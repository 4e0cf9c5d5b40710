"""What is known of a SIREN's parameters before any trial: which act together, and what a config costs.

sin(omega (W x + b)) sees space through omega / xy_period and time through omega / T_period (Sitzmann et al. 2020,
"Implicit Neural Representations with Periodic Activation Functions", section 3.2 and supplement 1.5), and an update of
W moves the phase by omega times the learning rate. A search over other parameters goes without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from siren_sweep.config.parameters import (
    BATCH_SIZE,
    HIDDEN_DIM,
    N_LAYERS,
    OMEGA,
    RATE,
    T_PERIOD,
    T_PERIOD_RATIO,
    TOTAL_STEPS,
    TOTAL_STEPS_RATIO,
    WINDOW,
    XY_PERIOD,
    leaf,
)
from siren_sweep.search.encoding import Axis, Params
from siren_sweep.train.size import n_parameters

_WIDTH, _DEPTH, _BATCH, _STEPS, _WINDOW = map(leaf, (HIDDEN_DIM, N_LAYERS, BATCH_SIZE, TOTAL_STEPS, WINDOW))


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
    Coupling(OMEGA, T_PERIOD_RATIO, 1, "time enters the phase by their product"),
)


def couplings(space: Sequence[Axis]) -> list[Coupling]:
    """The couplings of which a space varies both parameters, with the names that these have there."""
    names = {leaf(axis.name): axis.name for axis in space if axis.positive and not axis.fixed}
    known = [(one, names.get(leaf(one.first)), names.get(leaf(one.second))) for one in COUPLINGS]
    return [replace(one, first=first, second=second) for one, first, second in known if first and second]


def cost(params: Params) -> float:
    """What its time goes with, in all its windows: steps times network parameters times batch size, 1 where the name is
    absent. Only configs with windows, or only such without, compare.

    The number of windows goes with 1 / their length; `total_steps_ratio` has it in itself, being to steps that go with
    the length.
    """
    known = _known(params)
    networks = 1.0 if TOTAL_STEPS_RATIO in known else 1 / known.get(_WINDOW, 1.0)
    return footprint(params) * known.get(_STEPS, 1.0) * known.get(TOTAL_STEPS_RATIO, 1.0) * networks


def footprint(params: Params) -> float:
    """What its memory goes with: network parameters times batch size; of a width without a depth, its square."""
    known = _known(params)
    both = _WIDTH in known and _DEPTH in known
    size = n_parameters(int(known[_WIDTH]), int(known[_DEPTH])) if both else known.get(_WIDTH, 1.0) ** 2
    return size * known.get(_BATCH, 1.0)


def has_windows(params: Params) -> bool:
    """Whether a config has a network for each window: its steps are counted otherwise than those of one network."""
    return _WINDOW in _known(params)


def _known(params: Params) -> dict[str, float]:
    """The numbers above zero, by the last part of their names."""
    numbers = {name: value for name, value in params.items() if isinstance(value, int | float) and value > 0}
    return {leaf(name): float(value) for name, value in numbers.items()}
