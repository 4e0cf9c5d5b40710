"""Which settings of an existing sweep may change: those that extend it, and how many trials run at once.

Settings that another version of the code has added or removed may differ too.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Mapping
from typing import Any

from optuna.study import Study

from siren_sweep.config.schema import Config
from siren_sweep.errors import SweepStateError
from siren_sweep.study.stored import has_settings, mark_open, read_block, write_settings
from siren_sweep.sweep.instructions import Instructions

_N_TRIALS = "claude.n_iter_block"
_RAISED, _FREE = (_N_TRIALS, "claude.time_budget_min"), ("claude.n_parallel", "cluster.n_batches")
_INDEX = re.compile(r"\[\d+\]")
_BLOCK = re.compile(r"blocks\.schedule\[(\d+)\]\..*")


def accepted(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> list[str]:
    """A line for each setting that changes. Raises SweepStateError where a change is not allowed in the same sweep."""
    differing = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    refused = [
        _said(key, before, now)
        for key in differing
        if not _adds(key, before, now) and not _of_the_code(key, before, now)
    ]
    if refused:
        lines = "\n".join(f"  - {line}" for line in refused)
        raise SweepStateError(
            f"the sweep {name!r} exists with another config; give this one another sweep.name, or the same config "
            f"(of which {' and '.join(_RAISED)} may rise, {' and '.join(_FREE)} may change, and blocks.schedule may "
            f"grow at its end):\n{lines}"
        )
    return [_said(key, before, now) for key in differing]


def take_up(studies: Mapping[int, Study], now: Mapping[str, Any], asked: Instructions) -> None:
    """Store the changed settings, and open the blocks again that now have more trials.

    The first block's settings are written last, so that all of it is repeated where it was interrupted.
    """
    for number in sorted(studies, reverse=True):
        study = studies[number]
        if not has_settings(study):  # its creation was interrupted; `create` completes it with the new ones
            continue
        before = read_block(study).settings
        if now[_N_TRIALS] > before.get(_N_TRIALS, 0):
            if asked.stop_block(number):
                print(f"block {number} was stopped by user_input.md, and stays as it is", file=sys.stderr)
            else:
                mark_open(study)
        write_settings(study, now)


def _adds(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    if key in _RAISED and key in before and key in now:
        return bool(now[key] > before[key])
    if place := _BLOCK.fullmatch(key):
        return key in now and int(place[1]) > _n_blocks(before)
    return key in _FREE


def _of_the_code(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a setting came in, or was left, since the sweep was started: of these every start has all."""
    group = key.partition(".")[0]
    if group == "search_space" or not dataclasses.is_dataclass(getattr(Config(), group, None)):
        return False  # a person's own names
    had, has = ({_INDEX.sub("", one) for one in settings} for settings in (before, now))
    return _INDEX.sub("", key) not in had & has


def _n_blocks(settings: Mapping[str, Any]) -> int:
    return max((int(place[1]) for key in settings if (place := _BLOCK.fullmatch(key))), default=0)


def _said(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if _of_the_code(key, before, now):
        return f"{key}, new: {now[key]!r}" if key in now else f"{key}, no longer compared"
    return f"{key} was {before.get(key)!r}, now {now.get(key)!r}"
