"""Which trial wins a block: by R2, and of solved ones by what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from siren_sweep.config.parameters import BATCH_SIZE, HIDDEN_DIM
from siren_sweep.study.studies import best_trial
from siren_sweep.study.studies import winner as winner_of
from tests.planted import CONFIG, PlantedSweep


def slot(score: float, steps: int, params: int = 100, **changes: Any) -> dict[str, Any]:
    """A slot of a planted batch that ended at a step, -log(1 - R2) at `score`."""
    metrics = {"final_r2": 0.0, "total_params": params}
    outcome = {"attempt": 1, "status": "finished", "reason": None, "metrics": metrics, "stop_step": steps}
    return {"score": score, "changes": changes, "outcome": outcome}


@pytest.mark.parametrize(
    ("slots", "winner"),
    [
        ([slot(8.0, 10), slot(9.0, 20)], 1),  # R2 0.9997 and 0.9999: neither is solved
        ([slot(9.0, 5), slot(9.5, 20), slot(14.0, 15)], 2),  # solved sooner
        ([slot(14.0, 10, params=9000, **{HIDDEN_DIM: 64}), slot(10.0, 20)], 1),  # solved later, in smaller steps
        ([slot(14.0, 10, **{BATCH_SIZE: 3 * CONFIG[BATCH_SIZE]}), slot(10.0, 20)], 1),
    ],
)
def test_of_solved_trials_the_one_that_was_solved_with_least_arithmetic_wins(
    tmp_path: Path, slots: list[dict[str, Any]], winner: int
) -> None:
    sweep = PlantedSweep(tmp_path)
    study = sweep.begin(1, settings={"claude.solved_r2": 0.9999})
    sweep.batch(1, slots)
    best = best_trial(study)
    assert best is not None
    assert best.number == winner


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        ([], 0),
        ([12.0, 10.0], 0),  # cheapest, and solved by its other seeds
        ([12.0, 5.0], 1),  # one of its seeds is far from it: it was solved by luck
        ([8.0, 8.0], 1),
    ],
)
def test_what_other_seeds_do_not_solve_does_not_win_by_being_cheap(
    tmp_path: Path, seeds: list[float], expected: int
) -> None:
    sweep = PlantedSweep(tmp_path)
    study = sweep.begin(1, settings={"claude.solved_r2": 0.9999})
    sweep.batch(1, [slot(14.0, 5), slot(10.0, 20), slot(9.0, 1)])
    if seeds:
        sweep.validate(1, 0, seeds)
    best = winner_of(study, sweep.validations.get(1))
    assert best is not None
    assert best.searched.number == expected
