"""A person's own video as a stimulus: each pixel at its place, each frame at its time, each fault in one message."""

from __future__ import annotations

import math
import wave
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
import zarr
from PIL import Image

from siren_sweep.errors import ConfigError, DataError, OutputError
from siren_sweep.field.video import Rendering, Shape, Written, write_video

SIZE = 96, 72  # width, height of most videos here


def film(
    file: Path,
    pictures: Sequence[np.ndarray],
    codec: str = "ffv1",
    pixels: str = "gray",
    times: Sequence[int] | None = None,
    **settings: Any,
) -> Path:
    """A video of pictures (height, width) uint8, 10 a second, or at `times` in tenths of a second."""
    options = settings.pop("options", {})
    with av.open(str(file), "w", options=options) as container:
        stream: Any = container.add_stream(codec, rate=10, options=settings.pop("codec_options", {}))
        stream.height, stream.width = pictures[0].shape
        stream.pix_fmt, stream.time_base = pixels, Fraction(1, 10)
        stream.codec_context.time_base = Fraction(1, 10)
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for place, picture in enumerate(pictures):
            grey = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="gray")
            frame = grey.reformat(format=pixels, dst_color_range=settings.get("color_range"))
            frame.pts, frame.time_base = times[place] if times else place, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file


def greys(values: Sequence[int], size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Even pictures."""
    return [np.full((size[1], size[0]), value, np.uint8) for value in values]


def rendered(folder: Path, *files: Path, **how: Any) -> np.ndarray:
    """What is written of the videos, (n_frames, n_neurons); by the lattice of 217 columns, unless another is named."""
    write_video(files, folder, Rendering(**{"extent": 8, **how}))
    return np.asarray(zarr.open_array(folder / "stimulus.zarr", mode="r")[...])


def lattice(extent: int = 8) -> np.ndarray:
    """(n_columns, 2), as the specification has it: x = u + v/2, y = v sqrt(3)/2, by u, then v."""
    pairs = [(u, v) for u in range(-extent, extent + 1) for v in range(-extent, extent + 1) if abs(u + v) <= extent]
    return np.array([(u + v / 2, v * math.sqrt(3) / 2) for u, v in pairs])


def levels(values: np.ndarray) -> list[int]:
    """The grey level of each frame, where all columns see the same."""
    assert np.ptp(values, axis=1).max() < 1e-3
    return [int(level) for level in np.rint(255 * values[:, 0])]


# ---- places and values


def test_a_ramp_has_at_each_column_the_value_of_its_place(tmp_path: Path) -> None:
    """A receptive field's mean of a linear pattern is the pattern at its centre, whatever its form."""
    y, x = np.mgrid[:480, :640] + 0.5
    ramps = [x / 640, y / 480, 0.3 * x / 640 + 0.7 * y / 480]
    file = film(tmp_path / "ramp.mkv", [np.rint(255 * ramp).astype(np.uint8) for ramp in ramps])
    columns = lattice()
    spacing = min(640 / 17, 480 / (8 * math.sqrt(3) + 1))
    across, down = (320 + spacing * columns[:, 0]) / 640, (240 - spacing * columns[:, 1]) / 480  # y is upwards
    for shape, margin in ((Shape.box, 0.5), (Shape.gauss, 1.5)):
        values = rendered(tmp_path / shape, file, shape=shape)
        assert values.shape == (3, 1736)
        inner = np.hypot(*columns.T) < 8 - margin
        for frame, expected in enumerate((across, down, 0.3 * across + 0.7 * down)):
            np.testing.assert_allclose(values[frame, :217][inner], expected[inner], atol=2e-3)
    positions = np.asarray(zarr.open_array(tmp_path / "box/pos.zarr", mode="r")[...])
    for receptor in range(8):
        own = slice(217 * receptor, 217 * (receptor + 1))
        np.testing.assert_array_equal(values[:, own], values[:, :217])
        np.testing.assert_allclose(positions[own], columns, atol=1e-6)


@pytest.mark.parametrize(("shape", "width_deg"), [(Shape.box, 5.0), (Shape.box, 3.1), (Shape.gauss, 6.0)])
def test_a_column_sees_the_mean_over_its_receptive_field(tmp_path: Path, shape: Shape, width_deg: float) -> None:
    """Of noise, against sums over twentieths of pixels, one column at a time."""
    picture = np.random.default_rng(0).integers(0, 256, (72, 96)).astype(np.uint8)
    file = film(tmp_path / "noise.mkv", [picture, picture])
    values = rendered(tmp_path / "out", file, extent=3, shape=shape, width_deg=width_deg)
    fine = 20
    spacing = min(96 / 7, 72 / (3 * math.sqrt(3) + 1))
    width = spacing * width_deg / 5
    y, x = (np.mgrid[: 72 * fine, : 96 * fine] + 0.5) / fine
    light = np.kron(picture / 255, np.ones((fine, fine)))
    for column in (0, 5, 18, 36):
        dx, dy = x - 48 - spacing * lattice(3)[column, 0], y - 36 + spacing * lattice(3)[column, 1]
        if shape == Shape.box:
            weight = ((abs(dx) < width / 2) & (abs(dy) < width / 2)).astype(float)
        else:
            weight = np.exp(-4 * math.log(2) * (dx**2 + dy**2) / width**2)
        assert values[0, column] == pytest.approx((weight * light).sum() / weight.sum(), abs=5e-3)


def test_a_light_up_right_is_seen_up_right(tmp_path: Path) -> None:
    picture = np.zeros((72, 96), np.uint8)
    picture[:20, 60:70] = 255
    values = rendered(tmp_path / "out", film(tmp_path / "a.mkv", [picture, picture]))
    x, y = lattice()[np.argmax(values[0, :217])]
    assert x > 1
    assert y > 3


def test_a_larger_lattice_has_more_columns(tmp_path: Path) -> None:
    file = film(tmp_path / "a.mkv", greys([10, 20]))
    assert rendered(tmp_path / "eye", file, extent=Rendering().extent).shape == (2, 8 * 721)
    assert len(zarr.open_array(tmp_path / "eye/pos.zarr", mode="r")[...]) == 8 * 721


def test_cropped_and_stretched_pixels_are_those_asked_for(tmp_path: Path) -> None:
    y, x = np.mgrid[:72, :96]
    picture = np.where((x >= 30) & (x < 70) & (y >= 10) & (y < 50), 100 + x, 0).astype(np.uint8)
    file = film(tmp_path / "a.mkv", [picture, picture])
    values = rendered(tmp_path / "crop", file, crop=(30, 10, 40, 40))
    assert values.min() > 128 / 255
    stretched = rendered(tmp_path / "stretched", file, crop=(30, 10, 40, 40), stretch=True)
    assert (stretched.min(), stretched.max()) == pytest.approx((0, 1), abs=1e-6)
    np.testing.assert_allclose(stretched, (values - values.min()) / np.ptp(values), atol=1e-5)


def test_pixels_that_are_not_square_are_seen_as_they_are_shown(tmp_path: Path) -> None:
    """The same scene, stored at half the width."""
    y, x = np.mgrid[:96, :96]
    scene = np.rint(127 + 120 * np.sin(x / 9) * np.cos(y / 13)).astype(np.uint8)
    narrow = scene.reshape(96, 48, 2).mean(axis=2).astype(np.uint8)
    plain = rendered(tmp_path / "plain", film(tmp_path / "a.mkv", [scene, scene]))
    wide = {"codec_options": {"qp": "0"}, "sample_aspect_ratio": Fraction(2, 1)}
    file = film(tmp_path / "b.mp4", [narrow, narrow], "libx264", "yuv420p", **wide)
    assert np.abs(rendered(tmp_path / "narrow", file) - plain).max() < 0.03


# ---- formats


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "settings"),
    [
        ("a.mp4", "libx264", "yuv420p", {"codec_options": {"qp": "0"}}),
        ("full.mp4", "libx264", "yuv420p", {"codec_options": {"qp": "0"}, "color_range": 2}),
        ("ten.mkv", "ffv1", "yuv420p10le", {}),
        ("a.avi", "mjpeg", "yuvj420p", {}),
        ("a.mov", "png", "rgb24", {}),
        ("a.gif", "gif", "gray", {}),
        ("a.webm", "libvpx-vp9", "yuv420p", {"codec_options": {"lossless": "1"}}),
    ],
)
def test_levels_come_out_whatever_the_format(
    tmp_path: Path, name: str, codec: str, pixels: str, settings: dict[str, Any]
) -> None:
    given = [0, 60, 127, 200, 255]
    values = rendered(tmp_path / "out", film(tmp_path / name, greys(given), codec, pixels, **settings))
    assert np.abs(np.array(levels(values)) - given).max() <= 1


