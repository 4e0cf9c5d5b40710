"""Compares sweeps in a terminal: for each number of frames, what each sweep reached, and at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

import pandas as pd
from rich.markup import escape
from rich.table import Column, Table

from siren_sweep.config.parameters import PARAMETERS
from siren_sweep.search.proposal import shown
from siren_sweep.study.log_format import OLD_R2
from siren_sweep.train.report import shown_r2
from siren_sweep.views.frames import compare

_NOTHING = "-"


def comparison_table(folders: Sequence[str | PathLike[str]]) -> Table:
    """A table with a column for each sweep. Of the parameters it has those in which the best configs differ.

    `cost` is relative to the sweep that took the least arithmetic. "R2 at equal cost" is the best R2 that a sweep had
    reached at that least cost. Raises OutputError where a folder holds no sweep.
    """
    found = compare(folders)
    names = list(dict.fromkeys(found.sweep))
    table = Table("frames", "", *(Column(escape(name), overflow="fold") for name in names), show_edge=False)
    for n_frames, rows in found.groupby("n_training_frames"):
        own = {row.sweep: row for row in rows.itertuples(index=False)}
        for index, (what, cells) in enumerate(comparison_lines([own.get(name) for name in names]).items()):
            table.add_row(str(n_frames) if index == 0 else "", what, *cells)
        table.add_section()
    return table


def comparison_lines(rows: Sequence[object]) -> dict[str, list[str]]:
    """The table's lines by name, with a cell for each sweep.

    `rows` are the sweeps' rows of `compare` for one number of frames; None for a sweep that has no such block.
    """
    costs = [float(getattr(row, "cost", 0)) for row in rows]
    least = min((cost for cost in costs if cost > 0), default=1.0)
    found = {
        "proposer": [_text(row, "proposer") for row in rows],
        "R2": [_r2(row, "final_r2") for row in rows],
        "R2 at equal cost": [_r2(row, "r2_at_equal_cost") for row in rows],
        "cost": [f"{cost / least:.2f}" if cost > 0 else _NOTHING for cost in costs],
        "trials": [_cell(row, "n_trials") for row in rows],
        "minutes of training": [_cell(row, "minutes", 3) for row in rows],
    }
    for item in PARAMETERS.values():
        values = [_cell(row, item.leaf) for row in rows]
        if len(set(values) - {_NOTHING}) > 1:
            found[item.leaf] = values
    return found


def _text(row: object, name: str) -> str:
    value = getattr(row, name, None)
    return value if isinstance(value, str) else _NOTHING


def _r2(row: object, name: str) -> str:
    value = getattr(row, name, None)
    if value is None or pd.isna(value):
        return _NOTHING
    return shown_r2(value) + (f" {OLD_R2}" if getattr(row, "measure", "") == OLD_R2 else "")


def _cell(row: object, name: str, digits: int = 6) -> str:
    value = getattr(row, name, None)
    if value is None or pd.isna(value):
        return _NOTHING
    return f"{value:.{digits}g}" if isinstance(value, float) else shown(value)
