"""The best config of each block as something that runs: `siren-sweep export SWEEP_FOLDER` makes it again.

Written from the study and the trials' saved files alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optuna.study import Study

from siren_sweep.config.schema import METRICS, SAMPLE_NAMES, TrialConfig
from siren_sweep.config.written import plain, read_config, yaml_text
from siren_sweep.errors import DataError
from siren_sweep.field.dataset import field_of
from siren_sweep.paths import OutputPaths, SweepPaths, replacing
from siren_sweep.study.stored import read_block
from siren_sweep.study.studies import Winner, seed_runs, winner

if TYPE_CHECKING:
    from siren_sweep.train.saved import Description

HEADER = """\
# The best config of block {block} of the sweep {sweep}: final_r2 {r2:.6f} at {frames} frames (trial {trial}).
# python -m siren_sweep --config-dir {folder} --config-name {name}
"""


def export_block(study: Study, validation: Study | None, paths: SweepPaths, outputs: OutputPaths) -> None:
    """Write config, weights, picture and `best.json` for the block's best trial; nothing where none has finished."""
    best = winner(study, validation)
    if best is not None:
        _write_config(study, best, paths)
        _write_weights_and_picture(study, best, paths, outputs)
    entry = [] if best is None else [best_entry(study, best, validation)]
    others = [known for known in _known_entries(paths) if known["block"] != read_block(study).number]
    with replacing(paths.best_json) as file:
        file.write_text(json.dumps(sorted(others + entry, key=lambda known: known["block"]), indent=1) + "\n")


def best_entry(study: Study, best: Winner, validation: Study | None) -> dict[str, Any]:
    """What `best.json` holds of a block; with windows also what their sample had promised, and other seeds on it."""
    metrics, block = best.run.metrics, read_block(study)
    sampled = {name: value for name, value in best.searched.metrics.items() if name in SAMPLE_NAMES.values()}
    jump = {"border_jump": metrics["border_jump"]} if "border_jump" in metrics else {}
    return {
        "block": block.number,
        "n_training_frames": block.n_training_frames,
        **{name: metrics.get(name) for name in METRICS},
        **jump,
        **(sampled if best.searched.sampled else {}),
        "trial": best.searched.number,
        "parameters": dict(best.run.plan.config),
        "seed": best.run.plan.seed,
        "data_hash": block.data_hash,
        "validation_r2": [
            other.value for other in seed_runs(validation) if other.plan.validation_of == best.searched.number
        ],
    }


def _write_config(study: Study, best: Winner, paths: SweepPaths) -> None:
    block = read_block(study)
    values = plain(read_config(paths.trial(best.study, best.run.number).config))
    file = paths.best_file(block.number, ".yaml")
    header = HEADER.format(
        block=block.number,
        sweep=paths.root.name,
        r2=best.final_r2,
        frames=block.n_training_frames,
        trial=best.searched.number,
        folder=json.dumps(str(paths.best)),
        name=file.stem,
    )
    with replacing(file) as temporary:
        temporary.write_text(yaml_text(values, header), encoding="utf-8")


def _write_weights_and_picture(study: Study, best: Winner, paths: SweepPaths, outputs: OutputPaths) -> None:
    import torch
    from safetensors.torch import load_file

    from siren_sweep.train.pictures import prediction_picture
    from siren_sweep.train.saved import described, saved_bytes

    block = read_block(study)
    saved = paths.trial(best.study, best.run.number)
    cfg, weights = read_config(saved.config), load_file(saved.weights)
    description = described(saved.weights) or _description(study, best, cfg, outputs)
    with replacing(paths.best_file(block.number, ".safetensors")) as file:
        file.write_bytes(saved_bytes(weights, description))
    with replacing(paths.best_file(block.number, ".pt")) as file, file.open("wb") as out:
        torch.save(weights, out)
    title = f"block {block.number}: {block.n_training_frames} frames, final R2 {best.final_r2:.4f}"
    prediction_picture(paths.best_file(block.number, ".png"), cfg, weights, field_of(cfg, outputs), title)


def _description(study: Study, best: Winner, cfg: TrialConfig, outputs: OutputPaths) -> Description:
    """Of a run whose weights say nothing of themselves: an older version trained it, which did not say where."""
    from siren_sweep.train.saved import describe

    field, expected = field_of(cfg, outputs), read_block(study).data_hash
    if field.data_hash != expected:
        raise DataError(f"the data at {cfg.dataset.path} must have the hash {expected}, got {field.data_hash}")
    return describe(cfg, field, best.final_r2, {"seed": cfg.training.seed})


def _known_entries(paths: SweepPaths) -> list[dict[str, Any]]:
    try:
        known = json.loads(paths.best_json.read_text())
    except FileNotFoundError:
        return []
    except ValueError:  # a file that somebody edited: every block writes its own entry again
        return []
    assert isinstance(known, list)
    return known


def export_all(
    studies: Mapping[int, Study], validations: Mapping[int, Study], paths: SweepPaths, outputs: OutputPaths
) -> None:
    """Export every block of a sweep, and say what each has."""
    for number, study in studies.items():
        export_block(study, validations.get(number), paths, outputs)
        best = winner(study, validations.get(number))
        print(f"block {number}: " + (f"final_r2 {best.final_r2:.6f}" if best else "no trial has finished"))
