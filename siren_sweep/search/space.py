"""The search space of one block: Hydra's override grammar on one side, Optuna's distributions on the other.

Two dimensions are searched as ratios, since their best value moves with the block: `T_period_ratio` is the frames that
a network sees / nnr_f_T_period, `total_steps_ratio` is total_steps / the steps that are usual for them. A network over
all frames sees n_training_frames and usually has the block's total_steps; one of a window sees `window_frames`, and
usually has `STEPS_PER_WINDOW_FRAME` for each. A person may name the parameter itself instead
(`graph_model.nnr_f_T_period=choice(100,300)`); the dimension is then absolute.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep, ValueType
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from siren_sweep.config.parameters import (
    BATCH_SIZE,
    EXPLORABLE,
    PARAMETERS,
    RATIOS,
    T_PERIOD_RATIO,
    TOTAL_STEPS_RATIO,
    WINDOW,
    dimension_fault,
    parameter_of,
)
from siren_sweep.config.schema import N_REPORTS, Block
from siren_sweep.field import fits

STEPS_PER_WINDOW_FRAME = 4  # at 8 frames a batch windows of real video pass 0.99 with these, and 0.9999 with twice
MOST_VALUES = 10_000  # of a list: with so many a batch is planned in seconds, and each trial stores them all
STARTS = (*(name for name in EXPLORABLE if name not in RATIOS.values()), *RATIOS)  # what a start may be said in


@dataclass(frozen=True)
class Space:
    """What may vary in one block, and how a point of it becomes a config.

    `fixed` holds the explorable parameters that do not vary, by dotted name. Values in `dimensions` are Optuna's;
    values in a config are absolute.
    """

    block: Block
    dimensions: dict[str, BaseDistribution]
    fixed: Mapping[str, Any]

    def config(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The explorable parameters, absolute, by dotted name, of one point of the space."""
        window = params[WINDOW] if WINDOW in params else self.fixed[WINDOW]
        values = dict(self.fixed)
        values |= {parameter_of(name): self.value(name, value, window) for name, value in params.items()}
        return {name: PARAMETERS[name].kind(values[name]) for name in EXPLORABLE}

    def nearest(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The point of the space that lies closest to a config of absolute values, dimension by dimension.

        A ratio stays what it is in the config, also where its window moves to the nearest one of the space.
        """
        return {name: self.nearest_value(name, config[parameter_of(name)], config[WINDOW]) for name in self.dimensions}

    def nearest_value(self, name: str, value: float, window: int) -> Any:
        """The value of a dimension whose parameter comes closest to an absolute value, with windows of `window`."""
        if name == WINDOW:  # by its logarithm; 0 counts as all frames
            every = self.block.n_training_frames
            return min(self.windows, key=lambda one: abs(math.log(one or every) - math.log(int(value) or every)))
        return _nearest(self.dimensions[name], self.coordinate(name, value, window))

    def value(self, name: str, coordinate: Any, window: int) -> Any:
        """The absolute value of its parameter that a dimension's value stands for, in windows of `window` frames."""
        if name == T_PERIOD_RATIO:
            return network_frames(self.block, window) / coordinate
        if name == TOTAL_STEPS_RATIO:
            return max(N_REPORTS, round(usual_steps(self.block, window) * coordinate))
        return coordinate

    def coordinate(self, name: str, value: float, window: int) -> float:
        """What a dimension's value would be for an absolute value of its parameter, in windows of `window` frames."""
        if name == T_PERIOD_RATIO:
            return network_frames(self.block, window) / value
        return value / usual_steps(self.block, window) if name == TOTAL_STEPS_RATIO else value

    @property
    def windows(self) -> list[int]:
        """The lengths of windows that its configs may have."""
        return _choices(self.dimensions[WINDOW]) if WINDOW in self.dimensions else [int(self.fixed[WINDOW])]


def network_frames(block: Block, window: int) -> int:
    """The frames that one network sees."""
    return window if fits(block.n_training_frames, window) else block.n_training_frames


def usual_steps(block: Block, window: int) -> int:
    """The steps of a network to which `total_steps_ratio` is a ratio."""
    frames = network_frames(block, window)
    return block.total_steps if frames == block.n_training_frames else STEPS_PER_WINDOW_FRAME * frames


def make_space(block: Block, params: Mapping[str, str], base: Mapping[str, Any], pinned: set[str]) -> Space:
    """The space of a block from `name: sweep` texts in Hydra's grammar, less the parameters that a person pinned.

    `base` holds the absolute value of all parameters; it serves those that do not vary. Windows that do not fit twice
    into the block, and batches of more frames than a network sees, are left out.
    """
    dimensions = {
        name: parse_dimension(name, text) for name, text in params.items() if parameter_of(name) not in pinned
    }
    windows = [base[WINDOW]]
    if WINDOW in dimensions:
        fitting = [one for one in _choices(dimensions[WINDOW]) if one == 0 or fits(block.n_training_frames, one)]
        windows = sorted(fitting, key=bool) or [0]
        dimensions[WINDOW] = CategoricalDistribution(windows)
    if BATCH_SIZE in dimensions:
        smallest = min(network_frames(block, window) for window in windows)
        dimensions[BATCH_SIZE] = _at_most(dimensions[BATCH_SIZE], smallest)
    varied = {parameter_of(name) for name in dimensions}
    return Space(block, dimensions, {name: base[name] for name in EXPLORABLE if name not in varied})


def parse_dimension(name: str, text: str) -> BaseDistribution:
    """One dimension from its sweep text. Raises ValueError with the rule and the value."""
    try:
        override = OverridesParser.create().parse_override(f"{name}={text}")
    except Exception as error:  # Hydra raises its own and ANTLR's kinds
        why = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"must be a sweep in Hydra's override grammar, got {text!r} ({why})") from None
    return distribution_of(name, override)


