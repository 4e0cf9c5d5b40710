"""A short film of truth, prediction and error on the lattice: as MP4, and as the animated WebP of the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField
from siren_sweep.paths import replacing
from siren_sweep.train.pictures import Panel, lattice_raster, middle_frames, panels, predict

N_FRAMES, FRAMES_PER_S = 80, 16
_PANEL, _GAP, _HEAD = 240, 24, 48  # pixels
_DESCRIPTION = 0x010E  # EXIF's ImageDescription
_H264 = {"crf": "18", "preset": "veryfast"}  # takes 0.4 of the default preset's time; the file is 3% larger


def film_images(cfg: TrialConfig, weights: Mapping[str, Any], field: StimulusField) -> list[Image.Image]:
    """Images of up to `N_FRAMES` consecutive frames from the middle: truth, prediction and error side by side."""
    frames = middle_frames(field, N_FRAMES)
    columns = panels(predict(cfg, weights, field, frames), np.array(field.targets[frames]))
    return list(_images(frames, columns, field.positions))


def write_webp(images: Sequence[Image.Image], file: Path, provenance: str) -> None:
    """Write every second image as an animated WebP that loops. It is small, since a report holds one for each block."""
    exif = Image.Exif()
    exif[_DESCRIPTION] = provenance
    shown = images[::2]
    with replacing(file) as temporary:
        shown[0].save(
            temporary,
            format="WEBP",
            save_all=True,
            append_images=shown[1:],
            duration=round(2000 / FRAMES_PER_S),
            loop=0,
            quality=40,
            method=2,  # half the time of 4, and a file a tenth larger
            exif=exif,
        )


def write_mp4(images: Iterable[Image.Image], file: Path, provenance: str, fps: float = FRAMES_PER_S) -> None:
    """Write RGB images of one size, whose sides are even, as an MP4 in H.264 with `fps` images a second."""
    import av

    with replacing(file) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        container.metadata["comment"] = provenance
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000), options=_H264)
        for place, image in enumerate(images):
            if place == 0:
                stream.width, stream.height, stream.pix_fmt = *image.size, "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")))
        container.mux(stream.encode(None))


def _images(frames: np.ndarray, columns: Sequence[Panel], positions: np.ndarray) -> Iterator[Image.Image]:
    """One image for each frame, with the panels side by side; `positions` (n_positions, 2) are the neurons'."""
    raster = lattice_raster(positions, _PANEL)
    rows, width = raster.shape
    size = (_even(len(columns) * (width + _GAP) + _GAP), _even(rows + _HEAD + _GAP))
    font = ImageFont.load_default(15)
    maps = [matplotlib.colormaps[panel.colours] for panel in columns]
    for index, frame in enumerate(frames):
        image = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(image)
        for place, (panel, colours) in enumerate(zip(columns, maps, strict=True)):
            left = _GAP + place * (width + _GAP)
            scaled = (panel.values[index] - panel.low) / (panel.high - panel.low or 1.0)
            pixels = colours(scaled[raster], bytes=True)[..., :3].copy()
            pixels[raster < 0] = 255
            image.paste(Image.fromarray(pixels), (left, _HEAD))
            draw.text((left, 4), panel.name, "black", font)
            draw.text((left, 24), f"{panel.low:.3g} to {panel.high:.3g}", "#555555", font)
        draw.text((size[0] - _GAP, 4), f"frame {frame}", "#555555", font, anchor="ra")
        yield image


def _even(pixels: int) -> int:
    """This number of pixels, or the next even one: H.264 needs even sides."""
    return pixels + pixels % 2
