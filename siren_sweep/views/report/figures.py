"""The report's charts of the trials, as plotly figures. R2 is shown as log10(1 - R2) on every axis."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from siren_sweep.search.tree import Node, visits
from siren_sweep.study.records import Trial
from siren_sweep.train.report import shown_r2
from siren_sweep.views.blocks import BlockView, TrialView
from siren_sweep.views.grades import EXCELLENT
from siren_sweep.views.report.error_scale import error, log_error
from siren_sweep.views.report.trial_facts import best_and_spread, curve_of, reason_of, state_of, training_intervals
from siren_sweep.views.sampled import part
from siren_sweep.views.ucb import ranking

# Colours that can be told apart on white, on black and in grey, in the order of the legend.
STATES = {
    "best": "#0b7fd1",
    "finished": "#7f8c99",
    "pruned": "#c08a2b",
    "failed": "#c0402b",
    "running": "#6b5bd2",
    "paused": "#3f9a7a",
}
SYMBOLS = {
    "best": "star",
    "finished": "circle",
    "pruned": "x",
    "failed": "line-ns-open",
    "running": "triangle-right",
    "paused": "line-ew-open",
}
SEEDS = "#0b7fd1"
TRACES = ("#8a939b", "#cf3f55")  # truth, prediction
_LETTER = 0.01  # width of a letter, as a share of the width of the narrowest tree
_FEWEST_LEVELS = 10  # the least width of a tree, in levels


def r2_by_block(blocks: Sequence[BlockView]) -> go.Figure:
    """1 - R2 of every trial and of every run with another seed, by iteration, with the blocks side by side."""
    figure = go.Figure()
    for state, colour in STATES.items():
        shown_ = [(block, trial) for block in blocks for trial in block.trials if _state(block, trial) == state]
        valued = [(block, trial) for block, trial in shown_ if trial.last_r2 is not None]
        figure.add_scatter(
            x=[trial.plan.iteration for _, trial in valued],
            y=[error(trial.last_r2 or 0.0) for _, trial in valued],
            text=[trial_words(block, trial) for block, trial in valued],
            mode="markers",
            name=state,
            marker={"color": colour, "symbol": SYMBOLS[state], "size": 11 if state == "best" else 8},
            hovertemplate="%{text}<extra></extra>",
        )
    seeds = [
        (block.best.plan.iteration, value, f"seed {trial.plan.seed}: R² {shown_r2(value)} {trial.part}".strip())
        for block in blocks
        for trial in block.seeds
        if block.best and (value := trial.finite_value) is not None
    ]
    figure.add_scatter(
        x=[iteration for iteration, _, _ in seeds],
        y=[error(value) for _, value, _ in seeds],
        text=[words for _, _, words in seeds],
        mode="markers",
        name="other seeds",
        marker={"color": SEEDS, "symbol": "diamond-open", "size": 9},
        hovertemplate="%{text}<extra></extra>",
    )
    with_error_axis(figure)
    _mark_blocks(figure, blocks)
    figure.update_xaxes(title="iteration (above: block, frames)")
    return figure


def _mark_blocks(figure: go.Figure, blocks: Iterable[BlockView]) -> None:
    """Draw a line where each block begins, and write its number and its frames into a strip below the marks.

    The frames stand in two rows by turns, since they are long.
    """
    strip = 0.17  # of the height
    for block in blocks:
        if numbers := [trial.plan.iteration for trial in block.trials]:
            begin, line = min(numbers) - 0.5, {"color": "#8a939b", "width": 1}
            figure.add_shape(type="line", x0=begin, x1=begin, y0=0, y1=1, yref="paper", line=line)
            place = {"x": (min(numbers) + max(numbers)) / 2, "y": strip, "yref": "paper", "yanchor": "top"}
            rows = "<br>" * (2 - block.number % 2)
            figure.add_annotation(text=f"{block.number}{rows}{block.n_frames}", showarrow=False, font_size=11, **place)
    figure.update_yaxes(domain=[strip, 1])
    figure.update_xaxes(anchor="free", position=0)


def learning_curves(block: BlockView) -> go.Figure:
    """1 - R2 of trials of a block by training step, at their reports.

    A mark shows the last report of a trial that did not finish, and each report at which a trial paused and went on.
    """
    figure = go.Figure()
    named = set()
    curves = [trial for trial in block.trials if curve_of(trial)]
    drawn = {trial.number for trial in best_and_spread(_best_first(block, curves))}
    for trial in sorted(curves, key=lambda trial: trial is block.best):
        if trial.number not in drawn:
            continue
        points, state = curve_of(trial), _state(block, trial)
        end = "circle" if state in ("best", "finished") else SYMBOLS[state]
        paused = {stint.fraction for stint in trial.stints}
        at = [report.fraction in paused for report in trial.reports if math.isfinite(report.r2)]
        figure.add_scatter(
            x=[step for step, _ in points],
            y=[error(r2) for _, r2 in points],
            text=[f"R² {shown_r2(r2)}" for _, r2 in points],
            mode="lines+markers",
            name=state,
            legendgroup=state,
            showlegend=state not in named,
            line={"color": STATES[state], "width": 3 if state == "best" else 1.3},
            marker={
                "symbol": [SYMBOLS["paused"] if here else end for here in at],
                "size": [8 if here else 0 for here in at[:-1]] + [8 if at[-1] or end != "circle" else 0],
            },
            hovertemplate=f"{trial_words(block, trial)}<br>step %{{x}}: %{{text}}<extra></extra>",
        )
        named.add(state)
    figure.update_xaxes(title="training step")
    return with_error_axis(figure)


def tree(block: BlockView) -> go.Figure:
    """The tree of mutations, with one trial in a row, children to the right of and below their parent.

    The path to the best trial is highlighted. Of many trials it has those of `best_and_spread` and their ancestors.
    """
    nodes = [Node(trial.number, trial.plan.parent, trial.finite_value) for trial in block.trials]
    visited, scores = visits(nodes), {score.id: score.ucb for score in ranking(nodes, block.settings)}
    drawn = block.with_ancestors(trial.number for trial in best_and_spread(_best_first(block, block.trials)))
    trials = [trial for trial in block.trials if trial.number in drawn]
    places = dict(_places(trials))
    figure = go.Figure()
    path = block.best_path
    for strong in (False, True):
        own = [trial for trial in trials if (trial.number in path) == strong]
        x, y = _branches(own, places)
        line = {"color": STATES["best"] if strong else "#98a4ae", "width": 3 if strong else 1.2}
        name = "path to the best"
        figure.add_scatter(x=x, y=y, mode="lines", line=line, name=name, showlegend=strong, hoverinfo="skip")
    for state in STATES:
        own = [trial for trial in trials if _state(block, trial) == state]
        words = [
            f"{trial_words(block, trial)}<br>{visited[trial.number]} visits"
            + (f", UCB {scores[trial.number]:.2f}" if trial.number in scores else "")
            for trial in own
        ]
        figure.add_scatter(
            x=[places[trial.number][0] for trial in own],
            y=[places[trial.number][1] for trial in own],
            text=[_label(trial) for trial in own],
            customdata=words,
            mode="markers+text",
            textposition="middle right",
            name=state,
            marker={
                "color": STATES[state],
                "symbol": SYMBOLS[state],
                "size": [min(22, 7 + 3 * visited[trial.number] ** 0.5) for trial in own],
            },
            hovertemplate="%{customdata}<extra></extra>",
        )
    # The tree is so many levels wide that each mark has room for its label on its right.
    levels = [places[trial.number][0] / (1 - _LETTER * len(_label(trial))) for trial in trials]
    figure.update_xaxes(visible=False, range=[-0.3, max([_FEWEST_LEVELS, *levels]) + 1])
    figure.update_traces(cliponaxis=False)
    figure.update_yaxes(visible=False, range=[len(places), -1])
    figure.update_layout(height=110 + 24 * max(len(places) + 1, 2))
    return figure


def timeline(block: BlockView) -> go.Figure:
    """When each slot trained which trial. A trial that paused has several bars."""
    rows = [
        {"slot": f"slot {slot}", "begin": begin, "end": end, "state": _state(block, trial)}
        | {"trial": trial_words(block, trial)}
        for trial in block.trials
        for slot, begin, end in training_intervals(trial)
    ]
    frame = pd.DataFrame(rows, columns=["slot", "begin", "end", "state", "trial"])
    figure = px.timeline(
        frame, x_start="begin", x_end="end", y="slot", color="state", color_discrete_map=STATES, custom_data=["trial"]
    )
    figure.update_traces(hovertemplate="%{customdata[0]}<br>%{base|%H:%M:%S} to %{x|%H:%M:%S}<extra></extra>")
    figure.update_traces(marker_line={"color": "#ffffff", "width": 1})
    used = {slot for trial in block.trials for slot, _, _ in training_intervals(trial)}
    names = [f"slot {slot}" for slot in sorted(used)]
    figure.update_yaxes(title="", autorange="reversed", categoryorder="array", categoryarray=names)
    figure.update_layout(height=150 + 34 * max(1, frame.slot.nunique()), legend_title_text="")
    return figure


def traces(frames: Sequence[int], series: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> go.Figure:
    """Luminance over time; `series` has truth and prediction, each (n_frames,), by a column's position as text."""
    figure = make_subplots(len(series), 1, shared_xaxes=True, vertical_spacing=0.06)
    for row, (place, pair) in enumerate(series.items(), 1):
        span = float(np.ptp(np.array(pair))) or 1.0
        decimals = 4 - math.floor(math.log10(span))  # 1e-4 of the range, so that the page stays small
        for name, values, colour, width in zip(("truth", "prediction"), pair, TRACES, (4, 1.5), strict=True):
            figure.add_scatter(
                x=list(frames),
                y=[round(float(value), decimals) for value in values],
                mode="lines",
                name=name,
                legendgroup=name,
                showlegend=row == 1,
                line={"color": colour, "width": width},
                hovertemplate=f"frame %{{x}}: {name} %{{y}}<extra></extra>",
                row=row,
                col=1,
            )
        figure.update_yaxes(title=f"({place})", row=row, col=1)
    figure.update_xaxes(exponentformat="none")  # a frame is a whole number, not 31.9k
    figure.update_xaxes(title="frame", row=len(series), col=1)
    figure.update_layout(height=440)
    return figure


