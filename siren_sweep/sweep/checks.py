"""Checks a sweep before it starts, and reports all faults at once, before anything is written."""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from siren_sweep.config.checks import faults
from siren_sweep.config.overrides import TEXTS, parse
from siren_sweep.config.parameters import BATCH_SIZE, EXPLORABLE, PARAMETERS, RATIOS, dimension_fault, parameter_of
from siren_sweep.config.schema import ADDRESSES, Block, Config
from siren_sweep.errors import ConfigError, DataError, redacted
from siren_sweep.field.source import frames_in
from siren_sweep.search.policies import make_proposer, make_pruner
from siren_sweep.search.space import STARTS, distribution_of, parse_dimension
from siren_sweep.sweep.agent import program
from siren_sweep.sweep.block import at_frames, filled, start_block
from siren_sweep.sweep.cluster.faults import cluster_faults
from siren_sweep.views.mlflow.address import tracking_uri

SETTING_GROUPS = ("blocks", "search_space", "sampler", "pruner", "claude", "graph_model", "training")


@dataclass
class SweepOverrides:
    """The overrides of a sweep's command line, sorted by their effect."""

    swept: dict[str, str] = field(default_factory=dict)  # dotted name -> its values; narrows the search space
    pinned: set[str] = field(default_factory=set)  # explorable parameters with one value
    inherited: list[str] = field(default_factory=list)  # overrides that every trial gets
    faults: list[str] = field(default_factory=list)


def sort_overrides(arguments: Sequence[str]) -> SweepOverrides:
    """Sort the override strings of `-m`. Overrides that may not be swept or set are in `faults`."""
    sorted_ = SweepOverrides()
    for text in arguments:
        override = parse(text)
        name = override.key_or_group
        if override.is_sweep_override() and not override.is_hydra_override():
            _sweep(sorted_, name, override)
        elif name == "training.n_training_frames":
            sorted_.faults.append(
                f"training.n_training_frames is set by the block and must not be set in a sweep, got {text}"
            )
        else:
            if name in EXPLORABLE:
                sorted_.pinned.add(name)
            if name not in ADDRESSES:
                sorted_.inherited.append(text)
    return sorted_


def _sweep(sorted_: SweepOverrides, name: str, override: Override) -> None:
    if name not in EXPLORABLE:
        rule = f"only {', '.join(EXPLORABLE)} may be swept"
        if name == "training.n_training_frames":
            rule = "training.n_training_frames is set by the block and must not be set in a sweep"
        elif name.startswith("search_space.params"):
            rule = f"{name} is a sweep as a text and must be in quotes, inside the shell's own (\"{name}='...'\")"
        elif name in TEXTS:
            rule = f"{name} must be in quotes, inside the shell's own, where it holds a comma (\"{name}='...'\")"
        sorted_.faults.append(f"{rule}, got {redacted(override.input_line or '')}")
        return
    try:
        distribution_of(name, override)
        sorted_.swept[name] = override.get_value_string()
    except ValueError as error:
        sorted_.faults.append(f"{name} {error}")


def folder_faults(config: DictConfig) -> list[str]:
    """A line for each Hydra setting that would move the trials out of the sweep's folder."""
    given = {"hydra.sweep.dir": config.hydra.sweep.dir, "hydra.sweep.subdir": config.hydra.sweep.subdir}
    own = {"hydra.sweep.dir": f"{config.outputs_dir}/{config.sweep.name}", "hydra.sweep.subdir": config.trial.folder}
    return [
        f"{name} follows from outputs_dir and sweep.name, which set the folder of a sweep: set those, got {value}"
        for name, value in given.items()
        if value != own[name]
    ]


def fit_blocks(cfg: Config, overrides: SweepOverrides) -> None:
    """Reduce the blocks of `cfg` to those that a person's data fill, and print them if they change.

    A schedule that was typed stays as it is. Faults of the data are not reported here, but where they are read.
    """
    typed = any(parse(text).key_or_group.startswith("blocks.schedule") for text in overrides.inherited)
    if typed or cfg.dataset.generate or cfg.dataset.path is None:
        return
    try:
        n_frames = frames_in(Path(cfg.dataset.path))
    except DataError:
        return
    blocks = filled(cfg.blocks.schedule, n_frames)
    if n_frames >= 2 and blocks != cfg.blocks.schedule:
        frames = ", ".join(str(block.n_training_frames) for block in blocks)
        print(f"the data have {n_frames} frames: blocks of {frames}", file=sys.stderr)
        cfg.blocks.schedule = blocks


def sweep_texts(cfg: Config, overrides: SweepOverrides, block: Block) -> dict[str, str]:
    """The lines of a block's search space by dimension; those of the command line replace those of the config group."""
    lines = at_frames(cfg.search_space.params, cfg.search_space.params_from, block.n_training_frames)
    return {name: text for name, text in lines.items() if parameter_of(name) not in overrides.swept} | overrides.swept