def test_ten_bits_are_kept(tmp_path: Path) -> None:
    frame = av.VideoFrame(96, 72, "gray10le")
    steps = np.arange(400, 496).astype("<u2")
    frame.planes[0].update(np.tile(steps, (72, 1)).tobytes())
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "gray10le"
        for place in range(2):
            frame.pts = place
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    values = rendered(tmp_path / "out", tmp_path / "a.mkv", extent=1, width_deg=0.01)
    spacing = min(96 / 3, 72 / (math.sqrt(3) + 1))
    place = np.floor(48 + spacing * lattice(1)[:, 0]).astype(int)
    np.testing.assert_allclose(values[0, :7] * 1023, steps[place], atol=0.6)


def test_odd_sizes_are_read(tmp_path: Path) -> None:
    values = rendered(tmp_path / "out", film(tmp_path / "a.mkv", greys([30, 90], (95, 71)), pixels="yuv420p"))
    assert levels(values) == pytest.approx([30, 90], abs=1)


def test_a_folder_of_images_is_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "it's 100% [images]"
    folder.mkdir()
    for number in (1, 2, 9, 10, 11):
        Image.fromarray(np.full((72, 96), 10 * number, np.uint8)).save(folder / f"frame {number}.png")
    (folder / "notes.txt").write_text("not an image")
    assert levels(rendered(tmp_path / "out", folder)) == [10, 20, 90, 100, 110]
    assert levels(rendered(tmp_path / "fast", folder, fps=60)) == [10, 20, 90, 100, 110]


