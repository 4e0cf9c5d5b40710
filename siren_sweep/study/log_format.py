"""What the field's analysis log fixes: its short names, its marker of a block's end, and that an entry is lines."""

from __future__ import annotations

import re
from typing import Any

from siren_sweep.config.parameters import (
    BATCH_SIZE,
    HIDDEN_DIM,
    N_LAYERS,
    OMEGA,
    PARAMETERS,
    RATE,
    T_PERIOD,
    TOTAL_STEPS,
)

IMPORTED = "imported"  # the strategy of a trial of an imported log
OLD_R2 = "squared correlation (of the old loop)"  # what such a log calls final_r2: Pearson's, on 500 frames
BLOCK_END = ">>> BLOCK END <<<"
# The format's parameters by their short names, in the order of its `Config:` line; others follow where they are set.
CONFIG = {
    PARAMETERS[name].short: name for name in (HIDDEN_DIM, N_LAYERS, OMEGA, RATE, BATCH_SIZE, T_PERIOD, TOTAL_STEPS)
}


def one_line(text: Any, limit: int = 500) -> str:
    """Text without line breaks or control characters, in at most `limit` characters."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
