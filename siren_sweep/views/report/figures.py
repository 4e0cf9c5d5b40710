"""Matplotlib figures as inline SVG whose colours follow the page, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from siren_sweep.train.pictures import PREDICTION, TRUTH
from siren_sweep.views.report.markup import Markup, element, resource

# What a figure is drawn in, and the page's own colour that takes its place.
INK, MUTED, GRID, ACCENT, BAD, SOFT, PAPER = "#010101", "#707071", "#d0d0d1", "#0a6ebd", "#b4451f", "#9aa7b2", "#fefefe"
_VARIABLES = {
    INK: "ink",
    TRUTH: "ink",
    PREDICTION: "prediction",
    MUTED: "muted",
    GRID: "grid",
    ACCENT: "accent",
    BAD: "bad",
    SOFT: "soft",
    PAPER: "paper",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 11,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 10,
    "savefig.facecolor": "none",
}


@contextmanager
def styled() -> Iterator[None]:
    """Figures made and drawn in here have the report's style."""
    with matplotlib.rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of a size in inches, 72 pixels of the page each at its natural size."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def single_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes and faint horizontal lines."""
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def inline_svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an `<svg>` element; `name`, unique in the page, keeps its inner references apart from others'."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", dpi=144, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = buffer.getvalue()
    for drawn, variable in _VARIABLES.items():
        text = text.replace(drawn, f"var(--{variable})")
    width, height = (round(72 * inches) for inches in figure.get_size_inches())
    body = text[text.index(">", text.index("<svg")) + 1 :].rstrip()
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' id="[a-zA-Z.]+[a-zA-Z0-9]*_\d+"', "", body)  # numbered alike in every figure, referred to by none
    opening = f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return Markup(f"{opening}{element('title', description)}{body}")


def standalone(svg: Markup) -> str:
    """An `<svg>` element of the page as a file of its own, with the page's style."""
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    style = f"<style><![CDATA[{resource('style.css')}:root {{ background: var(--paper); }}]]></style>"
    head, _, body = svg.partition(">")
    return f"{head.replace('<svg', f'<svg {spaces}', 1)}>{style}{body}"


def figure_element(content: Markup, caption: object, class_: str | None = None) -> Markup:
    """Content that scrolls sideways where the page is too narrow for it, with its caption."""
    return element("figure", element("div", content, class_="scroll"), element("figcaption", caption), class_=class_)
