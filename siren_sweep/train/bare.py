"""The bare trainer's command line: it trains and evaluates one config with torch, numpy and PyYAML alone.

It also needs zarr where the field is not given as its cache file.

    python -m siren_sweep.train block_03.yaml --field field.safetensors --device cuda --out run

It writes to the folder `--out`: `weights.pt` (a bare state dict, whose output is in the data's unit), `result.json`,
and during the run `checkpoint`, from which the same command goes on. Exit code 1 means that the run ended without a
result, 2 a mistake of the person, 130 that it was interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import torch

from siren_sweep.config.config_file import read_config
from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import ConfigError, DataError, OutputError, SweepError
from siren_sweep.field import StimulusField, load_cached, open_field
from siren_sweep.paths import TrialPaths, make_writable, replacing
from siren_sweep.train.engine.checkpoint import discard
from siren_sweep.train.loop import train
from siren_sweep.train.machine import n_threads, resolve_device
from siren_sweep.train.report import Report, TrainResult
from siren_sweep.train.siren import in_data_units


def main(arguments: list[str] | None = None) -> int:
    """Run the command and print the metrics; returns the exit code."""
    options = parse(arguments)
    try:
        cfg = read_config(options.config)
        result = run(cfg, options.field, options.device or cfg.training.device, TrialPaths(options.out))
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    if result["final_r2"] is None:
        print(f"{result['status']}: {result['reason']}", file=sys.stderr)
        return 1
    for name in ("final_r2", "final_mse", "final_pearson_r2", "r2_ceiling", "training_time_min"):
        print(f"{name}: {result[name]:.6f}")
    for name in ("total_params", "rank_90", "rank_99"):
        print(f"{name}: {result[name]}")
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options of a command line; None: of this process's."""
    parser = argparse.ArgumentParser(prog="siren-sweep train", description="Train and evaluate one config.")
    parser.add_argument("config", type=Path, help="YAML with the groups dataset, graph_model, training, claude")
    parser.add_argument(
        "--field", type=Path, help="a field's cache file, of as many frames or more, instead of dataset.path"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 or auto; overrides training.device")
    parser.add_argument("--out", type=Path, default=Path("outputs/bare"), help="folder to write to (%(default)s)")
    return parser.parse_args(arguments)


def open_given(cfg: TrialConfig, file: Path | None) -> StimulusField:
    """The field in the cache file `file`, which may hold more frames than the config says; without it, the config's.

    Raises DataError where its frames or neurons are not the config's, and ConfigError where neither is named.
    """
    wanted = cfg.training.n_training_frames, cfg.dataset.n_input_neurons
    if file is None:
        if cfg.dataset.path is None:
            raise ConfigError("dataset.path must be given, or --field with a cache file")
        return open_field(Path(cfg.dataset.path), n_frames=wanted[0], n_input_neurons=wanted[1], cache_dir=None)
    field = load_cached(file)
    if field.n_frames > wanted[0] and field.n_neurons == wanted[1]:
        return field.first(wanted[0])
    if (field.n_frames, field.n_neurons) != wanted:
        rule = f"training.n_training_frames x dataset.n_input_neurons = {wanted[0]} x {wanted[1]} values"
        raise DataError(f"{file} must hold {rule}, got {field.n_frames} x {field.n_neurons}")
    return field


def run(cfg: TrialConfig, field_file: Path | None, device: str, paths: TrialPaths) -> dict[str, Any]:
    """Train, print the progress to stderr, and write weights and result; returns the result as plain values.

    Raises ConfigError, DataError and OutputError.
    """
    device = resolve_device(device)
    field = open_given(cfg, field_file)
    make_writable(paths.root)
    torch.set_num_threads(n_threads(cfg))

    def tell(report: Report) -> None:
        print(report.line(), file=sys.stderr)

    result = train(field, cfg, device=device, on_report=tell, checkpoint=paths.checkpoint)
    known = write(result, field, device, paths)
    discard(paths.checkpoint, result.status)
    return known


def write(result: TrainResult, field: StimulusField, device: str, paths: TrialPaths) -> dict[str, Any]:
    """Write `weights.pt` and `result.json`; returns the content of the latter. Raises OutputError."""
    known = {item.name: getattr(result, item.name) for item in dataclasses.fields(result)}
    weights = known.pop("state_dict")
    known["reports"] = [dataclasses.asdict(report) for report in result.reports]
    for name in ("r2_ceiling", "rank_90", "rank_99", "data_hash"):
        known[name] = getattr(field, name)
    known["scaling"] = dataclasses.asdict(field.scaling)
    known["device"] = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    if result.final_r2 is not None:
        with replacing(paths.weights.with_suffix(".pt")) as file:
            try:
                torch.save(in_data_units(weights, field.scaling), file)
            except RuntimeError as error:  # torch raises it where the disk is full
                raise OutputError(f"the weights could not be written to {paths.root}: {error}") from error
    with replacing(paths.result) as file:
        file.write_text(json.dumps(known, indent=1) + "\n")
    return known
