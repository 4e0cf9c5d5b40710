"""Describes the best config of a block, for `best.json`, the exported files, data frames and the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from siren_sweep.config.schema import METRICS, SAMPLE_NAMES
from siren_sweep.paths import trial_folder
from siren_sweep.study.studies import Winner
from siren_sweep.views.blocks import BlockView

PICTURES = (".png", ".svg", ".pdf", ".mp4", ".webp")  # endings of the pictures and films that an export writes


def best_entry(block: BlockView, best: Winner) -> dict[str, Any]:
    """The entry of a block's winner in `best.json`.

    Where the winner's trial trained a sample of the windows, the entry also has the metrics of that sample.
    `validation_r2` are the R2 of runs of its config with other seeds.
    """
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
    """The provenance that is written into each file of the block's winner; `said` is the one that its run stored."""
    return {
        **said,
        "data_hash": block.block.data_hash,
        "other_seeds": [run.plan.seed for run in block.finished_seeds],
        "command": block.block.command or "unknown",
        "trial": trial_folder(best.study, best.run.number),
    }
