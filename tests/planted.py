"""Makes sweeps with given results: real studies whose trials have the values that a test needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from siren_sweep.config import parameters
from siren_sweep.config.parameters import PARAMETERS
from siren_sweep.paths import SweepPaths
from siren_sweep.study.records import Block, Outcome, Stop, TrialPlan
from siren_sweep.study.stored_trials import trial_values
from siren_sweep.study.studies import create, open_storage, study_name, validation_name
from siren_sweep.train.report import Report
from siren_sweep.views.blocks import BlockView, Stage, TrialView


def config_of(**values: float) -> dict[str, Any]:
    """A config from values by the parameters' short names; the other parameters are at their defaults."""
    assert values.keys() <= {parameter.short for parameter in PARAMETERS.values()}
    return {name: values.get(parameter.short, parameter.default) for name, parameter in PARAMETERS.items()}


OMEGA, RATE, WIDTH = parameters.OMEGA, parameters.RATE, parameters.HIDDEN_DIM
CONFIG = config_of(
    hidden_dim=8, n_layers=1, omega=20.0, T_period=10.0, xy_period=16.0, lr=1e-3, batch_size=4, total_steps=20
)


def r2_of(score: float) -> float:
    """The R2 of a score -log(1 - R2)."""
    return 1 - math.exp(-score)


def view(
    number: int,
    score: float | None,
    parent: int | None = None,
    *,
    changes: Mapping[str, Any] | None = None,
    stage: Stage = Stage.failed,
    bound: float | None = None,
    curve: Sequence[float] = (),
    **plan: Any,
) -> TrialView:
    """One trial of block 1, batch 1, whose config differs from CONFIG by `changes`; `plan` are fields of its plan.

    `stage` is the stage of a trial without a score, `bound` the pruner's bound of a stopped one. `curve` has the R2 of
    its reports.
    """
    place = {"batch": 1, "slot": number % 4, "n_training_frames": 10}
    own = {"iteration": number + 1, "config": CONFIG | dict(changes or {}), "parent": parent}
    states = {Stage.failed: TrialState.FAIL, Stage.paused: TrialState.RUNNING, Stage.pruned: TrialState.PRUNED}
    return TrialView(
        number,
        states[stage] if score is None else TrialState.COMPLETE,
        None if score is None else r2_of(score),
        {},
        TrialPlan(**{**own, **place, **plan}),
        attempt=1,
        reports=tuple(Report(at, at / 20, at, r2, 0.1, 1e-3, 9.0, 1.0) for at, r2 in enumerate(curve, 1)),
        stop=Stop(0.25, 0.1, bound) if stage.stopped else None,
        outcome=Outcome(1, "stopped" if stage.stopped else "failed" if score is None else "finished"),
    )


def block_of(
    *trials: TrialView,
    number: int = 1,
    settings: Mapping[str, Any] | None = None,
    validation: Sequence[Sequence[float]] = (),
    **fields: Any,
) -> BlockView:
    """A block with these trials, in which all batches are told. `validation` has the R2 of each config's seeds."""
    told = frozenset(trial.plan.batch for trial in trials)
    ordered = sorted(trials, key=lambda trial: trial.plan.iteration)
    seeds = dict(enumerate(validation))
    return BlockView(Block(number, 10, settings=settings or {}), ordered, told=told, validation=seeds, **fields)


class PlantedSweep:
    """The storage of a sweep, which a test fills batch by batch."""

    def __init__(self, folder: Path, dataset: dict[str, Any] | None = None) -> None:
        self.paths = SweepPaths(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.storage = open_storage(None, self.paths)
        self.studies: dict[int, Study] = {}
        self.validations: dict[int, Study] = {}
        self._dataset = dataset or {"path": "/data", "n_input_neurons": 1736}
        self._iteration = 0

    def begin(
        self, block: int, n_frames: int = 10, settings: Mapping[str, Any] | None = None, data_hash: str = ""
    ) -> Study:
        settings = {"claude.ucb_c": 1.414, "claude.n_iter_block": 8, "training.device": "cpu", **(settings or {})}
        own = Block(block, n_frames, data_hash, settings, self._dataset)
        self.studies[block] = create(self.storage, study_name(block), own)
        return self.studies[block]

    def batch(self, block: int, slots: Sequence[dict[str, Any]]) -> None:
        """Add a batch with a dict for each slot: score, changes, state, metrics, intermediate, or any attribute."""
        study = self.studies[block]
        batch = 1 + max((trial.user_attrs["batch"] for trial in study.trials), default=0)
        for slot, given in enumerate(slots):
            self._iteration += 1
            study.add_trial(_trial(study, block, batch, slot, self._iteration, dict(given)))

    def validate(self, block: int, number: int, scores: Sequence[float]) -> None:
        """Add runs of one trial's config with other seeds."""
        study = create(self.storage, validation_name(block))
        for score in scores:
            plan = TrialPlan(1, {}, block=block, validation_of=number)
            outcome = Outcome(1, "finished", metrics={"final_r2": r2_of(score)})
            study.add_trial(create_trial(value=r2_of(score), user_attrs=trial_values(plan, outcome, attempt=1)))
        self.validations[block] = study


def ran(score: float) -> dict[str, object]:
    """The outcome of a trial that has run all of its 20 steps."""
    return {"attempt": 1, "status": "finished", "metrics": {"final_r2": r2_of(score)}, "stop_step": 20}


def paused(bound: float | None = None, n_reports: int = 5, r2: float = 0.5, **more: Any) -> dict[str, Any]:
    """A slot of `PlantedSweep.batch` whose trial was stopped after `n_reports` of twenty reports."""
    fraction = n_reports / 20
    reports = [Report(index, index / 20, index, r2, 0.1, 1e-3, 9.0, 1.0) for index in range(1, n_reports + 1)]
    return {
        "state": TrialState.RUNNING,
        "attempt": 1,
        "intermediate": {report.index: report.r2 for report in reports},
        "reports": [vars(report) for report in reports],
        "stop": {"fraction": fraction, "r2": r2, "bound": bound, "best": 0.999},
        "outcome": vars(Outcome(1, "stopped", f"stopped at {fraction:.0%} of its steps", {}, n_reports)),
        **more,
    }


def _trial(
    study: Study, block: int, batch: int, slot: int, iteration: int, given: dict[str, Any]
) -> optuna.trial.FrozenTrial:
    state, score = given.pop("state", TrialState.COMPLETE), given.pop("score", None)
    frames = study.user_attrs["n_training_frames"]
    metrics = {"final_r2": r2_of(score) if score is not None else None, "training_time_min": 0.5, "rank_90": 2}
    metrics |= given.pop("metrics", {})
    attributes = {
        "block": block,
        "batch": batch,
        "slot": slot,
        "iteration": iteration,
        "parent": None,
        "strategy": "tree",
        "hypothesis": None,
        "n_training_frames": frames,
        "seed": 42,
        "config": CONFIG | given.pop("changes", {}),
        "outcome": {"attempt": 1, "status": "finished", "reason": given.pop("reason", None), "metrics": metrics},
    }
    value = r2_of(score) if score is not None and state is TrialState.COMPLETE else None
    reported = given.pop("intermediate", None)
    return create_trial(state=state, value=value, user_attrs=attributes | given, intermediate_values=reported)
