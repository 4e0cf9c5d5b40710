"""The start of each block of the curriculum: its space, its base config, and the configs carried into it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from siren_sweep.config.parameters import (
    EXPLORABLE,
    PARAMETERS,
    T_PERIOD,
    T_PERIOD_RATIO,
    TOTAL_STEPS,
    TOTAL_STEPS_RATIO,
    WINDOW,
)
from siren_sweep.config.schema import Block, Config
from siren_sweep.search.space import Space, make_space, network_frames, usual_steps


@dataclass(frozen=True)
class BlockStart:
    """The start of a block: its space, its base config, and the configs for its first batch, as points of the space."""

    number: int
    space: Space
    base: dict[str, Any]
    carried: list[dict[str, Any]]

    @property
    def n_training_frames(self) -> int:
        return self.space.block.n_training_frames


def start_block(
    cfg: Config, number: int, sweeps: Mapping[str, str], pinned: Mapping[str, Any], best: Mapping[str, Any] | None
) -> BlockStart:
    """The start of block `number`, counted from 1. `best` is the best config of the block before, None for block 1.

    `sweeps` are the lines of the block's search space, `pinned` the parameters that the command line fixes.

    A `best` without windows gets the block's n_training_frames as its `nnr_f_T_period`, and its share of the block's
    `total_steps`: where it took a quarter of the steps that were usual in its own block, it takes a quarter here.
    It is also carried with its old T_period, since the best temporal scale may be the video's, whatever the number of
    frames. A `best` with windows is carried unchanged, since its networks see as many frames as before. The config from
    which a sweep of this many frames would start is carried too: a config that is best at few frames by a small margin
    can fail at many.
    """
    block = cfg.blocks.schedule[number - 1]
    start = start_config(cfg, block) | dict(pinned)
    config = start
    if best:
        own = {} if best[WINDOW] else _grown(best, cfg.blocks.schedule[number - 2], block)
        config = {**best, **own, **pinned}
    space = make_space(block, sweeps, config, set(pinned))
    base = space.nearest(config)
    carried = []
    if best:
        old_period = {T_PERIOD: best[T_PERIOD], **pinned}
        carried = [base, space.nearest(config | old_period), space.nearest(start)]
    return BlockStart(number, space, base, carried)


def _grown(best: Mapping[str, Any], before: Block, block: Block) -> dict[str, Any]:
    """T_period and steps in `block` of a config of one network that was the best of the block before."""
    ratio = best[TOTAL_STEPS] / usual_steps(before, best[WINDOW])
    return {T_PERIOD: float(block.n_training_frames), TOTAL_STEPS: round(block.total_steps * ratio)}


def filled(schedule: Sequence[Block], n_frames: int) -> list[Block]:
    """The blocks that `n_frames` frames fill. The first one that they do not fill becomes a last block of all frames.

    That last block is left out where the one before it has all frames already.
    """
    full = list(itertools.takewhile(lambda block: block.n_training_frames <= n_frames, schedule))
    if len(full) < len(schedule) and n_frames not in [block.n_training_frames for block in full]:
        full.append(dataclasses.replace(schedule[len(full)], n_training_frames=n_frames))
    return full


def start_config(cfg: Config, block: Block) -> dict[str, Any]:
    """The config, by dotted name, from which a sweep with a block's frames and steps starts.

    It is the composed config, in which a parameter with its default value takes that of `search_space.start`, if any.
    """
    frames, config = block.n_training_frames, {}
    starts = at_frames(cfg.search_space.start, cfg.search_space.start_from, frames) | cfg.search_space.base
    for name in EXPLORABLE:
        parameter = PARAMETERS[name]
        value = parameter.value_in(cfg)
        if value == parameter.default and name in starts:
            value = parameter.kind(starts[name])
        config[name] = value
    steps = round(usual_steps(block, config[WINDOW]) * starts.get(TOTAL_STEPS_RATIO, 1.0))
    period = network_frames(block, config[WINDOW]) / starts.get(T_PERIOD_RATIO, 1.0)
    return config | {T_PERIOD: period, TOTAL_STEPS: steps}


def at_frames(
    always: Mapping[str, Any], later: Mapping[int, Mapping[str, Any]], n_training_frames: int
) -> dict[str, Any]:
    """`always`, updated with each entry of `later` whose key, a number of frames, is at most `n_training_frames`."""
    values = dict(always)
    for frames in sorted(later):
        if frames <= n_training_frames:
            values |= later[frames]
    return values
