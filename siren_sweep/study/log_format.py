"""What the field's analysis log fixes: its short names, its marker of a block's end, and that an entry is lines."""

from __future__ import annotations

import re
from typing import Any

BLOCK_END = ">>> BLOCK END <<<"
# The record's short names, in the order of its `Config:` line.
CONFIG = {
    "hidden_dim": "graph_model.hidden_dim_nnr_f",
    "n_layers": "graph_model.n_layers_nnr_f",
    "omega": "graph_model.omega_f",
    "lr": "training.learning_rate_NNR_f",
    "batch_size": "training.inr_batch_size",
    "T_period": "graph_model.nnr_f_T_period",
    "total_steps": "claude.total_steps",
}


def one_line(text: Any, limit: int = 500) -> str:
    """Text without line breaks or control characters, in at most `limit` characters."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
