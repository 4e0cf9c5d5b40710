"""Converts the records of a sweep to JSON values and back. `stored` and `stored_trials` know their keys."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, TypeVar

from siren_sweep.errors import SweepStateError
from siren_sweep.study.records import Hypothesis, Instruction, Outcome, TrialPlan

SAMPLER_STATE = "sampler_state"
_HYPOTHESIS = "hypothesis"

T = TypeVar("T")


def plan_values(plan: TrialPlan) -> dict[str, Any]:
    """A plan as it is stored."""
    values: dict[str, Any] = {
        **vars(plan),
        "config": dict(plan.config),
        _HYPOTHESIS: _hypothesis_values(plan.hypothesis),
        SAMPLER_STATE: dict(plan.sampler_state),
    }
    for name in ("validation_of", "whole_of", "note", SAMPLER_STATE):  # few trials have these
        if not values[name] and values[name] != 0:
            del values[name]
    return values


def as_plan(values: Mapping[str, Any], where: str) -> TrialPlan:
    """The plan in stored values.

    `where` names their place in the SweepStateError that it raises if some are missing.
    """
    own = {key: value for key, value in values.items() if value is not None}
    if _HYPOTHESIS in own:
        own[_HYPOTHESIS] = _hypothesis(own[_HYPOTHESIS])
    return as_record(TrialPlan, own, where)


def _hypothesis(values: Mapping[str, Any]) -> Hypothesis:
    def several(name: str) -> tuple[Any, ...]:
        value = values.get(name)
        return tuple(value) if isinstance(value, list) else () if value is None else (value,)

    return Hypothesis(
        rationale=str(values.get("rationale") or ""),
        falsified_by=str(values.get("falsified_by") or ""),
        parameters=several("parameter"),
        old=several("old"),
        new=several("new"),
        expectation=values.get("expectation"),
    )


def _hypothesis_values(hypothesis: Hypothesis | None) -> dict[str, Any] | None:
    """As it is stored: a single changed parameter without a list."""
    if hypothesis is None:
        return None
    single = len(hypothesis.parameters) == 1
    changes = {"parameter": hypothesis.parameters, "old": hypothesis.old, "new": hypothesis.new}
    return {
        **{name: values[0] if single else list(values) for name, values in changes.items()},
        "expectation": dict(hypothesis.expectation) if hypothesis.expectation else None,
        "rationale": hypothesis.rationale,
        "falsified_by": hypothesis.falsified_by,
    }


def outcome_values(outcome: Outcome) -> dict[str, Any]:
    """An outcome as it is stored."""
    values = {**vars(outcome), "metrics": dict(outcome.metrics), "provenance": dict(outcome.provenance)}
    for name in ("began_s", "ended_s", "provenance"):  # older versions do not have these
        if not values[name]:
            del values[name]
    return values


def as_instruction(values: Mapping[str, Any]) -> Instruction:
    """The instruction in stored values."""
    own = {key: values[key] for key in ("number", "line", "block", "after_batch", "answer")}
    limit = values.get("limit")
    return Instruction(
        **own,
        limit=(limit["parameter"], limit["low"], limit["high"]) if limit else None,
        wanted=values.get("try"),
        more=int(values.get("more") or 0),
        stop=bool(values.get("stop")),
        end=bool(values.get("end")),
    )


def instruction_values(one: Instruction) -> dict[str, Any]:
    """An instruction as it is stored, without the changes that it does not make."""
    values: dict[str, Any] = {key: getattr(one, key) for key in ("number", "line", "block", "after_batch")}
    if one.limit:
        values["limit"] = dict(zip(("parameter", "low", "high"), one.limit, strict=True))
    if one.wanted is not None:
        values["try"] = dict(one.wanted)
    if one.more:
        values["more"] = one.more
    if one.stop or one.end:
        values |= {"stop": one.stop} | ({"end": True} if one.end else {})
    return {**values, "answer": one.answer}


def as_record(kind: type[T], values: Any, where: str) -> T:
    """A dataclass of type `kind` from stored values; keys that it does not have belong to other parts of the record.

    Raises SweepStateError, which names `where`, if some are missing.
    """
    fields = _fields(kind)  # type: ignore[arg-type]
    try:
        return kind(**{key: value for key, value in values.items() if key in fields})
    except (TypeError, AttributeError) as error:
        raise SweepStateError(f"the {kind.__name__.lower()} stored with {where} is broken: {error}") from None


@functools.cache
def _fields(kind: Any) -> frozenset[str]:
    return frozenset(item.name for item in dataclasses.fields(kind))
