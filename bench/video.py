"""Measures CPU seconds and peak memory of `siren-sweep video` on one core, by the length of the video.

    python bench/video.py --json FILE

The videos are H.264 with 640 x 480 pixels and 30 frames a second. They show a view that moves over a scene with detail
of all sizes, with the noise of a camera. The whole command is measured, from its start to the preview, in a process
with one core. `times` is how many seconds of video it reads in one CPU second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import numpy as np

from siren_sweep.train.provenance import cpu_name

COLUMNS = ("video_s", "core_s", "times", "peak_mb")
HEIGHT, WIDTH, FPS = 480, 640, 30
TIMED = """  # in a small process, since the kernel's peak memory counts that of the process before the fork
import json, os, resource, subprocess, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
subprocess.run(sys.argv[1:], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6]))
"""


def main() -> None:
    """Measure every length, print a table, and write the JSON list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, nargs="+", default=[60, 300], help="length of a video (default: 60 300)")
    parser.add_argument("--json", type=Path, required=True, help="where to write the list of results")
    options = parser.parse_args()
    print("".join(f"{title:>12}" for title in COLUMNS))
    rows = []
    for seconds in options.seconds:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(seconds, Path(folder)))
        print("".join(f"{rows[-1][title]:12.4g}" for title in COLUMNS), flush=True)
    options.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(seconds: int, folder: Path) -> dict[str, Any]:
    """The figures of the command on a video of `seconds` seconds."""
    film = folder / "film.mp4"
    write_film(film, seconds)
    command = [sys.executable, "-m", "siren_sweep", "video", str(film), "--out", str(folder / "x_list_train")]
    done = subprocess.run([sys.executable, "-c", TIMED, *command], stdout=subprocess.PIPE, text=True, check=True)
    core_s, peak_mb = json.loads(done.stdout.splitlines()[-1])
    return {
        "video_s": seconds,
        "core_s": core_s,
        "times": seconds / core_s,
        "peak_mb": peak_mb,
        "film_mb": film.stat().st_size / 1e6,
        "machine": cpu_name(),
    }


def write_film(file: Path, seconds: int) -> None:
    """Write a video of `seconds` seconds."""
    rng = np.random.default_rng(0)
    size = 2 * WIDTH
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)) + 1 / size
    scene = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) / frequency)
    scene = 128 + 40 * scene / scene.std()
    noise = rng.normal(0, 3, (8, HEIGHT, WIDTH))
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for k in range(FPS * seconds):
            top, left = (
                round((size - side) * (1 + np.sin(k / slow)) / 2) for side, slow in ((HEIGHT, 70), (WIDTH, 110))
            )
            picture = scene[top : top + HEIGHT, left : left + WIDTH] + noise[k % len(noise)]
            grey = np.clip(picture, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="gray")))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    main()