def trial_words(block: BlockView, trial: Trial) -> str:
    """The hover text of a trial, as HTML for plotly."""
    lines = [f"block {block.number}, trial {trial.number}: {state_of(trial)}"]
    if trial.last_r2 is not None:
        lines.append(f"{block.r2_name} {shown_r2(trial.last_r2)} {part(trial, block.settings)}".strip())
    lines.append(trial.plan.mutation.replace("->", "→"))
    lines.append(reason_of(trial))
    return "<br>".join(html.escape(line[:160]) for line in lines if line)


def _best_first(block: BlockView, trials: Iterable[TrialView]) -> list[TrialView]:
    return sorted(trials, key=lambda trial: (trial is not block.best, -(trial.last_r2 or 0.0)))


def _state(block: BlockView, trial: Trial) -> str:
    known = "best" if trial is block.best else state_of(trial)
    return known if known in STATES else "running"


def with_error_axis(figure: go.Figure) -> go.Figure:
    """Make the y axis one of 1 - R2, logarithmic, with better values higher, and a line at R2 = 0.95."""
    line = {"color": "#c0402b", "width": 1, "dash": "dash"}
    figure.add_hline(1 - EXCELLENT, line=line)
    place = {"x": 1, "xref": "paper", "xanchor": "left", "y": log_error(EXCELLENT), "yanchor": "middle"}
    figure.add_annotation(text=f"R²<br>{EXCELLENT}", showarrow=False, font_size=11, **place)
    figure.update_layout(margin_r=40)
    values = [value for trace in figure.data for value in trace.y if value is not None] + [1 - EXCELLENT]
    low, high = (log_error(1 - end) for end in (min(values), max(values)))
    pad = 0.08 * max(high - low, 1)
    figure.update_yaxes(
        title="1 - R² (log₁₀)", type="log", range=[min(high, 1.5) + pad, low - pad], exponentformat="power", dtick=1
    )
    return figure


