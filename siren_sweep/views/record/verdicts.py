"""Judges whether a result supports its hypothesis, by a comparison with its parent against the noise between seeds.

Every hypothesis is that the mutation improves final R2 over that of the parent. It is supported where the difference
of scores exceeds the limit of the noise, falsified where it is below the negative limit, and inconclusive otherwise.
Above `claude.solved_r2` a difference does not matter in practice, so that between two solved configs it does not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from siren_sweep.config.parameters import EXPLORABLE, RATIOS, WINDOW, leaf
from siren_sweep.config.schema import N_REPORTS
from siren_sweep.views.blocks import BlockView, Stage, TrialView
from siren_sweep.views.record.noise import Noise, score


class Call(StrEnum):
    """The outcome of a hypothesis."""

    supported = "supported"
    falsified = "falsified"
    inconclusive = "inconclusive"


@dataclass(frozen=True)
class Verdict:
    """A call, its reason in one line, and the parameters (dotted names) in which the trial differs from its parent."""

    call: Call
    why: str
    changed: tuple[str, ...] = ()

    @property
    def evidence(self) -> bool:
        """Whether it is evidence on one parameter."""
        return self.call is not Call.inconclusive and len(self.changed) == 1


def changed(old: TrialView, new: TrialView) -> tuple[str, ...]:
    """The explorable parameters in which two trials differ by more than the rounding of a ratio.

    Where the lengths of the windows differ, parameters that are searched as a ratio to that length differ with it. They
    are left out where the ratio is the same.
    """
    different = tuple(name for name in EXPLORABLE if not _same(old.config[name], new.config[name]))
    if WINDOW not in different or not old.params or not new.params:
        return different
    followed = {
        parameter
        for ratio, parameter in RATIOS.items()
        if ratio in old.params and ratio in new.params and _same(old.params[ratio], new.params[ratio])
    }
    return tuple(name for name in different if name not in followed)


def judge(trial: TrialView, block: BlockView, noise: Noise) -> Verdict:
    """The verdict on a told trial of a block, by the trials of `block`."""
    parent = block.trial(trial.plan.parent)
    if parent is None:
        return Verdict(Call.inconclusive, "it has no parent to compare with")
    names = changed(parent, trial)
    if not names:
        return Verdict(Call.inconclusive, f"it does not differ from iteration {parent.plan.iteration}")
    if unknown := [leaf(name) for name in names if trial.config[name] is None or parent.config[name] is None]:
        return Verdict(Call.inconclusive, f"{', '.join(unknown)} is not known of it or of its parent", names)
    for one, whose in ((trial, "it"), (parent, f"its parent, iteration {parent.plan.iteration},")):
        if one.stage is Stage.failed:
            return Verdict(Call.inconclusive, f"{whose} failed", names)
    square = _square(trial, parent, block, names)
    compared = (trial, parent, *(square or ()))
    if block.solved_r2 is not None and all(_range(one)[1] >= score(block.solved_r2) for one in compared):
        whose = "all four configs" if square else f"it and iteration {parent.plan.iteration}"
        are = "are" if all(one.final is not None for one in compared) else "may both be"
        return Verdict(Call.inconclusive, f"{whose} {are} solved: R2 of {block.solved_r2:g} or more", names)
    if square is not None:
        return _main_effect(trial, parent, square, names, noise)
    verdict = _comparison(trial, parent, names, noise)
    singles = _singles(trial, parent, block, names)
    if singles is not None:
        effects = f"its Latin square's main effects are those of iterations {' and '.join(map(str, singles))}"
        return replace(verdict, why=f"{verdict.why}; {effects}")
    return verdict


def _comparison(trial: TrialView, parent: TrialView, names: tuple[str, ...], noise: Noise) -> Verdict:
    """The verdict by the difference of trial and parent, of which each has a score or an upper bound of it."""
    limit = noise.limit()
    low, high = (own - other for own, other in zip(_range(trial), reversed(_range(parent)), strict=True))
    against = f"iteration {parent.plan.iteration}"
    if high < -limit:
        return Verdict(Call.falsified, _words(high, against, trial, parent), names)
    if low > limit and len(names) == 1:
        return Verdict(Call.supported, _words(low, against, trial, parent), names)
    if low > limit:
        mixed = (
            f"{_words(low, against, trial, parent)}, but {len(names)} parameters changed: which did it, this cannot say"
        )
        return Verdict(Call.inconclusive, mixed, names)
    if not math.isfinite(high - low):
        return Verdict(Call.inconclusive, _so_far(trial, parent, against), names)
    return Verdict(Call.inconclusive, f"{_words(low, against, trial, parent)}, within the noise", names)


def _main_effect(
    trial: TrialView, parent: TrialView, square: tuple[TrialView, TrialView], names: tuple[str, ...], noise: Noise
) -> Verdict:
    """The verdict on one parameter of a Latin square: its effect, averaged over both levels of the other one."""
    other, corner = square
    points = [score(one.final or 0.0) for one in (trial, parent, corner, other)]
    effect, limit = (points[0] - points[1] + points[2] - points[3]) / 2, noise.limit(1.0)
    where = f"iterations {parent.plan.iteration} and {other.plan.iteration}"
    words = f"as a main effect of the Latin square, {_times(effect)} of {where}"
    if abs(effect) <= limit:
        return Verdict(Call.inconclusive, f"{words}, within the noise", names)
    return Verdict(Call.supported if effect > 0 else Call.falsified, words, names)


def _square(
    trial: TrialView, parent: TrialView, block: BlockView, names: tuple[str, ...]
) -> tuple[TrialView, TrialView] | None:
    """The other two corners of a complete Latin square: the one with only the other parameter changed, and that with
    both. None where there is no complete square."""
    if trial.plan.strategy != "latin_square" or len(names) != 1 or trial.final is None or parent.final is None:
        return None
    batch = [one for one in block.trials if (one.plan.batch, one.plan.strategy) == (trial.plan.batch, "latin_square")]
    for other in (one for one in batch if one.final is not None and one.plan.parent == parent.number):
        different = changed(parent, other)
        if len(different) != 1 or different == names:
            continue
        for corner in (one for one in batch if one.final is not None):
            if changed(other, corner) == names and changed(trial, corner) == different:
                return other, corner
    return None


def _singles(trial: TrialView, parent: TrialView, block: BlockView, names: tuple[str, ...]) -> tuple[int, ...] | None:
    """Where a trial is the corner of a Latin square with both parameters changed: the iterations that change each one.

    They are in the order of `names`. None where there are no such iterations.
    """
    if trial.plan.strategy != "latin_square" or len(names) != 2:
        return None
    batch = [one for one in block.trials if (one.plan.batch, one.plan.strategy) == (trial.plan.batch, "latin_square")]
    found = {changed(parent, one): one.plan.iteration for one in batch if len(changed(one, trial)) == 1}
    return tuple(found[(name,)] for name in names) if all((name,) in found for name in names) else None


def _range(trial: TrialView) -> tuple[float, float]:
    """The lowest and the highest score with which a trial can end: equal for a complete one, else up to its bound."""
    if trial.final is not None:
        return (score(trial.final),) * 2
    return -math.inf, score(trial.bound) if trial.bound is not None else math.inf


def _so_far(trial: TrialView, parent: TrialView, against: str) -> str:
    """A sentence that compares two trials at the last report that both have reached, since one was stopped there."""
    n_reports = min(len(trial.reports), len(parent.reports))
    early = "stopped early" if trial.final is None else f"iteration {parent.plan.iteration} was stopped early"
    if n_reports == 0:
        return f"{early}, which settles nothing against {against}"
    there = score(trial.reports[n_reports - 1].r2) - score(parent.reports[n_reports - 1].r2)
    where = f"{n_reports / N_REPORTS:.0%} of the steps"
    return f"{early}: at {where} {_times(there)} of {against}, which settles nothing"


def _words(difference: float, against: str, trial: TrialView, parent: TrialView) -> str:
    at_most = trial.final is None or parent.final is None
    sense = ("at least " if difference < 0 else "at most ") if at_most else ""
    return f"{sense}{_times(difference)} of {against}"


def _times(difference: float) -> str:
    return f"{math.exp(-difference):.3g} times the unexplained variance"


def _same(old: object, new: object) -> bool:
    if isinstance(old, int | float) and isinstance(new, int | float):
        return math.isclose(old, new, rel_tol=1e-9)
    return old == new
