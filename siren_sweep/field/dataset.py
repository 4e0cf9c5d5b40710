"""Opens the data that a config names, and makes the embedded stimulus where it does not exist yet."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from siren_sweep.config.schema import Config, TrialConfig
from siren_sweep.errors import DataError
from siren_sweep.field import StimulusField, open_field
from siren_sweep.paths import OutputPaths


def ensure_data(cfg: Config) -> None:
    """Make the embedded stimulus, with a progress bar, where the config asks for it and its folder does not exist.

    Raises OutputError where the folder cannot be written.
    """
    if not cfg.dataset.generate or cfg.dataset.path is None or Path(cfg.dataset.path).exists():
        return
    from siren_sweep.field.synthetic import write_synthetic

    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        bar = progress.add_task("making the embedded stimulus", total=None)
        write_synthetic(
            Path(cfg.dataset.path), on_progress=lambda done, total: progress.update(bar, completed=done, total=total)
        )


def field_of(cfg: TrialConfig, outputs: OutputPaths) -> StimulusField:
    """The stimulus field of a config, cached in `outputs`. Raises DataError and OutputError; see `open_field`."""
    if cfg.dataset.path is None:
        raise DataError("dataset.path must name the folder that holds stimulus.zarr and pos.zarr, got null")
    return open_field(
        Path(cfg.dataset.path),
        n_frames=cfg.training.n_training_frames,
        n_input_neurons=cfg.dataset.n_input_neurons,
        cache_dir=outputs.cache,
    )
