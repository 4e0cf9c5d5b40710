"""Reads the configs and hypotheses that an agent wrote, as data. What breaks a rule is refused with that rule."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from siren_sweep.config.parameters import EXPLORABLE, PARAMETERS, WINDOW, grouped, parameter_of
from siren_sweep.search.encoding import Params
from siren_sweep.search.limits import Limit, fault, limited, single
from siren_sweep.search.space import Space
from siren_sweep.sweep.agent.folder import Refused
from siren_sweep.text import one_line

MOST_BYTES, MOST_WORDS = 1 << 14, 1 << 16  # bytes of a config, and of the hypotheses
_MOST_LEVELS = 8
_LONGEST = 500  # characters of a hypothesis
_SHOWN = 60  # characters of a value in a message
_ROUNDING = 1e-9  # relative error of a value that was converted to a ratio and back

Given = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Stated:
    """What the agent states about one of its configs. `parent` is an iteration."""

    hypothesis: str = ""
    falsified_by: str = ""
    parent: int | None = None


def given_config(config: Mapping[str, Any], space: Space) -> dict[str, dict[str, Any]]:
    """A config as the agent gets it, by section: the parameters that it may change, and two values that it must not."""
    fixed = {"graph_model.inr_type": "siren_txy", "training.n_training_frames": space.block.n_training_frames}
    return grouped(fixed | {name: config[name] for name in editable(space)})


def editable(space: Space) -> list[str]:
    """The explorable parameters in an agent's config; `window_frames` is left out where the block has no windows."""
    windows = WINDOW in space.dimensions or space.fixed[WINDOW]
    return [name for name in EXPLORABLE if name != WINDOW or windows]


def read_config(text: str, given: Given, space: Space) -> dict[str, Any]:
    """The explorable parameters, absolute and by dotted name, of an edited config.

    Raises Refused, with every fault, where anything but a parameter was changed, or a value has another type or breaks
    its bound.
    """
    content = parse(text)
    if not isinstance(content, Mapping):
        raise Refused(f"must hold the sections {', '.join(given)}, got {_shown(content)}")
    wrong, config = list(_changed(content, given)), dict(space.fixed)
    for name in editable(space):
        section, _, key = name.partition(".")
        values = content.get(section)
        if not isinstance(values, Mapping) or key not in values:
            wrong.append(f"{name} must be given, and is missing")
            continue
        try:
            config[name] = _checked(name, values[key])
        except ValueError as error:
            wrong.append(f"{name} {error}")
    if wrong:
        raise Refused(*wrong)
    return config


def placed(config: Mapping[str, Any], space: Space, known: Sequence[Params]) -> dict[str, Any]:
    """The point of the space for a config of absolute values. Raises Refused where the config is not in the space.

    A value that equals one of a `known` point up to rounding becomes that one.
    """
    window = int(config[WINDOW])
    if why := fault(space, WINDOW, Limit(window, window)):
        raise Refused(why)
    space = limited(space, {WINDOW: Limit(window, window)})
    wrong, params = [], {}
    for name in (*space.dimensions, *space.fixed):
        parameter = parameter_of(name)
        limit = Limit(config[parameter], config[parameter])
        if why := fault(space, parameter, limit):
            where = f" with windows of {window} frames" if window and parameter != WINDOW else ""
            wrong.append(f"{why}{where}")
        elif name in space.dimensions:
            params[name] = _snapped(single(space, name, config[parameter]), [one.get(name) for one in known])
    if wrong:
        raise Refused(*wrong)
    return params


def read_hypotheses(text: str, slots: Sequence[int]) -> tuple[dict[int, Stated], list[str]]:
    """What is stated about each slot's config, and the faults. An entry with a fault is left out.

    Raises Refused where the text is not YAML, or holds no entries.
    """
    content = parse(text)
    if content is None:
        return {}, []
    if not isinstance(content, Mapping):
        raise Refused(f"must hold an entry a config, by its number, got {_shown(content)}")
    found: dict[int, Stated] = {}
    wrong = []
    for key, entry in content.items():
        try:
            slot = _slot(key, slots)
            found[slot] = _stated(entry)
        except ValueError as error:
            wrong.append(f"{_shown(key)}: {error}")
    return found, wrong