def patched_turn(file: Path, matrix: Sequence[int]) -> Path:
    """The mp4 with another display matrix a, b, c, d in its track's header."""
    content = bytearray(file.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    values = np.array([matrix[0], matrix[1], 0, matrix[2], matrix[3], 0, 0, 0, 1 << 14]) * 65536
    content[start : start + 36] = values.astype(">i4").tobytes()
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((1, 0, 0, 1), lambda picture: picture),
        ((0, 1, -1, 0), lambda picture: np.rot90(picture, -1)),  # a phone held upright: clockwise
        ((-1, 0, 0, -1), lambda picture: np.rot90(picture, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), np.fliplr),
        ((0, 1, 1, 0), np.transpose),
    ],
)
def test_a_turned_video_is_seen_upright(
    tmp_path: Path, matrix: Sequence[int], shown: Callable[[np.ndarray], np.ndarray]
) -> None:
    picture = np.zeros((72, 96), np.uint8)
    picture[8:30, 12:40], picture[50:, 70:] = 255, 120
    lossless = {"codec_options": {"qp": "0"}}
    turned = patched_turn(film(tmp_path / "a.mp4", [picture] * 2, "libx264", "yuv420p", **lossless), matrix)
    upright = film(tmp_path / "b.mp4", [shown(picture)] * 2, "libx264", "yuv420p", **lossless)
    written = write_video([turned], tmp_path / "a", Rendering(extent=8))
    assert written.picture.shape == shown(picture).shape
    np.testing.assert_allclose(
        zarr.open_array(tmp_path / "a/stimulus.zarr", mode="r")[...], rendered(tmp_path / "b", upright), atol=2e-3
    )


# ---- time


def test_each_frame_of_a_video_is_one_of_the_stimulus(tmp_path: Path) -> None:
    given = list(range(10, 250, 3))
    assert levels(rendered(tmp_path / "out", film(tmp_path / "a.mkv", greys(given)))) == given


@pytest.mark.parametrize(
    ("fps", "expected"), [(5.0, [2, 4, 6, 8]), (20.0, [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8]), (2.5, [3, 7])]
)
def test_another_rate_shows_what_is_on_show_in_the_middle(tmp_path: Path, fps: float, expected: list[int]) -> None:
    file = film(tmp_path / "a.mkv", greys([10 * k for k in range(1, 9)]))
    assert levels(rendered(tmp_path / "out", file, fps=fps)) == [10 * k for k in expected]


def test_a_rate_that_varies_is_followed(tmp_path: Path) -> None:
    """Frames at 0, 0.1, 0.2, 0.7 and 0.8 s: the third is on show for half a second."""
    file = film(tmp_path / "a.mkv", greys([10, 20, 30, 40, 50]), times=[0, 1, 2, 7, 8])
    assert levels(rendered(tmp_path / "out", file, fps=10)) == [10, 20, 30, 30, 30, 30, 30, 40, 50]


def test_videos_are_joined_and_ended_where_it_is_asked(tmp_path: Path) -> None:
    first = film(tmp_path / "a.mkv", greys([10, 20]))
    second = film(tmp_path / "b.mkv", greys([30, 40, 50], (64, 64)))  # of another size
    assert levels(rendered(tmp_path / "both", first, second)) == [10, 20, 30, 40, 50]
    assert levels(rendered(tmp_path / "four", first, second, frames=4)) == [10, 20, 30, 40]


