"""`base=PATH.yaml`: an existing config file as the base of a run or a sweep.

Its `graph_model`, `training` and `claude` values replace those of the config groups; overrides on the command line
replace them in turn. Hydra gets them as the choice `given` of the config group `base`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore

from siren_sweep.config.checks import trial_config
from siren_sweep.config.config_file import read_values
from siren_sweep.config.parameters import EXPLORABLE, value_at
from siren_sweep.config.schema import TrialConfig
from siren_sweep.config.unknown import nearest
from siren_sweep.errors import ConfigError

SECTIONS = ("graph_model", "training", "claude")
_MANY_FRAMES = 10**9  # in place of the n_training_frames that the file does not name
_OPTION, _CHOICE = "base=", "given"
_files: list[Path] = []  # given as `base=`
_TYPED_WRONG = 0.85  # difflib's ratio to a known name; from it on, an unknown name counts as mistyped


def with_base(arguments: Sequence[str]) -> list[str]:
    """The command's arguments, with `base=PATH` replaced by the choice under which Hydra now has the file's values.

    Prints the keys of the file that are not understood. Raises ConfigError.
    """
    given = []
    for argument in arguments:
        if argument.startswith(_OPTION) and argument != f"{_OPTION}null":
            file = Path(argument.removeprefix(_OPTION).strip("'\""))
            values, unknown = read_base(file)
            _files.append(file.absolute())
            ConfigStore.instance().store(group="base", name=_CHOICE, node=values, package="_global_")
            if unknown:
                print(f"{argument}: not understood, and left out: {', '.join(unknown)}", file=sys.stderr)
            argument = f"{_OPTION}{_CHOICE}"
        given.append(argument)
    return given


def retyped(overrides: Sequence[str]) -> list[str]:
    """The overrides for another process, where `with_base` has not run yet: with `base=PATH` again."""
    return [f"{_OPTION}{_files[-1]}" if text == f"{_OPTION}{_CHOICE}" else text for text in overrides]


def read_base(file: Path) -> tuple[dict[str, Any], list[str]]:
    """The values of a config as Hydra merges them, and the keys that are not understood.

    Raises ConfigError, with every fault of its values.
    """
    content = read_values(file, "base")
    unknown = [str(name) for name in content if name not in SECTIONS]
    given: dict[str, dict[str, Any]] = {}
    wrong: list[str] = []
    for section in SECTIONS:
        values = content.get(section) or {}
        if not isinstance(values, Mapping):
            raise ConfigError(f"{section} of base must hold names and values, got {values!r} in {str(file)!r}")
        fields = dataclasses.fields(getattr(TrialConfig(), section))
        known, may_be_null = {item.name for item in fields}, {item.name for item in fields if "None" in str(item.type)}
        for name in [one for one in values if one not in known]:  # left out, unless mistyped
            near = nearest(f"{section}.{name}", [f"{section}.{one}" for one in known], at_least=_TYPED_WRONG)
            if near is not None and near.rpartition(".")[2] not in values:
                wrong.append(f"there is no setting {section}.{name}; the nearest is {near}, in {str(file)!r}")
        own = {str(name): value for name, value in values.items() if name in known}
        given[section] = {name: value for name, value in own.items() if value is not None or name in may_be_null}
        unknown += [f"{section}.{name}" for name in values if name not in known]
    checked = _checked(given, file, wrong)
    start = {name: value for name in EXPLORABLE if (value := value_at(checked, name)) is not None}
    return {**checked, "search_space": {"base": start}}, unknown


def _checked(given: Mapping[str, Mapping[str, Any]], file: Path, wrong: list[str]) -> dict[str, dict[str, Any]]:
    """The values in their parameters' types. Raises ConfigError with all faults, those in `wrong` first.

    A file without n_training_frames sets no upper limit to the batch size.
    """
    frames = {"n_training_frames": _MANY_FRAMES}
    try:
        cfg = trial_config({**given, "training": {**frames, **given["training"]}})
    except ConfigError as error:
        raise ConfigError([*wrong, *(f"{fault} in {str(file)!r}" for fault in error.faults)]) from None
    if wrong:
        raise ConfigError(wrong)
    return {
        section: {name: getattr(getattr(cfg, section), name) for name in values} for section, values in given.items()
    }
