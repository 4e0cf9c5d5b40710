"""A person's own video as a stimulus field: `write_video`."""

from siren_sweep.field.video.receptors import COLUMN_DEG, Receptors, Shape
from siren_sweep.field.video.writer import Rendering, Written, write_video

__all__ = ["COLUMN_DEG", "Receptors", "Rendering", "Shape", "Written", "write_video"]
