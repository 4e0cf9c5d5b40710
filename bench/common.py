"""Shared by the scripts that train single configs: their arguments, their data, and how they write results."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from siren_sweep.field import StimulusField, open_field


def arguments(doc: str | None, frames: str = "") -> argparse.Namespace:
    """The command line: `path` of the stimulus, and `json`, the file for the results. PyTorch gets one thread."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help=f"folder with stimulus.zarr and pos.zarr{frames}")
    parser.add_argument("--json", type=Path, required=True)
    torch.set_num_threads(1)
    return parser.parse_args()


def opened(path: Path, n_frames: int) -> StimulusField:
    """The first `n_frames` frames of the stimulus, with 1736 neurons."""
    return open_field(path, n_frames=n_frames, n_input_neurons=1736, cache_dir=None)


def write(rows: Sequence[Any], file: Path) -> None:
    """Write all rows of results to a file."""
    file.write_text(json.dumps(rows, indent=1) + "\n")
