"""Makes a stimulus field: `write_synthetic`, a scene of natural motion, in the layout of real data sets."""

from siren_sweep.field.synthetic.writer import write_synthetic

__all__ = ["write_synthetic"]
