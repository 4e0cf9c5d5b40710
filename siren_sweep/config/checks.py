"""Checks a config: the type and bounds of each value, and the rules between values. It reports all faults at once."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from siren_sweep.config.choices import Sampling
from siren_sweep.config.schema import Config, TrialConfig
from siren_sweep.config.unknown import unknown_faults
from siren_sweep.errors import ConfigError


def trial_config(values: Mapping[str, Any]) -> TrialConfig:
    """A `TrialConfig` from nested plain values; keys that it does not know are left out.

    Raises ConfigError, with every fault, where a value has the wrong type or breaks its bound.
    """
    cfg, wrong = TrialConfig(), []
    for group in dataclasses.fields(cfg):
        node, given = getattr(cfg, group.name), values.get(group.name) or {}
        if not isinstance(given, Mapping):
            wrong.append(f"{group.name} must hold names and values, got {given!r}")
            continue
        for item in dataclasses.fields(node):
            if item.name in given:
                try:
                    own = _coerced(getattr(node, item.name), given[item.name], optional="None" in str(item.type))
                    setattr(node, item.name, own)
                except (TypeError, ValueError) as error:
                    wrong.append(f"{group.name}.{item.name} {error}, got {given[item.name]!r}")
    wrong += faults(cfg)
    if wrong:
        raise ConfigError(wrong)
    return cfg


def faults(cfg: Any, prefix: str = "", joint: bool = True) -> list[str]:
    """Every broken bound and unknown name in a (nested) dataclass config, a line each: the rule and the value.

    Without `joint` the rules that several settings must keep together are left out.
    """
    wrong: list[str] = [] if prefix else unknown_faults(cfg)
    for item in dataclasses.fields(cfg):
        value, name = getattr(cfg, item.name), f"{prefix}{item.name}"
        if dataclasses.is_dataclass(value):
            wrong += faults(value, f"{name}.")
        elif isinstance(value, list):
            entries = ((index, entry) for index, entry in enumerate(value, 1) if dataclasses.is_dataclass(entry))
            wrong += [fault for index, entry in entries for fault in faults(entry, f"{name}[{index}].")]
        elif item.metadata and (fault := bound_fault(value, item.metadata)):
            wrong.append(f"{name} {fault}")
    if joint and isinstance(cfg, TrialConfig):
        wrong += list(_joint_faults(cfg))
    if isinstance(cfg, Config) and cfg.dataset.path is None:
        wrong.append("dataset.path must name the folder that holds stimulus.zarr and pos.zarr, got null")
    return wrong


def bound_fault(value: Any, bounds: Mapping[str, Any]) -> str | None:
    """What is wrong with one number, or None."""
    if value is None or isinstance(value, str):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return f"must be a finite number, got {value}"
    if "above" in bounds and not value > bounds["above"]:
        return f"must be greater than {bounds['above']}, got {value}"
    if "low" in bounds and value < bounds["low"]:
        return f"must be at least {bounds['low']}, got {value}"
    if "high" in bounds and value > bounds["high"]:
        return f"must be at most {bounds['high']}, got {value}"
    return None


def _joint_faults(cfg: TrialConfig) -> Iterator[str]:
    """The broken rules that are not bounds of a single number."""
    if cfg.graph_model.inr_type != "siren_txy":
        yield f"graph_model.inr_type must be siren_txy, got {cfg.graph_model.inr_type!r}"
    frames, window = cfg.training.n_training_frames, cfg.graph_model.window_frames
    if cfg.training.inr_batch_size > frames:
        yield (
            f"training.inr_batch_size must be at most training.n_training_frames ({frames}), "
            f"got {cfg.training.inr_batch_size}"
        )
    elif cfg.training.sampling == Sampling.frames and 0 < window < cfg.training.inr_batch_size:
        yield (
            f"training.inr_batch_size must be at most graph_model.window_frames ({window}) with "
            f"training.sampling=frames, got {cfg.training.inr_batch_size}"
        )


def _coerced(default: Any, value: Any, optional: bool) -> Any:
    """`value` in the type of `default`; no silent truncation of a fraction to an int."""
    if isinstance(default, StrEnum):
        if value not in (choices := list(type(default))):
            raise ValueError(f"must be one of {', '.join(choices)}")
        return type(default)(value)
    if value is None and not optional:
        raise TypeError("must have a value")
    if value is None or isinstance(default, str) or default is None:
        return value
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise TypeError("must be true or false")
        return value
    if isinstance(value, bool):
        raise TypeError("must be a number")
    try:
        number = float(value)  # PyYAML reads 1e-4 as a string
    except (TypeError, ValueError):
        raise ValueError("must be a number") from None
    if isinstance(default, int):
        if not number.is_integer():
            raise ValueError("must be a whole number")
        return int(number)
    return number