def parse(text: str) -> Any:
    """The plain values of a YAML text. Raises Refused where it is not valid YAML, or has a key twice.

    Many levels, and references, are refused too: with them a short text could become very large.
    """
    try:
        _check_events(text)
        for twice in _twice(yaml.compose(text, Loader=yaml.SafeLoader)):
            raise Refused(f"must have each key once, got {_shown(twice)} twice")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise Refused(f"must be YAML ({one_line(error, 200)})") from None


def _check_events(text: str) -> None:
    """Raises Refused at the first reference, or level too deep, before the rest of the text is read."""
    level = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if level > _MOST_LEVELS:
            raise Refused(f"must be YAML of at most {_MOST_LEVELS} levels")
        if isinstance(event, yaml.AliasEvent):
            raise Refused("must have no references (& and *)")


def _twice(node: yaml.Node | None) -> Iterator[str]:
    """The keys that a mapping has more than once."""
    if isinstance(node, yaml.MappingNode):
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        yield from (key for key, times in keys.items() if times > 1)
        for _, value in node.value:
            yield from _twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _twice(value)


def _changed(content: Mapping[Any, Any], given: Given) -> Iterator[str]:
    """A line for each difference from the given config that is not a parameter's value."""
    for section, values in content.items():
        if section not in given:
            yield f"{_shown(section)} must not be added"
        elif not isinstance(values, Mapping):
            yield f"{section} must hold names and values, got {_shown(values)}"
        else:
            yield from (f"{section}.{_shown(key)} must not be added" for key in values if key not in given[section])
    for section, own in given.items():
        found = content.get(section)
        for key, value in own.items():
            if f"{section}.{key}" in EXPLORABLE or not isinstance(found, Mapping | None):
                continue
            if (now := (found or {}).get(key)) != value or isinstance(now, bool):
                yield f"{section}.{key} must stay {_shown(value)}, got {_shown(now)}"


def _checked(name: str, value: Any) -> Any:
    """A value in its parameter's type. Raises ValueError with the rule and the value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"must be a number, got {_shown(value)}")
    try:
        number = float(value)  # PyYAML reads 1e-4 as a string
    except (ValueError, OverflowError):
        raise ValueError(f"must be a number, got {_shown(value)}") from None
    return PARAMETERS[name].checked(number)


def _snapped(value: Any, known: Sequence[Any]) -> Any:
    if not isinstance(value, float):
        return value
    return next((one for one in known if one is not None and math.isclose(one, value, rel_tol=_ROUNDING)), value)


def _slot(key: Any, slots: Sequence[int]) -> int:
    """The slot of a key: `00`, 0, or a config file's name. Raises ValueError where it names none of `slots`."""
    text = str(key).removesuffix(".yaml").rpartition("_")[2]
    if isinstance(key, bool) or not text.isdecimal() or len(text) > 3 or int(text) not in slots:
        raise ValueError(f"an entry must have a config's number ({', '.join(f'{slot:02d}' for slot in slots)})")
    return int(text)


def _stated(entry: Any) -> Stated:
    """The statement of one entry. Raises ValueError with the rule and the value."""
    entry = {"hypothesis": entry} if isinstance(entry, str) else entry
    known = ("hypothesis", "falsified_by", "parent")
    if not isinstance(entry, Mapping) or {*entry} - {*known}:
        raise ValueError(f"an entry may hold {', '.join(known)}, got {_shown(entry)}")
    parent = entry.get("parent")
    if parent is not None and (isinstance(parent, bool) or not isinstance(parent, int)):
        raise ValueError(f"parent must be the number of an iteration, got {_shown(parent)}")
    for text in (texts := [entry.get(name) or "" for name in known[:2]]):
        if not isinstance(text, str):
            raise ValueError(f"hypothesis and falsified_by must be text, got {_shown(text)}")
    return Stated(one_line(texts[0], _LONGEST), one_line(texts[1], _LONGEST), parent)


def _shown(value: Any) -> str:
    """A value as a message quotes it, in at most `_SHOWN` characters."""
    if isinstance(value, str):
        return repr(one_line(value[:1000], _SHOWN))
    try:
        return one_line(value, _SHOWN)
    except ValueError:  # Python shows no number of more than 4300 digits
        return "a number of too many digits"
