"""The curriculum: what each block starts from."""

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
    """A block as its first batch sees it: the space, the base config, and the configs carried over from before."""

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
    """The start of block `number` (1-based). `best` is the config carried from the block before, None for the first.

    A network over all frames has its `nnr_f_T_period` set to the block's n_training_frames and its `total_steps` to the
    block's. It comes twice: so, and with the T_period that it had, since the best temporal scale follows the video.
    What a window's network sees does not change with the block: its config comes as it is. Where a sweep of so many
    frames would start comes along: a config that is best at few frames by very little can fail at many.
    """
    block = cfg.blocks.schedule[number - 1]
    start = start_config(cfg, block) | dict(pinned)
    own = {T_PERIOD: float(block.n_training_frames), TOTAL_STEPS: block.total_steps}
    config = {**best, **({} if best[WINDOW] else own), **pinned} if best else start
    space = make_space(block, sweeps, config, set(pinned))
    base = space.nearest(config)
    carried = []
    if best:
        old_period = {T_PERIOD: best[T_PERIOD], **pinned}
        carried = [base, space.nearest(config | old_period), space.nearest(start)]
    return BlockStart(number, space, base, carried)


def filled(schedule: Sequence[Block], n_frames: int) -> list[Block]:
    """The blocks that so many frames fill; the first that they do not fill takes them all, and is the last."""
    full = list(itertools.takewhile(lambda block: block.n_training_frames <= n_frames, schedule))
    if len(full) < len(schedule) and n_frames not in [block.n_training_frames for block in full]:
        full.append(dataclasses.replace(schedule[len(full)], n_training_frames=n_frames))
    return full


def start_config(cfg: Config, block: Block) -> dict[str, Any]:
    """Where a sweep of a block's frames and steps begins: the composed config, and what `search_space` says for what
    was left at its default."""
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
    """`always`, with what replaces it from a number of frames on, the larger numbers last."""
    values = dict(always)
    for frames in sorted(later):
        if frames <= n_training_frames:
            values |= later[frames]
    return values
