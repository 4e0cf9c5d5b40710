"""The reports of a trial that trains, as its study has them."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from planted import PlantedSweep

from siren_sweep.study.records import Trial
from siren_sweep.study.studies import one_trial
from siren_sweep.sweep import worker as sweep_worker
from siren_sweep.sweep.worker import Worker
from siren_sweep.train.report import Report

REPORTS = [Report(at, at / 20, at, at / 40, 0.1, 1e-3, 9.0, 1.0) for at in range(1, 21)]


@pytest.fixture
def sweep(tmp_path: Path) -> PlantedSweep:
    """One trial that trains."""
    own = PlantedSweep(tmp_path)
    own.begin(1)
    own.batch(1, [{"state": TrialState.RUNNING, "attempt": 1, "outcome": None}])
    return own


def begun(sweep: PlantedSweep, monkeypatch: pytest.MonkeyPatch, pause_s: float) -> Worker:
    monkeypatch.setattr(sweep_worker, "PAUSE_S", pause_s)
    return Worker(sweep.storage, sweep.studies[1], 0, attempt=1)


def stored(sweep: PlantedSweep) -> tuple[list[Report], dict[int, float]]:
    """The trial's reports, and the values that Optuna has of it."""
    trial: Trial = one_trial(sweep.storage, sweep.studies[1], 0)
    return list(trial.reports), sweep.studies[1].trials[0].intermediate_values


def values_of(reports: list[Report]) -> dict[int, float]:
    return {report.index: report.r2 for report in reports}


@pytest.mark.parametrize(("pause_s", "known"), [(0.0, 19), (3600.0, 1)])
def test_reports_are_stored_at_once_after_a_pause_and_all_with_the_outcome(
    sweep: PlantedSweep, monkeypatch: pytest.MonkeyPatch, pause_s: float, known: int
) -> None:
    worker = begun(sweep, monkeypatch, pause_s)
    for report in REPORTS[:19]:
        assert worker.on_report(report) is None
    assert stored(sweep) == (REPORTS[:known], values_of(REPORTS[:known]))
    worker.on_report(REPORTS[19])
    worker.write("finished", None, {"final_r2": 0.5}, 20)
    assert stored(sweep) == (REPORTS, values_of(REPORTS))


def test_a_pruner_sees_reports_that_are_not_stored_yet_and_what_it_stopped_is(
    sweep: PlantedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[dict[int, float]]()

    class StopsAtThree(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            seen.append(dict(trial.intermediate_values))
            return trial.last_step == 3

    sweep.studies[1].pruner = StopsAtThree()
    worker = begun(sweep, monkeypatch, 3600.0)
    assert [worker.on_report(report) is None for report in REPORTS[:3]] == [True, True, False]
    assert seen == [values_of(REPORTS[:at]) for at in (1, 2, 3)]
    assert stored(sweep) == (REPORTS[:3], values_of(REPORTS[:3]))


def test_a_run_that_goes_on_from_its_checkpoint_stores_the_reports_that_a_dead_worker_had_not(
    sweep: PlantedSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = begun(sweep, monkeypatch, 3600.0)
    for report in REPORTS[:7]:
        worker.on_report(report)
    again = begun(sweep, monkeypatch, 3600.0)
    again.on_resume(REPORTS[:7])
    again.on_report(REPORTS[7])
    assert stored(sweep) == (REPORTS[:8], values_of(REPORTS[:8]))
