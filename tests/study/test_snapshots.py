"""A study as the pruner of a trial sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from planted import PlantedSweep

from siren_sweep.study.snapshots import ReadOnce
from siren_sweep.sweep.worker import Worker
from siren_sweep.train.report import Report

RUNNING = {"state": TrialState.RUNNING, "attempt": 1, "outcome": None}


@pytest.fixture
def sweep(tmp_path: Path) -> PlantedSweep:
    """Four trials that were told, and two that train."""
    own = PlantedSweep(tmp_path)
    own.begin(1)
    own.batch(1, [{"score": 2.0}] * 4)
    own.batch(1, [RUNNING] * 2)
    return own


@pytest.mark.parametrize("n_batches", [1, 2])
def test_a_worker_reads_the_study_once_however_often_it_reports(
    sweep: PlantedSweep, n_batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, asked = sweep.storage.get_all_trials, list[int]()

    def counted(study_id: int, *args: Any, **kwargs: Any) -> list[optuna.trial.FrozenTrial]:
        asked.append(study_id)
        return read(study_id, *args, **kwargs)

    monkeypatch.setattr(sweep.storage, "get_all_trials", counted)
    sweep.studies[1].pruner = optuna.pruners.MedianPruner(n_startup_trials=1)
    worker = Worker(sweep.storage, sweep.studies[1], 4, attempt=1, n_batches=n_batches)
    for index in (1, 2, 3):
        worker.on_report(Report(index, index / 20, index, 0.5, 0.1, 1e-3, 9.0, 1.0))
    assert len(asked) == 1


def test_trials_that_train_are_seen_as_they_are(sweep: PlantedSweep) -> None:
    study = sweep.studies[1]
    seen = ReadOnce(sweep.storage, study)
    assert len(seen.get_trials(states=(TrialState.COMPLETE,))) == 4
    study.tell(5, 0.5)
    assert len(seen.get_trials(states=(TrialState.COMPLETE,))) == 4
    assert [trial.state for trial in seen.get_trials()][4:] == [TrialState.RUNNING, TrialState.COMPLETE]


def test_a_study_that_stands_still_is_read_once(sweep: PlantedSweep) -> None:
    study = sweep.studies[1]
    seen = ReadOnce(sweep.storage, study, still=True)
    assert len(seen.get_trials()) == 6
    attributes = seen.user_attrs
    study.tell(5, 0.5)
    study.set_user_attr("told", 2)
    assert [trial.state for trial in seen.get_trials()][4:] == [TrialState.RUNNING] * 2
    assert seen.user_attrs == attributes
