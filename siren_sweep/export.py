"""The best config of each block as something that runs: `python -m siren_sweep.export SWEEP_FOLDER` makes it again.

Written from the study and the trials' saved files alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from optuna.study import Study

from siren_sweep.config import METRICS, SAMPLE_NAMES, trial_config
from siren_sweep.data import field_of
from siren_sweep.errors import OutputError, SweepError
from siren_sweep.paths import OutputPaths, SweepPaths, replacing
from siren_sweep.studies import (
    STORAGE_URL_VARIABLE,
    Winner,
    all_blocks,
    all_validations,
    is_sample,
    metrics_of,
    open_storage,
    seed_runs,
    winner,
)

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
    entry = [] if best is None else [_entry(study, best, validation)]
    others = [known for known in _known_entries(paths) if known["block"] != study.user_attrs["block"]]
    with replacing(paths.best_json) as file:
        file.write_text(json.dumps(sorted(others + entry, key=lambda known: known["block"]), indent=1) + "\n")


def _entry(study: Study, best: Winner, validation: Study | None) -> dict[str, Any]:
    """What `best.json` holds of a block; with windows also what their sample had promised, and other seeds on it."""
    metrics, searched = metrics_of(best.run), metrics_of(best.searched)
    sampled = {name: value for name, value in searched.items() if name in SAMPLE_NAMES.values()}
    jump = {"border_jump": metrics["border_jump"]} if "border_jump" in metrics else {}
    return {
        "block": study.user_attrs["block"],
        "n_training_frames": study.user_attrs["n_training_frames"],
        **{name: metrics.get(name) for name in METRICS},
        **jump,
        **(sampled if is_sample(searched) else {}),
        "trial": best.searched.number,
        "parameters": best.run.user_attrs["config"],
        "seed": best.run.user_attrs["seed"],
        "data_hash": study.user_attrs["data_hash"],
        "validation_r2": [other.value for other in seed_runs(validation)],
    }


def _write_config(study: Study, best: Winner, paths: SweepPaths) -> None:
    block = study.user_attrs["block"]
    values = yaml.safe_load(paths.trial(best.study, best.run.number).config.read_text())
    file = paths.best_file(block, ".yaml")
    header = HEADER.format(
        block=block,
        sweep=paths.root.name,
        r2=best.final_r2,
        frames=study.user_attrs["n_training_frames"],
        trial=best.searched.number,
        folder=json.dumps(str(paths.best)),
        name=file.stem,
    )
    with replacing(file) as temporary:
        temporary.write_text(header + yaml.safe_dump({"defaults": ["config", "_self_"], **values}, sort_keys=False))


def _write_weights_and_picture(study: Study, best: Winner, paths: SweepPaths, outputs: OutputPaths) -> None:
    import torch
    from safetensors.torch import load_file, save

    from siren_sweep.pictures import prediction_picture

    block = study.user_attrs["block"]
    saved = paths.trial(best.study, best.run.number)
    weights = load_file(saved.weights)
    with replacing(paths.best_file(block, ".safetensors")) as file:
        file.write_bytes(save(weights))
    with replacing(paths.best_file(block, ".pt")) as file, file.open("wb") as out:
        torch.save(weights, out)
    cfg = trial_config(yaml.safe_load(saved.config.read_text()))
    title = f"block {block}: {study.user_attrs['n_training_frames']} frames, final R2 {best.final_r2:.4f}"
    prediction_picture(paths.best_file(block, ".png"), cfg, weights, field_of(cfg, outputs), title)


def _known_entries(paths: SweepPaths) -> list[dict[str, Any]]:
    try:
        known = json.loads(paths.best_json.read_text())
    except FileNotFoundError:
        return []
    except ValueError:  # a file that somebody edited: every block writes its own entry again
        return []
    assert isinstance(known, list)
    return known


def open_sweep(folder: Path) -> tuple[SweepPaths, OutputPaths, dict[int, Study], dict[int, Study]]:
    """The studies of a sweep's folder and its validation studies, by block. Raises OutputError where it holds none."""
    paths = SweepPaths(folder.absolute())
    if not paths.study_db.is_file() and STORAGE_URL_VARIABLE not in os.environ:
        raise OutputError(f"a sweep's folder holds study.db; there is none in {str(folder)!r}")
    storage = open_storage(None, paths)
    return paths, OutputPaths(paths.root.parent), all_blocks(storage), all_validations(storage)


def sweep_command(
    module: str, what: str, act: Callable[[SweepPaths, OutputPaths, dict[int, Study], dict[int, Study]], Path]
) -> None:
    """`python -m MODULE SWEEP_FOLDER`: make a view again, and say where; a mistake is one message, exit code 2."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=what)
    parser.add_argument("sweep_folder", type=Path, help="outputs/<sweep.name>")
    try:
        written = act(*open_sweep(parser.parse_args().sweep_folder))
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"written to {written}")


def _export_all(
    paths: SweepPaths, outputs: OutputPaths, studies: dict[int, Study], validations: dict[int, Study]
) -> Path:
    for number, study in studies.items():
        export_block(study, validations.get(number), paths, outputs)
        best = winner(study, validations.get(number))
        print(f"block {number}: " + (f"final_r2 {best.final_r2:.6f}" if best else "no trial has finished"))
    return paths.best


def main() -> None:
    """Export all blocks of a sweep again."""
    sweep_command("siren_sweep.export", "Export all blocks of a sweep again.", _export_all)


if __name__ == "__main__":
    main()