def _branches(
    trials: Iterable[Trial], places: Mapping[int, tuple[float, float]]
) -> tuple[list[float | None], list[float | None]]:
    """x and y of the lines from parents to children, each down and to the right; None separates two lines."""
    x: list[float | None] = []
    y: list[float | None] = []
    for trial in trials:
        parent = trial.plan.parent
        if parent is not None and parent in places:
            (depth, row), (over, above) = places[trial.number], places[parent]
            x += (over, over, depth, None)
            y += (above, row, row, None)
    return x, y


def _places(trials: Sequence[Trial]) -> Iterable[tuple[int, tuple[float, float]]]:
    """The number and (depth, row) of each trial, depth first. A trial whose parent is not among them is a root."""
    known = {trial.number for trial in trials}
    children: dict[int | None, list[Trial]] = {}
    for trial in trials:
        parent = trial.plan.parent
        children.setdefault(parent if parent in known and parent != trial.number else None, []).append(trial)
    waiting, row = [(trial, 0) for trial in reversed(children.get(None, []))], 0
    while waiting:
        trial, depth = waiting.pop()
        yield trial.number, (depth, row)
        row += 1
        waiting += [(child, depth + 1) for child in reversed(children.get(trial.number, []))]


def _label(trial: Trial) -> str:
    """The label of a trial, such as `12  omega_f: 20 → 40`, as HTML for plotly."""
    what = trial.plan.mutation.replace("->", "→") or f"root ({trial.plan.strategy or 'start'})"
    return f"  <b>{trial.number}</b>  {html.escape(what[:60])}"
