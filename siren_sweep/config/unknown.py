"""Settings that do not exist, each reported with the most similar known name."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_NEAR = 0.6  # difflib's ratio from which names count as similar; it is 1 where they are equal


def unknown_faults(cfg: Any) -> list[str]:
    """A line for each attribute of a (nested) dataclass config that is not a field of its class.

    OmegaConf sets a key that an override adds (`+key=value`) as such an attribute. Dictionaries may hold any key.
    """
    known = list(names(cfg))
    return [f"{unknown(name, known)}, got {value!r}" for name, value in _extra(cfg, "")]


def unknown(name: str, known: Iterable[str]) -> str:
    """The message about a name that is not known."""
    near = nearest(name, known)
    return f"there is no setting {name}" + (f"; the nearest is {near}" if near else "")


def nearest(name: str, known: Iterable[str], at_least: float = _NEAR) -> str | None:
    """The known dotted name most similar to `name`, or None: one of its own group, else of any group by the last part.

    `at_least` is the lowest difflib ratio of the last parts.
    """
    group, _, own = name.rpartition(".")
    known = list(known)
    beside = {one.rpartition(".")[2]: one for one in known if one.rpartition(".")[0] == group}
    anywhere = {one.rpartition(".")[2]: one for one in reversed(known)}
    for candidates in (beside, anywhere):
        if found := difflib.get_close_matches(own, candidates, n=1, cutoff=at_least):
            return candidates[found[0]]
    return None


def names(cfg: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings of a (nested) dataclass config, and of its groups."""
    for item in dataclasses.fields(cfg):
        yield f"{prefix}{item.name}"
        if dataclasses.is_dataclass(value := getattr(cfg, item.name)):
            yield from names(value, f"{prefix}{item.name}.")


def unknown_keys(values: Mapping[str, Any], cfg: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names in nested plain values that a (nested) dataclass config does not have."""
    fields = {item.name for item in dataclasses.fields(cfg)}
    for name, value in values.items():
        if name not in fields:
            yield f"{prefix}{name}"
        elif dataclasses.is_dataclass(own := getattr(cfg, name)) and isinstance(value, Mapping):
            yield from unknown_keys(value, own, f"{prefix}{name}.")


def _extra(cfg: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    fields = {item.name for item in dataclasses.fields(cfg)}
    for name, value in vars(cfg).items():
        if name not in fields:
            yield f"{prefix}{name}", value
        elif dataclasses.is_dataclass(value):
            yield from _extra(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            for index, entry in enumerate(value, 1):
                if dataclasses.is_dataclass(entry):
                    yield from _extra(entry, f"{prefix}{name}[{index}].")
