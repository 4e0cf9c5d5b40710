"""`siren-sweep video FILE... --out FOLDER`: makes a stimulus field of a person's own video."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from siren_sweep.paths import command

EXAMPLES = """\
siren-sweep video phone.mp4 --out x_list_train
siren-sweep video one.mov two.mov --fps 50 --frames 1000 --rf gauss --width 6 --out x_list_train
siren-sweep -m dataset=flyvis dataset.path=x_list_train dataset.n_input_neurons=5768 sweep.name=phone"""
ARGUMENTS: dict[str, dict[str, Any]] = {
    "files": {"type": Path, "nargs": "+", "metavar": "FILE", "help": "videos, GIFs, or folders of images; joined"},
    "--out": {"type": Path, "required": True, "metavar": "FOLDER", "help": "a new folder"},
    "--extent": {
        "type": int,
        "default": 15,
        "help": "columns from the lattice's centre to its rim: 15 are 721 columns, so dataset.n_input_neurons=5768; 8 "
        "are 217, so 1736, which is that setting's default (default: %(default)s)",
    },
    "--rf": {
        "choices": ["box", "gauss"],
        "default": "box",
        "help": "a column's receptive field: the mean over a square, or a Gaussian (default: %(default)s)",
    },
    "--width": {
        "type": float,
        "default": 5.0,
        "metavar": "DEG",
        "help": "the field's width: the square's side, or the full width at half maximum; columns are 5 degrees apart "
        "(default: %(default)s)",
    },
    "--fps": {"type": float, "help": "stimulus frames a second of video (default: the first video's own rate)"},
    "--crop": {
        "type": int,
        "nargs": 4,
        "metavar": ("LEFT", "TOP", "WIDTH", "HEIGHT"),
        "help": "the part of the picture that is used, in pixels (default: all of it)",
    },
    "--frames": {"type": int, "metavar": "N", "help": "stop after N stimulus frames"},
    "--normalise": {"action": "store_true", "help": "stretch all values, so that the darkest is 0 and the brightest 1"},
}


def act(options: argparse.Namespace) -> None:
    """Write the stimulus and its preview, with a progress bar, and print the command of a sweep that learns it.

    Raises ConfigError, DataError and OutputError; see `write_video`.
    """
    from rich.console import Console
    from rich.progress import Progress

    from siren_sweep.config.overrides import of_text
    from siren_sweep.field.video import Rendering, Shape, write_video
    from siren_sweep.views.preview import write_preview

    rendering = Rendering(
        extent=options.extent,
        shape=Shape(options.rf),
        width_deg=options.width,
        fps=options.fps,
        crop=options.crop and tuple(options.crop),
        frames=options.frames,
        stretch=options.normalise,
    )
    with Progress(console=Console(file=sys.stderr), transient=True) as progress:
        bar = progress.add_task("frames", total=None)
        written = write_video(
            options.files,
            options.out,
            rendering,
            lambda done, total: progress.update(bar, completed=done, total=max(done, total)),
        )
    write_preview(options.out, written)
    neurons = [] if written.n_neurons == 1736 else [f"dataset.n_input_neurons={written.n_neurons}"]
    print(
        f"{written.n_frames} frames of {written.n_neurons} photoreceptors, {written.fps:.6g} a second, in {options.out}"
    )
    print(f"look at {options.out / 'preview.png'} and {options.out / 'preview.mp4'}")
    print(f"a sweep: {command('-m', 'dataset=flyvis', of_text('dataset.path', str(options.out)), *neurons)}")
