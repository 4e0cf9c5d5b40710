"""From a person's video to a model: the commands as they are typed."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from conftest import Run, run_command
from fields import make_film

import siren_sweep
from siren_sweep.field import open_field


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("films") / "my phone.mp4")


def test_a_video_becomes_a_stimulus_with_its_preview_and_the_sweep_that_it_prints_takes_it(
    phone: Path, tmp_path: Path, run_here: Run
) -> None:
    out = tmp_path / "a pan, by night='1'"
    told = run_here("video", str(phone), "--out", out.name, "--frames", "24", "--extent", "2").stdout
    assert "24 frames of 152 photoreceptors, 20 a second" in told
    assert sorted(path.name for path in out.iterdir()) == ["pos.zarr", "preview.mp4", "preview.png", "stimulus.zarr"]
    with av.open(str(out / "preview.mp4")) as container:
        frames = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
        assert (len(frames), float(container.streams.video[0].average_rate or 0)) == (24, 20)
    assert np.ptp(frames[0]) > 50
    words = printed_sweep(told)
    dataset = yaml.safe_load(run_here(*words[1:], "--cfg", "job").stdout)["dataset"]
    assert (words[1], dataset["path"], dataset["n_input_neurons"]) == ("-m", out.name, 152)
    field = open_field(out, n_frames=24, n_input_neurons=152, cache_dir=None)
    assert (field.n_unique, field.r2_ceiling, field.scaling.spacing) == (19, 1, 1)


def printed_sweep(told: str) -> list[str]:
    """The words of the command that is printed at the end, as a shell takes them."""
    (command,) = [line.removeprefix("a sweep: ") for line in told.splitlines() if line.startswith("a sweep: ")]
    return shlex.split(command)


@pytest.mark.slow
def test_a_phone_s_video_becomes_a_report_and_a_model(phone: Path, tmp_path: Path) -> None:
    words = printed_sweep(run_command("video", str(phone), "--out", "x_list_train", cwd=tmp_path).stdout)
    own = ["blocks=tiny", "sweep.name=phone", "tracking=none"]
    done = subprocess.run([*words, *own], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "outputs/phone/report.html").stat().st_size > 10_000
    assert siren_sweep.load(tmp_path / "outputs/phone", block=1).frame(0).shape == (8 * 721,)


def test_a_file_that_is_no_video_is_one_clear_message(tmp_path: Path, told_here: Callable[..., str]) -> None:
    (tmp_path / "notes.txt").write_text("not a video")
    assert "notes.txt must be a video or an image that FFmpeg reads" in told_here("video", "notes.txt", "--out", "x")
    assert "--frames must be at least 2, got 1" in told_here("video", "notes.txt", "--out", "x", "--frames", "1")
    assert not (tmp_path / "x").exists()
