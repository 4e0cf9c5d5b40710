"""The tree of mutations of a block, one row a trial, children below their parent."""

from __future__ import annotations

import math
from collections.abc import Iterator

from optuna.trial import TrialState

from siren_sweep.search.tree import Node, visits
from siren_sweep.study.records import Trial
from siren_sweep.views.report.markup import Markup, element, joined
from siren_sweep.views.report.scale import CLASSES, colour, shown_r2
from siren_sweep.views.report.view import ReportedBlock, state_of
from siren_sweep.views.ucb import ranking

_ROW, _INDENT, _LEFT, _RADIUS = 38, 26, 14, 12
_LETTER = 8.2  # pixels, about, of the page's bold font at this size


def tree_view(block: ReportedBlock) -> Markup:
    """An SVG: circles by visits, filled by R2's class, the path to the best trial drawn strong."""
    nodes = [Node(trial.number, trial.plan.parent, trial.finite_value) for trial in block.trials]
    visited = visits(nodes)
    ucb = {score.id: score.ucb for score in ranking(nodes, block.settings)}
    rows = {trial.number: (row, depth) for row, (trial, depth) in enumerate(_rows(block.trials))}
    strong = block.best_path
    drawn = [_edge(trial, rows, strong) for trial in sorted(block.trials, key=lambda trial: trial.number in strong)]
    width = 0.0
    for trial in block.trials:
        details = [f"{visited[trial.number]} visit{'s' if visited[trial.number] > 1 else ''}"]
        if trial.number in ucb:
            details.append(f"UCB {ucb[trial.number]:.2f}")
        row, depth = rows[trial.number]
        x, y = _LEFT + _INDENT * depth, _ROW * (row + 0.5)
        radius = min(_RADIUS, 4.5 + 2.2 * math.sqrt(visited[trial.number]))
        first, second = _label(trial), ", ".join([_result(trial), *details])
        kind = "best" if trial is block.best else "path" if trial.number in strong else None
        drawn += [_circle(trial, x, y, radius, kind), _texts(trial.number, first, second, x + 20, y, kind)]
        width = max(width, x + 36 + _LETTER * max(len(first) + 5, 0.9 * len(second)))
    title = element("title", f"Tree of block {block.number}; {_told_path(block)}")
    size = {"width": round(width), "height": _ROW * len(block.trials)}
    view = f"0 0 {size['width']} {size['height']}"
    return element("svg", title, *drawn, role="img", class_="tree", viewBox=view, **size)


def legend() -> Markup:
    """What the tree's marks mean."""
    entries = [("fill", shade, f"R² {name}") for name, shade in CLASSES]
    swatches = [joined(_swatch("var(--ink)", shade), f" {text}") for _, shade, text in entries]
    swatches += [joined(_swatch("var(--muted)", "none", "3 2"), " pruned: pale, broken outline")]
    swatches += [joined(_swatch("var(--bad)", "none"), " failed, or not told yet: empty")]
    return element("ul", *(element("li", swatch) for swatch in swatches), class_="legend")


def _swatch(stroke: str, fill: str, dashes: str | None = None) -> Markup:
    circle = element("circle", cx=8, cy=8, r=6, stroke=stroke, fill=fill, stroke_width=1.5, stroke_dasharray=dashes)
    return element("svg", circle, width=16, height=16, aria_hidden="true")


def _rows(trials: list[Trial]) -> Iterator[tuple[Trial, int]]:
    """Depth first, children in the order of their numbers; a parent that is not here makes a root."""
    known = {trial.number for trial in trials}
    children: dict[int | None, list[Trial]] = {}
    for trial in trials:
        parent = trial.plan.parent
        children.setdefault(parent if parent in known and parent != trial.number else None, []).append(trial)
    waiting = [(trial, 0) for trial in reversed(children.get(None, []))]
    while waiting:
        trial, depth = waiting.pop()
        yield trial, depth
        waiting += [(child, depth + 1) for child in reversed(children.get(trial.number, []))]


def _edge(trial: Trial, rows: dict[int, tuple[int, int]], path: set[int]) -> Markup:
    parent = trial.plan.parent
    if parent not in rows:
        return Markup("")
    (row, depth), (parent_row, parent_depth) = rows[trial.number], rows[parent]
    x, y = _LEFT + _INDENT * parent_depth, _ROW * (parent_row + 0.5)
    line = f"M{x} {y}V{_ROW * (row + 0.5) - 8}q0 8 8 8H{_LEFT + _INDENT * depth}"
    return element("path", d=line, class_="edge path" if trial.number in path else "edge")


def _circle(trial: Trial, x: float, y: float, radius: float, kind: str | None) -> Markup:
    value = trial.finite_value
    classes = " ".join(filter(None, ("node", kind, state_of(trial))))
    fill = "var(--paper)" if value is None else colour(value)
    return element("circle", cx=x, cy=y, r=f"{radius:.1f}", fill=fill, class_=classes)


def _texts(number: int, first: str, second: str, x: float, y: float, kind: str | None) -> Markup:
    upper = element("text", element("tspan", number, class_="number"), f"  {first}", x=x, y=y - 2, class_=kind)
    return joined(upper, element("text", second, x=x, y=y + 13, class_="details"))


def _label(trial: Trial) -> str:
    mutation = str(trial.plan.mutation).replace("->", "→")
    return mutation or f"root ({trial.plan.strategy or 'start'})"


def _result(trial: Trial) -> str:
    value = trial.finite_value
    return (
        state_of(trial)
        if value is None
        else f"R² {shown_r2(value)}" + (" (pruned)" if trial.state is TrialState.PRUNED else "")
    )


def _told_path(block: ReportedBlock) -> str:
    steps = " to ".join(f"trial {number}" for number in sorted(block.best_path))
    return f"path to the best: {steps}" if steps else "no trial has finished"
