"""The stimulus field: reads and checks zarr stores, and makes unique positions, targets and multiplicities of them."""

from siren_sweep.field.scaling import UNSCALED, Scaling
from siren_sweep.field.stimulus_field import StimulusField, cache_file, load_cached, open_field
from siren_sweep.field.windows import Window, cut, fits, frames_of, spread

__all__ = [
    "UNSCALED",
    "Scaling",
    "StimulusField",
    "Window",
    "cache_file",
    "cut",
    "fits",
    "frames_of",
    "load_cached",
    "open_field",
    "spread",
]
