"""The text of `siren-sweep --help`: the commands, the config groups, the most common overrides, three examples."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from siren_sweep.paths import command
from siren_sweep.text import wrapped

_COMMON = {
    "dataset=flyvis dataset.path=PATH": "your own data",
    "sweep.name=NAME outputs_dir=PATH": "where a sweep lands",
    "claude.n_iter_block=12": "full trials whose steps a block may take",
    "claude.n_parallel=4": "configs of a batch",
    "claude.time_budget_min=60": "minutes of a trial, at most",
    "training.device=auto": "auto, cpu, cuda",
    "'graph_model.omega_f=choice(30,80)'": "what is searched; a plain value pins it",
    "base=PATH.yaml": "an existing config as the base",
    "sweep.learn_from=FOLDER": "start from the trials of another sweep",
    "tracking=none": "without MLflow",
}
_EXAMPLES = {
    "a sweep of two short blocks, minutes long": ("-m", "blocks=demo", "sweep.name=demo"),
    "its best config of block 2 once more": ("--config-dir", "outputs/demo/best", "--config-name", "block_02"),
    "its runs in MLflow": ("ui", "outputs/demo"),
}


def overview(commands: Mapping[str, str], conf_dir: Path) -> str:
    """The text. `commands` are the subcommands, each with what it does; `conf_dir` holds the config groups."""
    program = command()
    groups = {
        folder.name: ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        for folder in sorted(conf_dir.iterdir())
        if folder.is_dir() and folder.name != "hydra"
    }
    lines = [
        "Find the SIREN hyperparameters that fit a stimulus field.",
        "",
        f"{program} [OVERRIDE ...]",
        "    one training run of the composed config",
        f"{program} -m [OVERRIDE ...]",
        "    a sweep; the same command goes on where it stopped",
        f"{program} COMMAND ...",
        "    one of the commands, each with its own --help",
        "",
        *_table("commands", commands),
        *_table("groups (GROUP=CHOICE)", groups),
        *_table("common overrides", _COMMON),
        "examples",
    ]
    for what, words in _EXAMPLES.items():
        lines += [f"  # {what}", f"  {command(*words)}"]
    return "\n".join([*lines, "", "--cfg job prints the composed config, --hydra-help Hydra's own options."])


def _table(title: str, rows: Mapping[str, str]) -> list[str]:
    """A title and rows in two columns; each description stands below its name where the terminal is too narrow."""
    width, longest = shutil.get_terminal_size().columns, max(map(len, rows))
    column = longest + 4 if longest <= width // 2 else 8
    lines = [title]
    for name, what in rows.items():
        below = wrapped(what, width - column, indent="")
        if len(name) + 4 <= column:
            lines.append(f"  {name}".ljust(column) + below.pop(0))
        else:
            lines.append(f"  {name}")
        lines += [" " * column + part for part in below]
    return [*lines, ""]
