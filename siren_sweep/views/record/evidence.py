"""Combines the verdicts of all blocks to statements, each on one parameter and one direction, with a level.

A statement is established by three or more consistent iterations, tentative with one or two, and contradicted
where iterations conflict. Inconclusive results, and those of several changed parameters, do not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from siren_sweep.config.parameters import EXPLORABLE, WINDOW, leaf
from siren_sweep.search.proposal import shown
from siren_sweep.views.blocks import BlockView, TrialView
from siren_sweep.views.record.noise import Noise, noise_before
from siren_sweep.views.record.verdicts import Call, Verdict, judge

N_ESTABLISHED = 3


class Level(StrEnum):
    """How much evidence there is for a statement."""

    established = "established"
    tentative = "tentative"
    contradicted = "contradicted"


@dataclass(frozen=True)
class Judged:
    """A told trial with its parent, its verdict, and the noise by which it was judged."""

    trial: TrialView
    parent: TrialView | None
    verdict: Verdict
    noise: Noise


@dataclass(frozen=True)
class Statement:
    """What raising (or lowering) one parameter does to final R2, with the better and the worse results."""

    parameter: str
    raised: bool
    better: tuple[Judged, ...]
    worse: tuple[Judged, ...]

    @property
    def level(self) -> Level:
        if self.better and self.worse:
            return Level.contradicted
        return Level.established if len(self.better + self.worse) >= N_ESTABLISHED else Level.tentative

    @property
    def act(self) -> str:
        """`Raising omega_f`."""
        return f"{'Raising' if self.raised else 'Lowering'} {leaf(self.parameter)}"

    @property
    def cases(self) -> list[Judged]:
        """All results that it is based on, in the order of iterations."""
        return sorted(self.better + self.worse, key=lambda judged: judged.trial.plan.iteration)

    @property
    def once_established(self) -> bool:
        """Whether it is contradicted, and its first three results had established it."""
        first = [judged.verdict.call for judged in self.cases[:N_ESTABLISHED]]
        return self.level is Level.contradicted and len(first) == N_ESTABLISHED and len(set(first)) == 1

    def __str__(self) -> str:
        parts = [
            f"{effect} final_r2 ({', '.join(self._case(judged) for judged in cases)})"
            for effect, cases in (("improves", self.better), ("lowers", self.worse))
            if cases
        ]
        after = ". It was established until it was contradicted" if self.once_established else ""
        return f"{self.act} {', and '.join(parts)}{after}"

    def _case(self, judged: Judged) -> str:
        assert judged.parent is not None
        old, new = (shown(one.config[self.parameter]) for one in (judged.parent, judged.trial))
        frames = judged.trial.plan.n_training_frames
        return f"iteration {judged.trial.plan.iteration}: {old} -> {new} at {frames} frames"


def judge_block(block: BlockView, noise: Noise) -> list[Judged]:
    """The told trials of one block with their verdicts, each judged by what was known when its batch was over."""
    told, batches = by(block.trials, lambda one: one.told_in), by(block.trials, lambda one: one.plan.batch)
    found = []
    for batch in sorted(block.told):
        own = sorted(told[batch], key=lambda trial: trial.given_up is not None)  # given up: last
        beside = [one for number in {trial.plan.batch for trial in own} for one in batches[number]]
        parents = [parent for trial in own if (parent := block.trial(trial.plan.parent))]
        # A view with only the trials by which these are judged: of few trials it is made fast.
        seen = block.after(batch, {one.number: one for one in (*beside, *parents)}.values())
        found += [Judged(trial, seen.trial(trial.plan.parent), judge(trial, seen, noise), noise) for trial in own]
    return found


def by(trials: Iterable[TrialView], key: Callable[[TrialView], int | None]) -> defaultdict[int | None, list[TrialView]]:
    """The trials in groups by their key. They keep their order."""
    groups = defaultdict[int | None, list[TrialView]](list)
    for trial in trials:
        groups[key(trial)].append(trial)
    return groups


def revised(blocks: Sequence[BlockView], ended: int) -> list[tuple[Judged, Judged]]:
    """The verdicts that change at the end of block `ended`, as (before, after), since it adds to the known noise."""
    return [
        (old, new)
        for block in blocks
        if block.number <= ended
        for old, new in zip(
            judge_block(block, noise_before(blocks, ended)),
            judge_block(block, noise_before(blocks, ended + 1)),
            strict=True,
        )
        if old.verdict.call is not new.verdict.call
    ]


def current(blocks: Sequence[BlockView]) -> list[Judged]:
    """Every told trial with its latest verdict, which is that after the last revision."""
    ended = max((block.number for block in blocks if block.ended), default=0)
    return [judged for block in blocks for judged in judge_block(block, noise_before(blocks, ended + 1))]


def statements(judgements: Iterable[Judged]) -> list[Statement]:
    """A statement for each parameter and direction for which there is evidence, in the order of the parameters."""
    cases: dict[tuple[str, bool], dict[Call, list[Judged]]] = {}
    for judged in judgements:
        if judged.verdict.evidence and judged.parent is not None:
            name = judged.verdict.changed[0]
            raised = _value(judged.trial, name) > _value(judged.parent, name)
            cases.setdefault((name, raised), {}).setdefault(judged.verdict.call, []).append(judged)
    ordered = sorted(cases, key=lambda key: (EXPLORABLE.index(key[0]), not key[1]))
    return [
        Statement(*key, tuple(cases[key].get(Call.supported, ())), tuple(cases[key].get(Call.falsified, ())))
        for key in ordered
    ]


def _value(trial: TrialView, name: str) -> float:
    """A parameter's value as a number. A `window_frames` of 0, no windows, counts as one window of all frames."""
    value = float(trial.config[name])
    return float(trial.plan.n_training_frames) if name == WINDOW and not value else value
