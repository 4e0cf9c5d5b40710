"""The embedded stimulus: `write_synthetic` writes a synthetic scene of natural motion in the layout of real data."""

from siren_sweep.field.synthetic.writer import write_synthetic

__all__ = ["write_synthetic"]