def test_progress_reaches_the_number_of_frames(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    file = film(tmp_path / "a.mp4", greys(range(20)), "libx264", "yuv420p")
    written = write_video([file], tmp_path / "out", Rendering(extent=8), lambda done, total: told.append((done, total)))
    assert isinstance(written, Written)
    assert told == [(k, 20) for k in range(1, 21)]
    assert (written.n_frames, written.n_neurons, written.fps) == (20, 1736, 10)


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    """Nor with what a frame takes until a chunk is written: 300 of these, of 0.3 MB each."""
    file, process, held = film(tmp_path / "a.avi", greys(range(10), (640, 480)) * 40, "rawvideo"), psutil.Process(), {}
    how = Rendering(extent=1)
    write_video([file], tmp_path / "out", how, lambda done, _: held.update({done: process.memory_info().rss}))
    assert held[400] - held[100] < 20e6


# ---- faults


def damaged(file: Path, share: float) -> Path:
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    return file


def noise(n: int = 40) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (n, 72, 96)).astype(np.uint8))


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"movflags": "faststart"}),
        ("a.mkv", "libx264", {}),
        ("a.avi", "mpeg4", {}),
        ("a.mkv", "ffv1", {}),
    ],
)
def test_a_truncated_video_is_told_and_its_beginning_may_be_used(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    file = damaged(film(tmp_path / name, noise(), codec, "yuv420p", options=options), 0.6)
    with pytest.raises(
        DataError, match=rf"{name} must be whole, and .*; its first [0-9.]+ seconds are whole; --frames N takes"
    ):
        rendered(tmp_path / "out", file)
    assert not (tmp_path / "out").exists()
    assert len(rendered(tmp_path / "some", file, frames=10)) == 10


def test_a_video_that_lost_its_index_is_told(tmp_path: Path) -> None:
    file = damaged(film(tmp_path / "a.mp4", noise(), "libx264", "yuv420p"), 0.9)
    with pytest.raises(DataError, match=r"a.mp4 must be a video or an image that FFmpeg reads: Invalid data"):
        rendered(tmp_path / "out", file)


def test_what_is_no_video_is_told(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name, told in (
        ("sound.wav", "must have a video stream, got audio"),
        ("text.mp4", "must be a video or an image that FFmpeg reads: Invalid data"),
        ("empty.mp4", "must be a video or an image that FFmpeg reads"),
        ("absent.mp4", "must be a video or an image that FFmpeg reads: No such file"),
        ("folder", "a folder must hold images .*, got none in"),
    ):
        with pytest.raises(DataError, match=told):
            rendered(tmp_path / "out", tmp_path / name)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_broken_image_among_others_is_named(share: float, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(3):
        noisy = Image.fromarray(np.random.default_rng(number).integers(0, 256, (72, 96)).astype(np.uint8))
        noisy.save(tmp_path / f"images/{number}.png")
    damaged(tmp_path / "images/1.png", share)
    with pytest.raises(DataError, match=r"images/1\.png must be"):
        rendered(tmp_path / "out", tmp_path / "images")


def test_a_playlist_opens_nothing_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(DataError, match=r"list\.m3u8 must"):
        rendered(tmp_path / "out", tmp_path / "list.m3u8")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"extent": 0}, "--extent must be from 1 to 100, got 0"),
        ({"width_deg": 0.0}, "--width must be above 0"),
        ({"fps": -1.0}, "--fps must be above 0"),
        ({"frames": 1}, "--frames must be at least 2, got 1"),
        ({"crop": (0, 0, 0, 9)}, "--crop must be LEFT TOP WIDTH HEIGHT"),
        ({"crop": (50, 0, 60, 20)}, "--crop must lie within the picture of 96 x 72 pixels, got 50 0 60 20"),
        ({"extent": 60}, "must have a pixel for each of the lattice's 121 columns across, got 96 x 72"),
    ],
)
def test_a_wrong_rendering_is_reported(tmp_path: Path, how: dict[str, Any], told: str) -> None:
    file = film(tmp_path / "a.mkv", greys([10, 20]))
    with pytest.raises((ConfigError, DataError), match=told):
        rendered(tmp_path / "out", file, **how)


def test_a_single_frame_is_no_stimulus(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a stimulus must have at least 2 frames, got 1"):
        rendered(tmp_path / "out", film(tmp_path / "a.mkv", greys([10])))


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="a video's stimulus needs a folder that is new or empty"):
        rendered(tmp_path / "out", film(tmp_path / "a.mkv", greys([10, 20])))
