"""The frames of a video file, in order, with the times at which they are shown. PyAV decodes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from siren_sweep.errors import DataError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
IMAGES_FPS = 25.0  # frames a second of a folder of images, by default
_MISSING_S = 0.1  # a file whose frames end this long before its stated length has lost its end


class FrameConverter:
    """How the frames of one file are converted to luminance: their rotation, and the shape of a pixel.

    One object serves all frames of a file: PyAV keeps in memory each frame whose side data are read, and each
    converter has buffers of its own.
    """

    def __init__(self, first: Any, aspect: float) -> None:
        """`first` is the first av.VideoFrame; `aspect` a stored pixel's width over its height.

        Raises DataError where the display matrix does not rotate by a multiple of 90 degrees. The matrix (a, b; c, d)
        takes a pixel (x, y) to (a x + c y, b x + d y): FFmpeg's libavutil/display.h.
        """
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        matrix = next((bytes(data) for data in first.side_data if data.type.name == "DISPLAYMATRIX"), None)
        a, b, _, c, d = (1, 0, 0, 0, 1) if matrix is None else np.frombuffer(matrix, "<i4", count=5).tolist()
        if (a or d) and (b or c):
            raise DataError(f"a video must be turned by a multiple of 90 degrees, got {first.rotation}")
        self._lying = bool(b or c)
        down, across = (b, c) if self._lying else (d, a)
        self._turned = slice(None, None, -1 if down < 0 else 1), slice(None, None, -1 if across < 0 else 1)
        self.aspect = 1 / aspect if self._lying else aspect

    def luminance(self, frame: Any) -> np.ndarray:
        """The frame's luminance (height, width) uint16, upright, with black 0 and white 65535.

        It is the video's own luma, corrected for the video's range and bit depth.
        """
        grey = self._reformatter.reformat(frame, format="gray16le").to_ndarray()
        return np.asarray((grey.T if self._lying else grey)[self._turned])


@dataclass(frozen=True)
class Shown:
    """A frame that is shown from `start_s` to `end_s`, in seconds after the first frame's start."""

    start_s: float
    end_s: float
    frame: Any  # av.VideoFrame
    converter: FrameConverter


class Video:
    """A video file, or a folder of images in the natural order of their names. Raises DataError where it is neither.

    `fps` is its mean number of frames a second, `duration_s` its length; 0 where the file does not state it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.is_images = path, path.is_dir()
        if self.is_images:
            try:
                files = list(path.iterdir())
            except OSError as error:
                raise DataError(f"{path} cannot be read: {error}") from error
            self._images = sorted((file for file in files if file.suffix.lower() in PICTURES), key=_natural)
            if not self._images:
                raise DataError(f"a folder must hold images ({', '.join(PICTURES)}), got none in {path}")
            self.fps, self.duration_s = IMAGES_FPS, len(self._images) / IMAGES_FPS
            return
        self._images = []
        with self._opened(path) as container:
            stream = self._stream(container)
            rate = stream.average_rate or stream.guessed_rate
            self.fps, self.duration_s = float(rate or 0), _duration_s(container, stream)
        if self.fps <= 0:
            raise DataError(f"{path} must say how many frames it shows a second, and does not")

    def frames(self) -> Iterator[Shown]:
        """Every frame in order. Raises DataError at one that cannot be decoded, and where the file is truncated."""
        if self._images:
            for place, image in enumerate(self._images):
                decoded = next(self._decoded(image), None)
                if decoded is None:
                    raise DataError(f"{image} must be an image that FFmpeg reads")
                yield Shown(place / self.fps, (place + 1) / self.fps, *decoded)
            return
        last, first_s = None, 0.0
        for number, (frame, converter) in enumerate(self._decoded(self.path)):
            start_s = number / self.fps if frame.time is None else frame.time
            first_s = start_s if last is None else first_s
            start_s -= first_s
            if last is not None:
                if start_s <= last.start_s:
                    continue  # it is never shown
                yield replace(last, end_s=start_s)
            lasts_s = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 1 / self.fps
            last = Shown(start_s, start_s + lasts_s, frame, converter)
        if last is None:
            raise DataError(f"{self.path} must hold frames, and its video stream has none that can be decoded")
        yield last
        end_s = last.end_s
        if self.duration_s and end_s < self.duration_s - max(_MISSING_S, 2 / self.fps):
            raise self._broken(self.path, f"it ends at {end_s:.2f} of {self.duration_s:.2f} seconds", end_s)

    def _decoded(self, path: Path) -> Iterator[tuple[Any, FrameConverter]]:
        import av

        n, end_s = 0, 0.0
        with self._opened(path) as container:
            stream = self._stream(container)
            stream.thread_type = "AUTO"
            converter: FrameConverter | None = None
            try:
                for frame in container.decode(stream):
                    if frame.is_corrupt:
                        raise self._broken(path, f"its frame {n} is damaged", end_s)
                    converter = converter or FrameConverter(frame, float(stream.sample_aspect_ratio or 1))
                    yield frame, converter
                    n, end_s = n + 1, (n + 1) / self.fps
            except av.FFmpegError as error:
                raise self._broken(path, f"its frame {n} cannot be decoded: {error.strerror}", end_s) from error

    def _opened(self, path: Path) -> Any:
        import av

        try:
            return av.open(f"file:{path}", options={"protocol_whitelist": "file", "pattern_type": "none"})
        except (av.FFmpegError, ValueError) as error:
            told = getattr(error, "strerror", None) or error
            raise DataError(f"{path} must be a video or an image that FFmpeg reads: {told}") from error

    def _stream(self, container: Any) -> Any:
        for stream in container.streams.video:
            if not stream.disposition & stream.disposition.attached_pic:
                return stream
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise DataError(f"{self.path} must have a video stream, got {kinds}")

    def _broken(self, path: Path, what: str, end_s: float) -> DataError:
        hint = f"; its first {end_s:.2f} seconds are whole; --frames N takes only as many frames" if end_s else ""
        return DataError(f"{path} must be whole, and {what}{hint}")


def _duration_s(container: Any, stream: Any) -> float:
    """The length that the file states for the video, in seconds; 0 where it states none."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1  # else the container's length may be that of the sound
    return float(Fraction(container.duration, 1_000_000)) if container.duration and alone else 0.0


def _natural(file: Path) -> list[tuple[int, str]]:
    """A key for sorting by the numbers in names: image 10 comes after image 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", file.name)]
