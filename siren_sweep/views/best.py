"""What is said of the best config of a block: in `best.json`, in its files, in data frames and in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from siren_sweep.config.schema import METRICS, SAMPLE_NAMES
from siren_sweep.paths import trial_folder
from siren_sweep.study.studies import Winner
from siren_sweep.views.blocks import BlockView

PICTURES = (".png", ".svg", ".pdf", ".mp4", ".webp")  # that an export writes


def best_entry(block: BlockView, best: Winner) -> dict[str, Any]:
    """What `best.json` holds of a block and its winner; with windows also what their sample had promised, and other
    seeds on it."""
    metrics = best.run.metrics
    sampled = {name: value for name, value in best.searched.metrics.items() if name in SAMPLE_NAMES.values()}
    jump = {"border_jump": metrics["border_jump"]} if "border_jump" in metrics else {}
    return {
        "block": block.number,
        "n_training_frames": block.n_frames,
        **{name: metrics.get(name) for name in METRICS},
        **jump,
        **(sampled if best.searched.sampled else {}),
        "trial": best.searched.number,
        "parameters": dict(best.run.plan.config),
        "seed": best.run.plan.seed,
        "data_hash": block.block.data_hash,
        "validation_r2": [run.value for run in block.finished_seeds],
    }


def provenance(block: BlockView, best: Winner, said: Mapping[str, Any]) -> dict[str, Any]:
    """What a file of the block's winner says of where it comes from; `said` is what its run said of itself."""
    return {
        **said,
        "data_hash": block.block.data_hash,
        "other_seeds": [run.plan.seed for run in block.finished_seeds],
        "command": block.block.command or "unknown",
        "trial": trial_folder(best.study, best.run.number),
    }