def distribution_of(name: str, override: Override) -> BaseDistribution:
    """The Optuna distribution of a Hydra sweep, with Hydra's meaning: `range(1,3)` is 1 and 2.

    Raises ValueError with the rule and the value.
    """
    kind = PARAMETERS[name].kind if name in PARAMETERS else float
    sweep, text = override.value(), override.get_value_string()
    if isinstance(sweep, IntervalSweep) and name != WINDOW:
        return _interval(name, kind, sweep)
    if not override.is_discrete_sweep() or override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        forms = "choice(...) or range(...)" if name == WINDOW else "choice(...), range(...) or interval(...)"
        raise ValueError(f"must be {forms}, got {text or 'nothing'}")
    _check_length(sweep, text)
    values = [_number(name, kind, value) for value in override.sweep_iterator()]
    values = sorted(values) if getattr(sweep, "shuffle", False) else values  # a space is the same at every start
    if not values:
        raise ValueError(f"must have at least one value, got {text}")
    steps = isinstance(sweep, RangeSweep) and kind is int and len(values) > 1 and "log" not in sweep.tags
    if steps and name != WINDOW:  # whose 0 is no length: its order is not that of the numbers
        return IntDistribution(min(values), max(values), step=abs(values[1] - values[0]))
    return CategoricalDistribution(list(dict.fromkeys(values)))


def _check_length(sweep: Any, text: str) -> None:
    """Raises ValueError for a range without an end, and for more values than a search can compare.

    They are counted before Hydra makes them, which may take for ever.
    """
    if isinstance(sweep, RangeSweep):
        start, stop, step = (_as_float(number) for number in (sweep.start, sweep.stop, sweep.step))
        if not step or not math.isfinite(stop - start) or not math.isfinite(step):
            raise ValueError(f"must be a range of finite numbers whose step is not 0, got {text}")
        n_values = (stop - start) / step
    else:
        n_values = len(sweep.list)
    if n_values > MOST_VALUES:
        got = text if len(text) < 80 else f"{text[:80]}..."
        raise ValueError(f"must have at most {MOST_VALUES} values, got {got}")


def _interval(name: str, kind: type, sweep: IntervalSweep) -> BaseDistribution:
    low, high = (_number(name, kind, value) for value in (sweep.start, sweep.end))
    if not low < high:
        raise ValueError(f"must be an interval whose start is below its end, got interval({low}, {high})")
    log = "log" in sweep.tags
    return IntDistribution(low, high, log=log) if kind is int else FloatDistribution(low, high, log=log)


def _number(name: str, kind: type, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        shown = "a sweep in its place" if isinstance(value, Sweep) else repr(getattr(value, "text", value))
        raise ValueError(f"must be swept over numbers, got {shown}")
    if fault := dimension_fault(name, _as_float(value)):
        raise ValueError(fault)
    if kind is int and float(value) != int(value):
        raise ValueError(f"must be a whole number, got {value}")
    return kind(value)


def _as_float(value: Any) -> float:
    """A number as a float; infinity for a whole number that is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _at_most(distribution: BaseDistribution, limit: int) -> BaseDistribution:
    """Batches cannot hold more frames than there are."""
    if isinstance(distribution, CategoricalDistribution):
        kept = [value for value in _choices(distribution) if value <= limit]
        return CategoricalDistribution(kept or [limit])
    assert isinstance(distribution, IntDistribution)
    high, low = min(distribution.high, limit), min(distribution.low, limit)
    high -= (high - low) % distribution.step
    return IntDistribution(low, high, log=distribution.log, step=distribution.step)


def _nearest(distribution: BaseDistribution, value: float) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        choices = _choices(distribution)
        scale = math.log if min([*choices, value]) > 0 else float
        return min(choices, key=lambda choice: abs(scale(choice) - scale(value)))
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    clipped = min(max(value, distribution.low), distribution.high)
    if isinstance(distribution, FloatDistribution):
        return float(clipped)
    return distribution.low + round((clipped - distribution.low) / distribution.step) * distribution.step


def _choices(distribution: BaseDistribution) -> list[Any]:
    """The choices of a list; `_number` saw to it that they are numbers."""
    assert isinstance(distribution, CategoricalDistribution)
    return list(distribution.choices)
