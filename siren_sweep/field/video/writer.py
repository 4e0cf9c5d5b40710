"""Writes videos as a stimulus field: the light of the lattice's columns at each stimulus frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from siren_sweep.errors import ConfigError, DataError
from siren_sweep.field.lattice import N_TYPES, hexagonal_lattice
from siren_sweep.field.video.frames import Shown, Video
from siren_sweep.field.video.receptors import COLUMN_DEG, Receptors, Shape
from siren_sweep.field.writer import CHUNK_FRAMES, new_field

_WHITE = np.float32(65535)


@dataclass(frozen=True)
class Rendering:
    """How a video becomes a stimulus: the lattice, the receptive fields, and the frames that are taken."""

    extent: int = 15  # columns from the lattice's centre to its rim; 15 are the 721 columns of a fly's eye
    shape: Shape = Shape.box
    width_deg: float = COLUMN_DEG  # of a receptive field
    fps: float | None = None  # stimulus frames for each second of video; None: the first video's own rate
    crop: tuple[int, int, int, int] | None = None  # left, top, width, height, in pixels of the upright picture
    frames: int | None = None  # at most so many stimulus frames
    stretch: bool = False  # the darkest value becomes 0, the brightest 1

    def __post_init__(self) -> None:
        """Raises ConfigError, with every fault."""
        wrong = []
        if not 1 <= self.extent <= 100:
            wrong.append(f"--extent must be from 1 to 100, got {self.extent}")
        if not 0 < self.width_deg <= 180:
            wrong.append(f"--width must be above 0 and at most 180 degrees, got {self.width_deg}")
        if self.fps is not None and not 0 < self.fps <= 1e6:
            wrong.append(f"--fps must be above 0 and at most a million, got {self.fps}")
        if self.frames is not None and self.frames < 2:
            wrong.append(f"--frames must be at least 2, got {self.frames}")
        if self.crop and (min(self.crop) < 0 or not all(self.crop[2:])):
            wrong.append(f"--crop must be LEFT TOP WIDTH HEIGHT in pixels, got {' '.join(map(str, self.crop))}")
        if wrong:
            raise ConfigError(wrong)


@dataclass(frozen=True, eq=False)
class Written:
    """What was written: the numbers of frames and photoreceptors, and the first picture with the columns' places."""

    n_frames: int
    n_neurons: int
    fps: float
    picture: np.ndarray  # (height, width) uint16, white 65535, after the crop
    places: np.ndarray  # (n_columns, 2), in pixels from the picture's upper left corner
    spacing: float  # of columns, in pixels of the picture's height


def write_video(
    files: Sequence[Path],
    folder: Path,
    rendering: Rendering,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Written:
    """Write the videos, one after the other, as one field with eight photoreceptors for each column of the lattice.

    `on_progress` gets the number of frames written and about how many there will be. Memory does not grow with the
    videos' length. Raises ConfigError and DataError where a video cannot be used as asked, and OutputError where the
    folder cannot be written or is not empty.
    """
    columns = hexagonal_lattice(rendering.extent)
    videos = [Video(file) for file in files]
    fps = rendering.fps or videos[0].fps
    total = math.ceil(sum(video.duration_s for video in videos) * fps)
    eye = _Eye(columns, rendering)
    with new_field(folder, np.tile(columns, (N_TYPES, 1)), "a video's stimulus") as writer:
        for shown, n in _resampled(videos, fps):
            left = n if rendering.frames is None else rendering.frames - writer.n_frames
            writer.add(np.tile(eye.light(shown), (min(n, left), N_TYPES)))
            on_progress(writer.n_frames, min(total, rendering.frames or total))
            if writer.n_frames == rendering.frames:
                break
        if writer.n_frames < 2:
            raise DataError(f"a stimulus must have at least 2 frames, got {writer.n_frames} of {files[0]}")
        writer.close()
        if rendering.stretch and writer.lowest < writer.highest:
            writer.stretch()
    return Written(writer.n_frames, N_TYPES * len(columns), fps, eye.first, eye.receptors.places, eye.receptors.spacing)


def _resampled(videos: Sequence[Video], fps: float) -> Iterator[tuple[Shown, int]]:
    """The video frames that the stimulus takes, each with the number of consecutive stimulus frames that show it.

    A stimulus frame takes the video frame that is shown in its middle. Each video starts a stimulus frame of its own.
    """
    for video in videos:
        rate = video.fps if video.is_images else fps  # each image is one stimulus frame
        done = 0
        for shown in video.frames():
            until = math.ceil(shown.end_s * rate - 0.5 - 1e-6)  # the middle of stimulus frame k is (k + 1/2) / rate
            while done < until:
                n = min(until - done, CHUNK_FRAMES)
                yield shown, n
                done += n


class _Eye:
    """The lattice's columns over pictures whose size may change from one to the next."""

    def __init__(self, columns: np.ndarray, rendering: Rendering) -> None:
        self._columns, self._rendering = columns, rendering
        self._known: tuple[tuple[int, ...], float] | None = None
        self.receptors: Receptors
        self.first: np.ndarray

    def light(self, shown: Shown) -> np.ndarray:
        """The light (n_columns,) float32 in [0, 1] of a frame."""
        picture, aspect = self._cropped(shown.converter.luminance(shown.frame)), shown.converter.aspect
        if self._known != (picture.shape, aspect):
            how, (height, width) = self._rendering, picture.shape
            receptors = Receptors(self._columns, height, width, aspect=aspect, shape=how.shape, width_deg=how.width_deg)
            if self._known is None:
                self.first, self.receptors = picture.copy(), receptors
            self._known, self._now = (picture.shape, aspect), receptors
        return np.clip(self._now.light(picture) / _WHITE, 0, 1)

    def _cropped(self, picture: np.ndarray) -> np.ndarray:
        if self._rendering.crop is None:
            return picture
        left, top, width, height = self._rendering.crop
        if left + width > picture.shape[1] or top + height > picture.shape[0]:
            size = f"{picture.shape[1]} x {picture.shape[0]}"
            asked = " ".join(map(str, self._rendering.crop))
            raise ConfigError(f"--crop must lie within the picture of {size} pixels, got {asked}")
        return picture[top : top + height, left : left + width]
