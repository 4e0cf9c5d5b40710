"""A training run's config as a YAML file: the one way it is written, and the one way it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from siren_sweep.config.checks import trial_config
from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import ConfigError


def plain(cfg: TrialConfig) -> dict[str, dict[str, Any]]:
    """The groups that a training run reads, as plain values for YAML or JSON."""

    def value(item: Any) -> Any:
        return item.value if hasattr(item, "value") else item

    return {
        group.name: {key: value(item) for key, item in vars(getattr(cfg, group.name)).items()}
        for group in dataclasses.fields(TrialConfig)
    }


def yaml_text(values: Mapping[str, Mapping[str, Any]], head: str | None = None) -> str:
    """The file's text. With a `head`, a comment that says what the file is, `siren-sweep --config-name` can run it."""
    if head is None:
        return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    runs = {"defaults": ["config", "_self_"], **values}
    return head + yaml.safe_dump(runs, sort_keys=False, allow_unicode=True)


def read_config(file: Path) -> TrialConfig:
    """The config in a YAML file; groups and keys that a training run does not need are left out.

    Raises ConfigError.
    """
    return trial_config(read_values(file, "the config"))


def read_values(file: Path, what: str) -> Mapping[str, Any]:
    """The groups of a YAML file. Raises ConfigError, which calls the file `what`."""
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{what} must be a YAML file that can be read, got {str(file)!r} ({error})") from None
    if not isinstance(values, Mapping):
        raise ConfigError(f"{what} must hold groups of values, got {str(file)!r} with {type(values).__name__}")
    return values
