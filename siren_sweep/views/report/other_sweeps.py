"""Compares a sweep with other sweeps on the same data, such as an agent's with the tree's: R2 by the search's cost."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.express as px
import plotly.graph_objects as go

from siren_sweep.errors import SweepError
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.study.studies import STORAGE_URL_VARIABLE
from siren_sweep.text import one_line
from siren_sweep.train.report import shown_r2
from siren_sweep.views.comparison import comparison_lines
from siren_sweep.views.frames import Sweep, compared
from siren_sweep.views.report.error_scale import error
from siren_sweep.views.report.figures import with_error_axis

_MOST_READ, _MOST_SHOWN = 32, 5  # other sweeps, the newest first
_COLOURS = px.colors.qualitative.Safe


@dataclass(frozen=True)
class Compared:
    """A comparison of sweeps (names) on the same frames: `lines` has a cell for each sweep, `chart` a curve."""

    n_frames: int
    sweeps: Sequence[str]
    lines: Mapping[str, Sequence[str]]
    chart: go.Figure


@dataclass(frozen=True)
class OtherSweeps:
    """A comparison for each number of frames; `unread` names the sweeps that cannot be read, and why."""

    compared: Sequence[Compared] = ()
    unread: Sequence[str] = ()


def compare_with_others(paths: SweepPaths, outputs: OutputPaths, hashes: Mapping[int, str]) -> OtherSweeps:
    """Compare the sweep at `paths` with those in the same outputs folder that were trained on the same data.

    `hashes` are the data's hashes by number of frames. Sweeps whose studies are on a server are not found.
    """
    if STORAGE_URL_VARIABLE in os.environ:  # `Sweep` would open this storage in place of theirs
        return OtherSweeps()
    found, unread = list[Sweep](), list[str]()
    databases = [file for file in outputs.root.glob("*/study.db") if file != paths.study_db]
    for file in sorted(databases, key=lambda file: -file.stat().st_mtime)[:_MOST_READ]:
        try:
            if len(found) < _MOST_SHOWN and (sweep := Sweep(file.parent).of_data(hashes)):
                found.append(sweep)
        except SweepError as why:
            unread.append(f"{file.parent.name} ({one_line(why, 200)})")
    own = Sweep(paths.root).of_data(hashes) if found else None
    return OtherSweeps(_compared([own, *found]) if own else (), unread)


def _compared(sweeps: Sequence[Sweep]) -> list[Compared]:
    table, names = compared(sweeps), [sweep.name for sweep in sweeps]
    together = []
    for n_frames, rows in table.groupby("n_training_frames"):
        own = {row.sweep: row for row in rows.itertuples(index=False)}
        if names[0] in own and len(own) > 1:
            curves = {
                sweep.name: [point for block in sweep.blocks if block.n_training_frames == n_frames
                             for point in sweep.best_by_cost(block.number)]
                for sweep in sweeps if sweep.name in own
            }  # fmt: skip
            least = min((cost for cost in rows.cost if cost > 0), default=1.0)
            together.append(
                Compared(int(n_frames), list(own), comparison_lines(list(own.values())), _chart(curves, least))
            )
    return together


def _chart(curves: Mapping[str, Sequence[tuple[float, float]]], least: float) -> go.Figure:
    """1 - R2 of the best trial so far by cost in units of `least`, one curve for each sweep."""
    figure = go.Figure()
    for index, (name, points) in enumerate(curves.items()):
        figure.add_scatter(
            x=[cost / least for cost, _ in points],
            y=[error(r2) for _, r2 in points],
            text=[f"R² {shown_r2(r2)}" for _, r2 in points],
            mode="lines+markers",
            name=name,
            line={"shape": "hv", "width": 3 if index == 0 else 1.8, "color": _COLOURS[index % len(_COLOURS)]},
            marker={"size": 5},
            hovertemplate="%{x:.2f}: %{text}<extra></extra>",
        )
    figure.add_vline(1, line={"color": "#8a939b", "width": 1, "dash": "dot"})
    figure.update_xaxes(title="cost of the search", rangemode="tozero")
    return with_error_axis(figure)
