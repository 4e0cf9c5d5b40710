"""Text for a person's eyes: in one line, whatever stands in it, or in lines that fit a terminal."""

from __future__ import annotations

import re
import textwrap
from typing import Any


def one_line(text: Any, limit: int = 500) -> str:
    """Text without line breaks or control characters, in at most `limit` characters."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def wrapped(line: str, width: int, indent: str = "    ") -> list[str]:
    """A line in lines of at most `width` characters, or 20, cut between words alone; `indent` begins all but the
    first."""
    own = textwrap.TextWrapper(max(20, width), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return own.wrap(line) or [""]
