"""What is established: the record's statements with their levels and the iterations that they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from siren_sweep.config.parameters import leaf
from siren_sweep.search.proposal import shown
from siren_sweep.views.record.evidence import Judged, Level, Statement, statements
from siren_sweep.views.record.verdicts import Verdict


@dataclass(frozen=True)
class Row:
    """One statement, and a line for each iteration that it rests on."""

    level: Level
    text: str
    evidence: Sequence[str]


def established(judgements: Sequence[Judged]) -> list[Row]:
    """The statements, the best founded first."""
    return [_row(one) for one in sorted(statements(judgements), key=lambda one: list(Level).index(one.level))]


def verdicts(judgements: Sequence[Judged]) -> Mapping[tuple[int, int], Verdict]:
    """The verdict on each trial's hypothesis, by block and trial number."""
    return {(one.trial.plan.block, one.trial.number): one.verdict for one in judgements if one.parent is not None}


def _row(statement: Statement) -> Row:
    act = f"{'Raising' if statement.raised else 'Lowering'} {leaf(statement.parameter)}"
    effect = "improves" if statement.better else "lowers"
    if statement.level is Level.contradicted:
        effect = "improves R² in some iterations and lowers"
    cases = sorted(statement.better + statement.worse, key=lambda judged: judged.trial.plan.iteration)
    return Row(statement.level, f"{act} {effect} R²", [_case(judged, statement) for judged in cases])


def _case(judged: Judged, statement: Statement) -> str:
    assert judged.parent is not None
    old, new = (shown(one.config[statement.parameter]) for one in (judged.parent, judged.trial))
    where = f"iteration {judged.trial.plan.iteration}, {judged.trial.plan.n_training_frames} frames"
    return f"{old} → {new}: {'better' if judged in statement.better else 'worse'} ({where})"
