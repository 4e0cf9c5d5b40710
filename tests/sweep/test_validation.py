"""Which configs are trained whole, and which with other seeds, at a block's end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from optuna.trial import TrialState

from siren_sweep.config.parameters import OMEGA
from siren_sweep.study.records import Outcome, Trial, TrialPlan
from siren_sweep.study.stored_trials import TrialWriter
from siren_sweep.study.studies import load, trial_id, winner
from siren_sweep.sweep.launcher_trainer import LauncherTrainer
from siren_sweep.sweep.validation import MOST_SEEDED, Validation, promise
from tests.planted import PlantedSweep, r2_of


class Launcher:
    """Ends every run at once, with the score that its omega has when it is trained again; without one it fails."""

    def __init__(self, sweep: PlantedSweep, scores: dict[float, float]) -> None:
        self._sweep, self._scores = sweep, scores
        self.asked: list[float] = []  # the omega of each batch
        self.alone: list[bool] = []  # whether each batch has the machine for itself

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        for overrides in job_overrides:
            given = dict(text.split("=", 1) for text in overrides)
            study, number = load(self._sweep.storage, given["trial.study"]), int(given["trial.number"])
            assert study is not None
            score = self._scores.get(float(given[OMEGA]))
            outcome = Outcome(1, "failed", "out of memory")
            if score is not None:
                outcome = Outcome(1, "finished", None, {"final_r2": r2_of(score)})
            TrialWriter(self._sweep.storage, trial_id(self._sweep.storage, study, number)).outcome(outcome)
        self.asked.append(float(given[OMEGA]))
        self.alone.append(given.get("trial.alone") == "true")
        return [JobReturn(status=JobStatus.COMPLETED)] * len(job_overrides)


@pytest.mark.parametrize(
    ("scores", "asked", "wins"),
    [
        ({10: 12.0}, [10], 0),
        ({10: 5.0, 20: 12.0}, [10, 20], 1),  # the cheapest was solved by luck, the next is not
        ({10: 5.0, 20: 6.0, 30: 8.0, 40: 12.0}, [10, 20, 30], 3),  # no more than three are asked; the rest as it is
    ],
)
def test_the_cheapest_that_its_other_seeds_solve_wins(
    scores: dict[float, float], asked: list[float], wins: int, tmp_path: Path
) -> None:
    sweep = PlantedSweep(tmp_path / "s")
    study = sweep.begin(1, settings={"claude.solved_r2": 0.9999})
    sweep.batch(1, [_slot(omega, 10 * place) for place, omega in enumerate((10.0, 20.0, 30.0, 40.0), 1)])
    launcher = Launcher(sweep, scores)
    for _ in range(2):  # the second finds nothing to do
        validation: Any = Validation(sweep.storage, study, sweep.paths, LauncherTrainer(launcher), [], 1)
        validation.train_seeds(2)
    assert launcher.asked == asked
    assert len(asked) <= MOST_SEEDED
    best = winner(study, load(sweep.storage, "block_01_validation"))
    assert best is not None
    assert best.searched.number == wins


@pytest.mark.parametrize(
    ("scores", "asked", "wins"),
    [
        ({10: 4.0}, [10], 0),
        ({30: 2.0}, [10, 20, 30], 2),  # the first two cannot be trained whole
        ({10: 1.0, 20: 1.5}, [10, 20], 1),  # no more than two are trained to their end, whatever the third promises
        ({}, [10, 20, 30], None),
    ],
)
def test_in_the_place_of_a_config_that_cannot_be_trained_whole_comes_the_next(
    scores: dict[float, float], asked: list[float], wins: int | None, tmp_path: Path
) -> None:
    sweep = PlantedSweep(tmp_path / "s")
    study = sweep.begin(1)
    sweep.batch(1, [_sample(omega, score) for omega, score in ((10.0, 4.0), (20.0, 3.0), (30.0, 2.0))])
    launcher = Launcher(sweep, scores)
    for _ in range(2):  # the second finds nothing to do
        validation: Any = Validation(sweep.storage, study, sweep.paths, LauncherTrainer(launcher), [], 1)
        validation.train_whole()
    assert launcher.asked == asked
    assert all(launcher.alone)
    best = winner(study, load(sweep.storage, "block_01_validation"))
    assert (best.searched.number if best else None) == wins


def _sample(omega: float, score: float) -> dict[str, Any]:
    metrics = {"sample_r2": r2_of(score), "sample_r2_se": 0.0, "sample_windows": 4, "n_windows": 8}
    outcome = {"attempt": 1, "status": "finished", "reason": None, "metrics": metrics, "stop_step": 20}
    return {"score": score, "changes": {OMEGA: omega}, "outcome": outcome}


def test_a_sample_of_one_window_promises_what_it_has() -> None:
    """It has no standard error."""
    metrics = {"sample_r2": 0.99, "sample_r2_se": float("nan"), "sample_windows": 1, "n_windows": 8}
    trial = Trial(0, TrialState.COMPLETE, 0.99, {}, TrialPlan(1, {}), outcome=Outcome(1, "finished", metrics=metrics))
    assert promise(trial) == 0.99


def _slot(omega: float, steps: int) -> dict[str, Any]:
    metrics = {"final_r2": r2_of(12.0), "total_params": 100}
    outcome = {"attempt": 1, "status": "finished", "reason": None, "metrics": metrics, "stop_step": steps}
    return {"score": 12.0, "changes": {OMEGA: omega}, "outcome": outcome}
