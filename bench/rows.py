"""What the scripts that train single configs share: their arguments, their data, and the file of their rows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from siren_sweep.field import StimulusField, open_field


def arguments(doc: str | None, frames: str = "") -> argparse.Namespace:
    """`path`, of the stimulus, and `json`, the file to be written. Runs on one thread from here on."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, help=f"folder with stimulus.zarr and pos.zarr{frames}")
    parser.add_argument("--json", type=Path, required=True)
    torch.set_num_threads(1)
    return parser.parse_args()


def opened(path: Path, n_frames: int) -> StimulusField:
    """The first frames of the stimulus, 1736 neurons."""
    return open_field(path, n_frames=n_frames, n_input_neurons=1736, cache_dir=None)


def write(rows: Sequence[Any], file: Path) -> None:
    """Write what was measured, and what was measured before it in the same run."""
    file.write_text(json.dumps(rows, indent=1) + "\n")