def all_faults(cfg: Config, overrides: SweepOverrides) -> list[str]:
    """A line for each fault of the config and of the command line. The data are not read."""
    wrong = overrides.faults + faults(_at_its_frames(cfg, overrides)) + _search_space_faults(cfg)
    if not cfg.blocks.schedule:
        wrong.append("blocks.schedule must hold at least one block, got none")
    elif not wrong:
        for number, block in enumerate(cfg.blocks.schedule, 1):
            start_block(cfg, number, sweep_texts(cfg, overrides, block), {}, None)
    policies: dict[str, Callable[[Config], object]] = {"sampler": make_proposer, "pruner": make_pruner}
    for group, make in policies.items():
        try:
            made = make(cfg)
            if group == "sampler" and cfg.sweep.learn_from is not None and not getattr(made, "learns", False):
                wrong.append(f"sweep.learn_from needs sampler=ucb_tree, got {cfg.sampler.get('_target_')}")
        except Exception as error:  # a person's class may raise anything
            cause = error.__cause__ or error
            wrong.append(f"{group} cannot be made: {type(cause).__name__}: {cause}")
    wrong += [*program.faults(cfg.agent), *cluster_faults(cfg)]
    try:
        if cfg.tracking.enabled:
            tracking_uri(cfg.tracking.uri)
    except ConfigError as error:
        wrong += error.faults
    return wrong


def _at_its_frames(cfg: Config, overrides: SweepOverrides) -> Config:
    """The config with the number of frames to which its batch size is compared.

    It is the smallest n_training_frames of the blocks that do not vary the batch size. Where a block varies it, its
    values are cut to the block's frames.
    """
    blocks, pinned = cfg.blocks.schedule, BATCH_SIZE in overrides.pinned
    fixed = [one for one in blocks if pinned or BATCH_SIZE not in sweep_texts(cfg, overrides, one)]
    most = max((one.n_training_frames for one in blocks), default=cfg.training.n_training_frames)
    found = copy.deepcopy(cfg)
    found.training.n_training_frames = min((one.n_training_frames for one in fixed), default=most)
    return found


def _search_space_faults(cfg: Config) -> list[str]:
    wrong = []
    space = cfg.search_space
    for key, lines in _by_key("params", space.params, space.params_from):
        for name, text in lines.items():
            if name not in EXPLORABLE and name not in RATIOS:
                known = ", ".join((*EXPLORABLE, *RATIOS))
                wrong.append(f"search_space.{key} may hold only {known}, got {name}")
                continue
            try:
                parse_dimension(name, text)
            except ValueError as error:
                wrong.append(f"search_space.{key}.{name} {error}")
    for key, start in _by_key("start", space.start, space.start_from):
        for name, value in start.items():
            if name not in STARTS:
                wrong.append(f"search_space.{key} may hold only {', '.join(STARTS)}, got {name}")
            elif not isinstance(value, int | float):
                wrong.append(f"search_space.{key}.{name} must be a number, got {value!r}")
            elif fault := dimension_fault(name, value):
                wrong.append(f"search_space.{key}.{name} {fault}")
    return wrong


def _by_key(key: str, always: dict[str, Any], later: dict[int, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(key, always), *((f"{key}_from.{frames}", lines) for frames, lines in later.items())]


def settings(cfg: Config, overrides: SweepOverrides) -> dict[str, Any]:
    """The settings that identify a sweep, as JSON values by dotted name. A resumed sweep must have the same."""
    flat: dict[str, Any] = {"dataset.n_input_neurons": cfg.dataset.n_input_neurons}
    flat["sweep.learn_from"] = _beside(cfg.sweep.learn_from, cfg.outputs_dir)
    flat["cluster.n_batches"] = cfg.cluster.n_batches
    if cfg.agent.command:
        flat["proposer"] = "agent"
    for group in SETTING_GROUPS:
        node = getattr(cfg, group)
        _flatten(flat, group, node if isinstance(node, dict) else dataclasses.asdict(node))
    for name in ("training.n_training_frames", "training.n_threads", "training.checkpoint_every_s", "blocks.name"):
        del flat[name]  # the block or the machine sets them, or they change no result
    flat |= {f"pinned.{name}": PARAMETERS[name].value_in(cfg) for name in overrides.pinned}
    return flat | {f"swept.{name}": text for name, text in overrides.swept.items()}


def _beside(folder: str | None, outputs_dir: str) -> str | None:
    """A folder below `outputs_dir` as its path from there, since the outputs may be moved; any other as it is."""
    if folder is None or not Path(folder).is_relative_to(outputs_dir):
        return folder
    return str(Path(folder).relative_to(outputs_dir))


def _flatten(flat: dict[str, Any], prefix: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _flatten(flat, f"{prefix}.{key}", item)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value, 1):
            _flatten(flat, f"{prefix}[{index}]", item)
    else:
        flat[prefix] = getattr(value, "value", value)
