"""From a person's video to a model: the commands as they are typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from conftest import run_command

import siren_sweep
from siren_sweep.cli import commands
from siren_sweep.field import open_field


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second and a half of a moving pattern."""
    file = tmp_path_factory.mktemp("films") / "my phone.mp4"
    y, x = np.mgrid[:120, :160]
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for k in range(30):
            picture = 128 + 60 * np.sin((x + 3 * k) / 25) + 40 * np.cos((y - 2 * k) / 20)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="gray")))
        container.mux(stream.encode(None))
    return file


def test_a_video_becomes_a_stimulus_with_its_preview(
    phone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x_list_train"
    assert commands.run(["video", str(phone), "--out", str(out), "--frames", "24", "--extent", "2"]) == 0
    told = capsys.readouterr().out
    assert "24 frames of 152 photoreceptors, 20 a second" in told
    assert sorted(path.name for path in out.iterdir()) == ["pos.zarr", "preview.mp4", "preview.png", "stimulus.zarr"]
    with av.open(str(out / "preview.mp4")) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        assert (len(frames), float(container.streams.video[0].average_rate or 0)) == (24, 20)
    assert np.ptp(frames[0]) > 50
    assert f"dataset=flyvis dataset.path={out} dataset.n_input_neurons=152" in told
    field = open_field(out, n_frames=24, n_input_neurons=152, cache_dir=None)
    assert (field.n_unique, field.r2_ceiling, field.scaling.spacing) == (19, 1, 1)


@pytest.mark.slow
def test_a_phone_s_video_becomes_a_report_and_a_model(phone: Path, tmp_path: Path) -> None:
    assert run_command("video", str(phone), "--out", "x_list_train", cwd=tmp_path).returncode == 0
    data = ["dataset=flyvis", "dataset.path=x_list_train", "dataset.n_input_neurons=5768"]
    done = run_command("-m", *data, "blocks=tiny", "sweep.name=phone", "tracking=none", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs/phone/report.html").stat().st_size > 10_000
    assert siren_sweep.load(tmp_path / "outputs/phone", block=1).frame(0).shape == (8 * 721,)


def test_a_video_that_is_none_is_one_clear_message(tmp_path: Path, told_here: Callable[..., str]) -> None:
    (tmp_path / "notes.txt").write_text("not a video")
    assert "notes.txt must be a video or an image that FFmpeg reads" in told_here("video", "notes.txt", "--out", "x")
    assert "--frames must be at least 2, got 1" in told_here("video", "notes.txt", "--out", "x", "--frames", "1")
    assert not (tmp_path / "x").exists()
