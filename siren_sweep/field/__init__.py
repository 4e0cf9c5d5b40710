"""The stimulus field: from zarr stores to unique positions, targets and multiplicities, each fault of the data told."""

from siren_sweep.field.stimulus_field import StimulusField, cache_file, load_cached, open_field

__all__ = ["StimulusField", "cache_file", "load_cached", "open_field"]
