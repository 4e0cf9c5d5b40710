"""The subcommands, such as `export`, `report` and `import`.

Each imports what it needs when it runs: workers import the command line too, and should start fast.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from siren_sweep.cli import video
from siren_sweep.errors import ConfigError, OutputError, SweepError, redacted
from siren_sweep.paths import command
from siren_sweep.text import wrapped


def run(arguments: Sequence[str]) -> int:
    """Run a subcommand; returns its exit code. Raises SweepError for a person's mistake."""
    if arguments[0] == "train":  # it parses its arguments and reports its errors itself
        from siren_sweep.train import bare

        return bare.main(list(arguments[1:]))
    options = _parser().parse_args(list(arguments))
    act: Callable[[argparse.Namespace], int | None] = options.act
    try:
        return act(options) or 0
    except BrokenPipeError:  # what read the output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes what is left when it ends
        return 1
    except Exception as error:
        if (reason := _of_the_database(error)) is None:
            raise
        raise OutputError(reason) from None


def _of_the_database(error: Exception) -> str | None:
    """What to print of an error of the studies' storage; None of any other error."""
    from siren_sweep.study.storage import STORAGE_ERRORS, storage_reason

    return (
        f"the study cannot be read or written: {storage_reason(error)}" if isinstance(error, STORAGE_ERRORS) else None
    )


def names() -> dict[str, str]:
    """The subcommands, each with a line that says what it does."""
    return {name: what for name, (what, _, _, _) in _COMMANDS.items()}


def _export(options: argparse.Namespace) -> None:
    from siren_sweep.study.studies import open_folder
    from siren_sweep.views.export import export_all

    paths, outputs, studies, validations = open_folder(options.sweep_folder)
    export_all(studies, validations, paths, outputs, options.format)
    if options.format is None:
        print(f"written to {paths.best}")


def _report(options: argparse.Namespace) -> None:
    from siren_sweep.study.studies import open_folder
    from siren_sweep.views.report.page import write_report

    paths, outputs, studies, validations = open_folder(options.sweep_folder)
    write_report(paths, outputs, studies, validations)
    print(f"written to {paths.report}")


def _record(options: argparse.Namespace) -> None:
    from siren_sweep.study.studies import open_folder
    from siren_sweep.views.record.writer import write_record

    paths, _, studies, validations = open_folder(options.sweep_folder)
    write_record(paths, studies, validations)
    print(f"written to {paths.record}")


def _sync(options: argparse.Namespace) -> None:
    from siren_sweep.study.stored import read_block, read_tracked_to
    from siren_sweep.study.studies import open_folder
    from siren_sweep.sweep.lock import locked
    from siren_sweep.views.mlflow.address import shown, sync_uri
    from siren_sweep.views.mlflow.mirror import Mirror

    paths, outputs, blocks, validations = open_folder(options.sweep_folder)
    if not blocks:
        raise OutputError(f"the sweep at {paths.root} has not begun: there is nothing to send")
    first = blocks[min(blocks)]
    uri = sync_uri(read_tracked_to(first), options.tracking_uri, outputs)
    with locked(paths):
        try:
            mirror = Mirror(uri, outputs, paths, first)
            mirror.update(blocks, validations, over=all(read_block(study).ended for study in blocks.values()))
        except SweepError:
            raise
        except Exception as error:  # MLflow, the driver and the network raise many kinds
            where = shown(uri, outputs)
            raise OutputError(f"MLflow at {where} could not be reached: {redacted(str(error))}") from error
    name = paths.root.name
    named = f", in the experiment {mirror.experiment!r}" if mirror.experiment != name else ""
    print(f"MLflow at {shown(uri, outputs)} has all of {name}{named}")


def _ui(options: argparse.Namespace) -> int:
    from siren_sweep.cli.ui import serve

    return serve(options.folder)


def _import(options: argparse.Namespace) -> None:
    from siren_sweep.study.import_log import NOTE, import_log
    from siren_sweep.study.old_entries import one_block_each
    from siren_sweep.study.studies import open_folder
    from siren_sweep.views.record.writer import write_record
    from siren_sweep.views.report.page import write_report

    known = _known(options.known)
    entries, unread = import_log(options.old, options.sweep_folder, options.data, options.n_input_neurons, known)
    paths, outputs, studies, validations = open_folder(options.sweep_folder)
    write_record(paths, studies, validations)
    write_report(paths, outputs, studies, validations)
    for line in unread:
        print(line)
    for own in one_block_each(entries):
        with_r2 = sum(entry.final_r2 is not None for entry in own)
        print(f"{own[0].n_frames} frames: {len(own)} trials, {with_r2} with a final_r2")
    print(f"written to {options.sweep_folder}, with its report and its record; {NOTE}")


