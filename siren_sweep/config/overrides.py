"""Finds every fault of a command line. Hydra stops at the first one, so each override is tried here on its own."""

from __future__ import annotations

import itertools
import re
import shlex
import traceback
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from siren_sweep.config.checks import faults
from siren_sweep.config.compose import conf_dir, typed
from siren_sweep.config.config_file import read_values
from siren_sweep.config.schema import ADDRESSES, Config
from siren_sweep.config.unknown import names, unknown, unknown_keys
from siren_sweep.errors import ConfigError

WITH_VALUE = {  # Hydra's options that take a value
    *("--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd", "--package", "-p"),
    *("--info", "-i", "--cfg", "-c"),
}
# Settings whose value is free text, which Hydra's grammar may take for something else.
TEXTS = {*ADDRESSES, "dataset.path", "dataset.name", "outputs_dir", "sweep.name", "sweep.learn_from"}


def explain(error: Exception, arguments: Sequence[str]) -> str | None:
    """The message for a fault of the command line or of a config file; None where this program is at fault."""
    folder = _option(arguments, "--config-dir", "-cd")
    if isinstance(error, UnicodeDecodeError) and folder is not None and (files := _no_text(Path(folder))):
        return f"a config file must be text in UTF-8, and {', '.join(files)} is not ({error})"
    if not isinstance(error, (HydraException, OmegaConfBaseException)) and not _raised_in_hydra(error):
        return None
    wrong = faults_of(overrides_in(arguments), folder)
    if folder is not None:
        wrong += _faults_of_file(Path(folder, f"{_option(arguments, '--config-name', '-cn') or 'config'}.yaml"))
    return str(ConfigError(wrong)) if wrong else _text(error)


def _raised_in_hydra(error: Exception) -> bool:
    """Whether Hydra's own code raised the error: for some faults of an override it raises Python's exceptions."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__", "").split(".")[0] in ("hydra", "omegaconf")


def overrides_in(arguments: Sequence[str]) -> list[str]:
    """The override strings among the arguments of the command."""
    found, skip = [], False
    for argument in arguments:
        if not skip and not argument.startswith("-"):
            found.append(argument)
        skip = not skip and argument in WITH_VALUE
    return found


def _option(arguments: Sequence[str], *names: str) -> str | None:
    """The value of an option of the command: the next argument, or what follows `=`."""
    for argument, following in zip(arguments, [*arguments[1:], None], strict=True):
        name, equals, value = argument.partition("=")
        if name in names:
            return value if equals else following
    return None


def _no_text(folder: Path) -> list[str]:
    """The config files below a folder that are not UTF-8."""
    found = []
    for file in sorted(folder.rglob("*.yaml")):
        try:
            file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            found.append(str(file))
        except OSError:  # Hydra reports it
            continue
    return found


def _faults_of_file(file: Path) -> list[str]:
    """A line for each unknown setting in a primary config file. Hydra reports only the first."""
    try:
        values = read_values(file, "a config file")
    except ConfigError:  # Hydra reports it
        return []
    known = list(names(Config()))
    own = {key: value for key, value in values.items() if key not in ("defaults", "hydra")}
    return [f"{file}: {unknown(name, known)}" for name in unknown_keys(own, Config())]


def faults_of(overrides: Sequence[str], folder: str | None = None) -> list[str]:
    """A line for each override that Hydra refuses when it is given alone; a sweep is tried at each of its values.

    `folder` holds a person's own config files.
    """
    wrong: list[str] = []
    more = [] if folder is None else [f"hydra.searchpath=['file://{Path(folder).absolute()}']"]
    GlobalHydra.instance().clear()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        for text in overrides:
            try:
                for single in _singles(text):
                    wrong += faults(typed(compose("config", [single, *more, "dataset.path=unused"])), joint=False)
            except Exception as error:  # Hydra raises its own exceptions, and some of Python's
                wrong.append(_unquoted(text) or f"{text}: {_text(error)}")
    return wrong


def _unquoted(text: str) -> str | None:
    """The fault of a text that Hydra's grammar takes only in quotes, with what to type; None for other overrides."""
    name, _, value = text.partition("=")
    quoted = _quoted(name, value)
    if name.lstrip("+") not in TEXTS or not value or _is_override(text) or not _is_override(quoted):
        return None
    if name.lstrip("+") in ADDRESSES:  # they may hold a password
        quoted = value = f"{name}='...'"
    typed_so = shlex.quote(quoted) if any(mark in value for mark in '"$`\\!') else f'"{quoted}"'
    return (
        f"{name} must be in quotes, inside the shell's own, where it holds more than ASCII letters, digits, spaces and "
        f"/:-_.+%@: {typed_so}, got {value}"
    )


def of_text(name: str, value: str) -> str:
    """The override that sets `name` to a text, in quotes where Hydra's grammar would read another value."""
    plain = f"{name}={value}"
    return plain if _is_override(plain) and parse(plain).value() == value else _quoted(name, value)


def _quoted(name: str, value: str) -> str:
    return f"{name}={QuotedString(value, Quote.single).with_quotes()}"


def _is_override(text: str) -> bool:
    try:
        parse(text)
    except HydraException:
        return False
    return True


def parse(text: str) -> Override:
    """One override, parsed by Hydra. Raises HydraException where it is not in Hydra's grammar."""
    return OverridesParser.create().parse_override(text)


def _singles(text: str) -> list[str]:
    """The plain overrides that a sweep stands for, up to 1000; none of a sweep over a continuous range."""
    override = parse(text)
    if override.is_discrete_sweep() and not override.is_hydra_override():
        some = itertools.islice(override.sweep_string_iterator(), 1000)  # a range may have no end
        return [f"{override.get_key_element()}={value}" for value in some]
    return [] if override.is_sweep_override() else [text]


def _text(error: BaseException) -> str:
    """Hydra's message and that of the error's cause, on one line."""
    parts = [str(error).strip()]
    if error.__cause__ is not None and (cause := str(error.__cause__).strip()) != "None" and cause not in parts[0]:
        parts.append(cause)
    if (key := re.search(r"Key '.*' (?:is )?not in .*\n\s*full_key: (\S+)", "\n".join(parts))) is not None:
        return unknown(key[1], names(Config()))
    lines = [line.strip() for part in parts for line in part.split("Config search path:")[0].splitlines()]
    noise = ("full_key:", "object_type=", "reference_type=", "To append to your config use", "See https")
    return "; ".join(line for line in lines if line and not line.startswith(noise))
