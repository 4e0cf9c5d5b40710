"""HTML from plain values: text is escaped unless it is markup already."""

from __future__ import annotations

import html
from importlib.resources import files


class Markup(str):
    """Text that is HTML already and goes into a page as it is."""

    __slots__ = ()


def resource(name: str) -> str:
    """A file of the report's own: its template, its style."""
    return files("siren_sweep.views.report").joinpath(name).read_text("utf-8")


def element(name: str, *children: object, **attributes: object) -> Markup:
    """`<name ...>children</name>`; an attribute's `_` stands for `-`, and `class_` for `class`; None leaves one out."""
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    opening = "".join(f' {key}="{html.escape(str(value))}"' for key, value in given.items())
    return Markup(f"<{name}{opening}>{joined(*children)}</{name}>")


def image(source: str, alt: str, class_: str | None = None) -> Markup:
    """An `<img>` of a data URI."""
    kind = f' class="{class_}"' if class_ else ""
    return Markup(f'<img{kind} src="{source}" alt="{html.escape(alt)}">')


def joined(*children: object) -> Markup:
    """Children one after the other, plain ones escaped."""
    return Markup("".join(child if isinstance(child, Markup) else html.escape(str(child)) for child in children))


def scrolling(name: str, content: Markup) -> Markup:
    """A named region that scrolls sideways where the page is too narrow, also by keyboard."""
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=name)
