"""Names that the format of the analysis log fixes: its parameters' short names, and its marker of a block's end."""

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
OLD_R2 = "squared correlation (of the old loop)"  # final_r2 of such a log: Pearson's, on 500 frames
BLOCK_END = ">>> BLOCK END <<<"
# The parameters of a `Config:` line, by short name and in order. Others follow them where they are set.
CONFIG = {
    PARAMETERS[name].short: name for name in (HIDDEN_DIM, N_LAYERS, OMEGA, RATE, BATCH_SIZE, T_PERIOD, TOTAL_STEPS)
}
