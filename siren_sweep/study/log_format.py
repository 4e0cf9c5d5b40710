"""What the field's analysis log fixes: its short names, and its marker of a block's end."""

from __future__ import annotations

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
