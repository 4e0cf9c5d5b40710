"""Writes `{name}_analysis.md`: one entry for each trial, in the order in which they were told. Text is only added.

The entries of a batch are written when it is over, and use nothing that came later. A paused trial gets its entry when
it has run to its end, or was given up. An entry has its provenance where that differs from the entry before it in the
block. At a block's end there are a marker, and the verdicts that the block's validation revises.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from siren_sweep.config.parameters import XY_PERIOD
from siren_sweep.study.log_format import BLOCK_END
from siren_sweep.text import one_line
from siren_sweep.views.blocks import BlockView
from siren_sweep.views.grades import grade
from siren_sweep.views.record import words
from siren_sweep.views.record.evidence import Judged, judge_block, revised
from siren_sweep.views.record.noise import noise_before
from siren_sweep.views.record.ucb_scores import Standings, next_parent


def analysis_text(name: str, blocks: Sequence[BlockView]) -> str:
    """The text of the whole file. That of a later state of the same sweep begins with it."""
    parts = [f"# Analysis: {one_line(name)}\n"]
    for block in blocks:
        parts += _block(block, blocks)
    return "\n".join(parts)


def _block(block: BlockView, blocks: Sequence[BlockView]) -> list[str]:
    judgements = judge_block(block, noise_before(blocks, block.number))
    parts, said, standings = [], "", Standings(block)
    for batch, own in itertools.groupby(judgements, lambda judged: judged.trial.told_in):
        assert batch is not None
        first = standings.first(batch)
        for judged in own:
            origin = words.origin(block, judged.trial)
            following = next_parent(first, judged.trial.plan.iteration)
            parts.append(_entry(judged, following, "" if origin == said else origin))
            said = origin or said
    if block.ended:
        parts.append(f"{BLOCK_END}\n")
        parts += [_revision(old, new, block.number) for old, new in revised(blocks, block.number)]
    return parts


def _entry(judged: Judged, following: str, origin: str) -> str:
    """The entry of one trial. `following` is the next parent; `origin` is empty where the entry before has the same."""
    trial, parent, verdict = judged.trial, judged.parent, judged.verdict
    why = words.rationale(trial)
    hypothesis = words.hypothesis(trial, parent) + (f" ({why})" if why else "")
    observed = (
        f"{words.result(trial)}; {verdict.why} ({judged.noise}); xy_period {words.number(trial.config[XY_PERIOD])}"
    )
    observed += f"; {trial.plan.note}" if trial.plan.note else ""
    return "\n".join(
        [
            f"## Iter {trial.plan.iteration}: {grade(trial.graded)}",
            f"Node: id={trial.plan.iteration}, parent={words.parent_name(parent)}",
            f'Hypothesis tested: "{hypothesis.replace(chr(34), chr(39))}"',
            f"Config: {words.config_line(trial)}",
            f"Metrics: {words.metrics_line(trial)}",
            f"Mutation: {words.mutation(trial, parent)}",
            f"Verdict: {verdict.call}",
            f"Observation: {one_line(observed, 1000)}",
            *([f"Provenance: {origin}"] if origin else []),
            f"Next: parent={following}",
            "",
        ]
    )


def _revision(old: Judged, new: Judged, block: int) -> str:
    observed = f"{new.verdict.why} ({new.noise}, after block {block})"
    return "\n".join(
        [
            f"## Revision of iteration {new.trial.plan.iteration}",
            f"Mutation: {words.mutation(new.trial, new.parent)}",
            f"Verdict: {old.verdict.call} -> {new.verdict.call}",
            f"Observation: {one_line(observed, 1000)}",
            "",
        ]
    )
