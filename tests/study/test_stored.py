"""What is kept of a study's batches."""

from __future__ import annotations

import optuna

from siren_sweep.study.records import PlannedTrial, TrialPlan
from siren_sweep.study.stored import last_batch, last_told, read_plan, write_plan, write_told


def test_of_batches_that_were_told_the_last_one_alone_keeps_its_plan() -> None:
    study = optuna.create_study()
    write_told(study, 0)
    for batch in (1, 2, 3, 4):
        write_plan(study, [PlannedTrial({}, TrialPlan(batch, {}, batch=batch))])
    for batch in (1, 2, 3):
        write_told(study, batch)
    assert [len(read_plan(study, batch)) for batch in (1, 2, 3, 4)] == [0, 0, 1, 1]
    assert (last_told(study), last_batch(study)) == (3, 4)
