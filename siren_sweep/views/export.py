"""Exports the best config of each block as files that run; `siren-sweep export SWEEP_FOLDER` makes them again.

It reads only the studies and the files that the trials saved.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from optuna.study import Study
from PIL import Image
from safetensors.torch import load_file

from siren_sweep.config.config_file import plain, read_config, yaml_text
from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import ConfigError, DataError, OutputError
from siren_sweep.field import StimulusField
from siren_sweep.field.dataset import field_of
from siren_sweep.paths import OutputPaths, SweepPaths, replacing
from siren_sweep.study.studies import Winner
from siren_sweep.text import one_line
from siren_sweep.train.model import Model
from siren_sweep.train.pictures import prediction_figure, save_figure
from siren_sweep.train.report import shown_r2
from siren_sweep.train.siren import in_data_units
from siren_sweep.train.weights_file import Description, describe, read_description, saved_bytes
from siren_sweep.views.best import PICTURES, best_entry, provenance
from siren_sweep.views.blocks import UNTRAINED_WHOLE, BlockView, read_blocks
from siren_sweep.views.film import film_images, write_mp4, write_webp
from siren_sweep.views.predicted_frames import write_npz, write_zarr

FORMS = {  # the forms in which a model can be written, and the end of the file's name
    "safetensors": ".safetensors",
    "pt": ".pt",
    "onnx": ".onnx",
    "npz": "_frames.npz",
    "zarr": "_frames",
}
HEADER = """\
# The best config of block {block} of the sweep {sweep}: final_r2 {r2:.8f} at {frames} frames (trial {trial}).
# In this folder: python -m siren_sweep --config-dir . --config-name {name}
"""


def export_block(block: BlockView, paths: SweepPaths, outputs: OutputPaths, anew: bool = False) -> None:
    """Write config, weights and pictures of a block's winner, if it has one, and update `best.json`.

    Pictures that show this run already are kept, unless `anew` is set.
    """
    entry = []
    if block.winner is not None:
        origin = _write_files(block, block.winner, paths, outputs, anew)
        entry = [best_entry(block, block.winner) | {"provenance": origin}]
    others = [known for known in _known_entries(paths) if known["block"] != block.number]
    with replacing(paths.best_json) as file:
        file.write_text(json.dumps(sorted(others + entry, key=lambda known: known["block"]), indent=1) + "\n")


def _write_files(block: BlockView, best: Winner, paths: SweepPaths, outputs: OutputPaths, anew: bool) -> dict[str, Any]:
    """Write config, weights, pictures and films of a winner; returns their provenance."""
    description, weights = _model(block, best, paths, outputs)
    origin = dict(description.provenance)
    _write_config(block, best, description.config, origin, paths)
    for form in ("safetensors", "pt"):
        write_form(form, description, weights, paths, block.number)
    text = json.dumps({name: value for name, value in origin.items() if name != "other_seeds"})  # they show one seed
    file = functools.partial(paths.best_file, block.number)
    if anew or not _shows(file, text):
        title = f"block {block.number}: {block.n_frames} frames, final R2 {shown_r2(best.final_r2)}"
        _write_pictures(description.config, weights, field_of(description.config, outputs), title, file, text)
    return origin


def _write_pictures(
    cfg: TrialConfig,
    weights: Mapping[str, Any],
    field: StimulusField,
    title: str,
    file: Callable[[str], Path],
    text: str,
) -> None:
    """Write the figure and the film of a run; `file` makes a path of an ending, and `text` is the run's provenance.

    The .png comes last: where it is there, `_shows` knows that the others were written before.
    """
    images = film_images(cfg, weights, field)
    write_webp(images, file(".webp"), text)
    write_mp4(images, file(".mp4"), text)
    figure = prediction_figure(cfg, weights, field, title)
    for ending in (".svg", ".pdf", ".png"):
        save_figure(figure, file(ending), text)


def _shows(file: Callable[[str], Path], text: str) -> bool:
    """Whether all pictures of the run with the provenance `text` are there."""
    try:
        with Image.open(file(".png")) as picture:
            return picture.info.get("Description") == text and all(file(ending).is_file() for ending in PICTURES)
    except OSError:
        return False


def _write_config(
    block: BlockView, best: Winner, cfg: TrialConfig, origin: Mapping[str, Any], paths: SweepPaths
) -> None:
    file = paths.best_file(block.number, ".yaml")
    header = HEADER.format(
        block=block.number,
        sweep=paths.root.name,
        r2=best.final_r2,
        frames=block.n_frames,
        trial=best.searched.number,
        name=file.stem,
    )
    header += "".join(f"# {name}: {one_line(value)}\n" for name, value in origin.items())
    with replacing(file) as temporary:
        temporary.write_text(yaml_text(plain(cfg), header), encoding="utf-8")


def write_form(form: str, description: Description, weights: Mapping[str, Any], paths: SweepPaths, block: int) -> Path:
    """Write a block's model in one of `FORMS`; returns the file, or the folder of zarr stores.

    Raises ConfigError where a form needs a package that is not installed.
    """
    file = paths.best_file(block, FORMS[form])
    if form == "safetensors":
        with replacing(file) as temporary:
            temporary.write_bytes(saved_bytes(weights, description))
    elif form == "pt":
        _write_state_dict(weights, description, file)
    elif form == "onnx":
        if importlib.util.find_spec("onnx") is None:
            raise ConfigError("an ONNX graph is written by the package onnx: pip install onnx")
        from siren_sweep.views.onnx_graph import write_onnx

        write_onnx(description, weights, file)
    else:
        write = write_npz if form == "npz" else write_zarr
        write(Model(description, weights), file)
    return file


def _model(
    block: BlockView, best: Winner, paths: SweepPaths, outputs: OutputPaths
) -> tuple[Description, dict[str, Any]]:
    """The description of the winner's model, with its provenance, and its weights.

    Raises OutputError where the files of its run are gone.
    """
    saved = paths.trial(best.study, best.run.number)
    for file in (saved.config, saved.weights):
        if not file.is_file():
            raise OutputError(f"a block is exported from the files of its best run, and there is no {file}")
    cfg, weights = read_config(saved.config), load_file(saved.weights)
    description = read_description(saved.weights) or _description(block, best, cfg, outputs)
    origin = provenance(block, best, description.provenance)
    return dataclasses.replace(description, config=cfg, provenance=origin), weights


def _write_state_dict(weights: Mapping[str, Any], description: Description, file: Path) -> None:
    """Write a state dict that a module with these layers loads; `_metadata` has its provenance and positions."""
    state, scaling = OrderedDict(in_data_units(weights, description.scaling)), description.scaling
    places = {"x": scaling.x, "y": scaling.y, "spacing": scaling.spacing}
    says = {"provenance": json.dumps(dict(description.provenance)), "places": json.dumps(places)}
    state._metadata = {"siren_sweep": says}  # type: ignore[attr-defined]
    with replacing(file) as temporary, temporary.open("wb") as out:
        torch.save(state, out)


def _description(block: BlockView, best: Winner, cfg: TrialConfig, outputs: OutputPaths) -> Description:
    """The description of weights that have none, since an older version trained them.

    Raises DataError where the data have changed.
    """
    field, expected = field_of(cfg, outputs), block.block.data_hash
    if field.data_hash != expected:
        raise DataError(f"the data at {cfg.dataset.path} must have the hash {expected}, got {field.data_hash}")
    return describe(cfg, field, best.final_r2, {"seed": cfg.training.seed})


def _known_entries(paths: SweepPaths) -> list[dict[str, Any]]:
    try:
        known = json.loads(paths.best_json.read_text())
    except FileNotFoundError:
        return []
    except ValueError:  # somebody edited it; every block writes its own entry again
        return []
    assert isinstance(known, list)
    return known


def export_all(
    studies: Mapping[int, Study],
    validations: Mapping[int, Study],
    paths: SweepPaths,
    outputs: OutputPaths,
    form: str | None = None,
) -> None:
    """Export every block of a sweep, and print a line for each. With a `form` of `FORMS`, write that file alone."""
    for block in read_blocks(studies, validations):
        best = block.winner
        if block.block.imported is not None:
            print(f"block {block.number}: an imported log has no models")
            continue
        if form is None:
            export_block(block, paths, outputs, anew=True)
        elif best is not None:
            written = write_form(form, *_model(block, best, paths, outputs), paths, block.number)
            print(f"written to {written}")
        none = "no trial has finished" if block.best is None else UNTRAINED_WHOLE
        print(f"block {block.number}: " + (f"final_r2 {best.final_r2:.8f}" if best else none))