def _known(given: Sequence[str]) -> dict[str, float]:
    """The values, by dotted name, of explorable parameters in texts NAME=VALUE. Raises ConfigError with every fault."""
    from siren_sweep.config.parameters import PARAMETERS
    from siren_sweep.study.log_parser import number, parameter_named

    found, wrong = dict[str, float](), list[str]()
    for one in given:
        name, _, value = one.partition("=")
        if (parameter := parameter_named(name)) is None:
            wrong.append(f"--known must be NAME=VALUE of an explorable parameter, got {one!r}")
            continue
        try:
            own = number(value)
        except ValueError:
            wrong.append(f"--known {name} must be a number, got {value!r}")
            continue
        try:
            found[parameter] = PARAMETERS[parameter].checked(own)
        except ValueError as fault:
            wrong.append(f"--known {name} {fault}")
    if wrong:
        raise ConfigError(wrong)
    return found


def _compare(options: argparse.Namespace) -> None:
    from rich.console import Console

    from siren_sweep.views.comparison import comparison_table

    console = Console()
    console.print(comparison_table(options.sweep_folders), width=None if console.is_terminal else _PIPED_WIDTH)


_PIPED_WIDTH = 200  # characters of a line in a file or a pipe
_FOLDER: dict[str, dict[str, Any]] = {"sweep_folder": {"type": Path, "help": "outputs/<sweep.name>"}}
# name: what it does, its function, its arguments, its examples
_COMMANDS: dict[str, tuple[str, Callable[[argparse.Namespace], int | None], dict[str, dict[str, Any]], str]] = {
    "export": (
        "make best/ again from the study: the best config of each block, its weights and pictures",
        _export,
        _FOLDER
        | {
            "--format": {
                "choices": ["safetensors", "pt", "onnx", "npz", "zarr"],
                "help": "one form of the models alone: weights, an ONNX graph of (t, x, y), or the frames that they "
                "predict as .npz or zarr (default: config, weights and pictures)",
            }
        },
        "siren-sweep export outputs/demo\nsiren-sweep export outputs/demo --format onnx\n"
        "siren-sweep --config-dir outputs/demo/best --config-name block_02",
    ),
    "report": ("write the report again: one HTML file", _report, _FOLDER, "siren-sweep report outputs/demo"),
    "record": ("write the scientific record again, as Markdown", _record, _FOLDER, "siren-sweep record outputs/demo"),
    "compare": (
        "compare sweeps: what each reached at each number of frames, and at equal cost",
        _compare,
        {"sweep_folders": {"type": Path, "nargs": "+", "metavar": "sweep_folder", "help": "outputs/<sweep.name>"}},
        "siren-sweep compare outputs/a outputs/b",
    ),
    "sync": (
        "send to MLflow what it does not have yet, as after an outage",
        _sync,
        _FOLDER
        | {
            "--tracking-uri": {
                "help": "the sweep's MLflow address, with user and password where it has them (or $MLFLOW_TRACKING_URI)"
            }
        },
        "siren-sweep sync outputs/demo\nsiren-sweep sync outputs/demo --tracking-uri http://somebody:password@host:5000",
    ),
    "ui": (
        "open MLflow's pages on the runs of a sweep; Ctrl-C ends the server",
        _ui,
        {
            "folder": {
                "type": Path,
                "nargs": "?",
                "default": Path(),
                "help": "a sweep's folder, or a folder of sweeps, of which the newest is shown (default: this folder)",
            }
        },
        "siren-sweep ui\nsiren-sweep ui outputs/demo",
    ),
    "import": (
        "import the folder, or the log, of the old LLM-driven exploration as the studies of a sweep",
        _import,
        {
            "old": {"type": Path, "help": "the folder, with configs and scores beside its log, or a *_analysis.md"},
            "--sweep-folder": {"type": Path, "required": True, "help": "a new folder; its study.db is made"},
            "--data": {"type": Path, "help": "the data (x_list_train) on which the folder's weights are evaluated"},
            "--n-input-neurons": {"type": int, "default": 1736, "help": "input neurons of --data (default: 1736)"},
            "--known": {
                "nargs": "+",
                "default": [],
                "metavar": "NAME=VALUE",
                "help": "a value, for all iterations, that neither log nor configs have, such as nnr_f_xy_period=1.0",
            },
        },
        "siren-sweep import old_folder --sweep-folder outputs/OLD\nsiren-sweep -m sweep.learn_from=outputs/OLD",
    ),
    "video": ("make a stimulus of a video of your own", video.act, video.ARGUMENTS, video.EXAMPLES),
    "train": (
        "train one config; with torch, numpy and PyYAML alone, type python -m siren_sweep.train instead",
        lambda _: None,
        {},
        "siren-sweep train block_03.yaml --field field.safetensors --device cuda --out run",
    ),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="siren-sweep")
    commands = parser.add_subparsers(required=True)
    for name, (what, act, arguments, examples) in _COMMANDS.items():
        own = commands.add_parser(
            name,
            help=what,
            description="\n".join(wrapped(f"{what[0].upper()}{what[1:]}.", get_terminal_size().columns, indent="")),
            epilog="examples:\n" + examples.replace("siren-sweep", f"  {command()}"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for argument, settings in arguments.items():
            own.add_argument(argument, **settings)
        own.set_defaults(act=act)
    return parser
