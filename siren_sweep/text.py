"""Text for a person: on one line, or wrapped to the width of a terminal."""

from __future__ import annotations

import re
import textwrap
from typing import Any


def one_line(text: Any, limit: int = 500) -> str:
    """Text without line breaks or control characters, in at most `limit` characters."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def wrapped(line: str, width: int, indent: str = "    ") -> list[str]:
    """A text in lines of at most `width` characters (at least 20), cut only between words.

    `indent` begins every line but the first.
    """
    own = textwrap.TextWrapper(max(20, width), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return own.wrap(line) or [""]
