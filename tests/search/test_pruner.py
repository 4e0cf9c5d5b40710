"""The UCB pruner: what it stops, what it must not stop, and what it says."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from hydra import compose, initialize_config_dir
from optuna.trial import FrozenTrial, TrialState, create_trial

from siren_sweep.config.compose import conf_dir, typed
from siren_sweep.config.parameters import defaults
from siren_sweep.search.policies import make_pruner, pauses
from siren_sweep.search.pruner import UCBPruner

N = 20


def curve(final: float, rate: float = 3.0) -> list[float]:
    """R2 at each twentieth: nines that grow like a saturating exponential."""
    fraction = np.arange(1, N + 1) / N
    nines = final * (1 - np.exp(-rate * fraction)) / (1 - np.exp(-rate))
    return [float(value) for value in 1 - 10**-nines]


def trial(values: list[float], state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    reports = dict(enumerate(values, 1))
    value = values[-1] if state is TrialState.COMPLETE else None
    return create_trial(state=state, value=value, intermediate_values=reports)


def study_of(*finals: float, direction: str = "maximize") -> optuna.Study:
    study = optuna.create_study(direction=direction)
    sign = 1 if direction == "maximize" else -1
    study.add_trials([trial([sign * value for value in curve(final)]) for final in finals])
    return study


def running(values: list[float]) -> FrozenTrial:
    return trial(values, TrialState.RUNNING)


def test_flat_trial_far_below_the_best_is_stopped() -> None:
    study = study_of(0.5, 1.0, 2.0, 3.0)
    assert UCBPruner().prune(study, running([0.001] * 10))


def test_trial_that_climbs_past_the_best_is_never_stopped() -> None:
    study, values = study_of(0.5, 1.0, 1.5, 2.0), curve(2.5, rate=0.5)
    assert not any(UCBPruner().prune(study, running(values[:report])) for report in range(1, N + 1))


def test_fewer_finished_trials_than_asked_for_stop_nothing() -> None:
    assert not UCBPruner(n_startup_trials=4).prune(study_of(1.0, 2.0, 3.0), running([0.001] * 10))


def test_running_and_pruned_trials_are_no_evidence() -> None:
    study = study_of(1.0, 2.0, 3.0)
    study.add_trial(trial(curve(3.0)[:19], TrialState.PRUNED))
    assert UCBPruner().bound_and_best(study, running([0.001] * 10)) is None


def test_more_confidence_gives_a_higher_bound() -> None:
    study, values = study_of(0.5, 1.0, 2.0, 3.0), running(curve(1.0)[:6])
    found = [UCBPruner(confidence).bound_and_best(study, values) for confidence in (0.5, 0.9, 0.99)]
    bounds = [one[0] for one in found if one is not None]
    assert len(bounds) == 3
    assert bounds == sorted(bounds)


def test_it_says_bound_and_best() -> None:
    found = UCBPruner().bound_and_best(study_of(0.5, 1.0, 2.0, 3.0), running(curve(0.2)[:5]))
    assert found is not None
    bound, best = found
    assert best == pytest.approx(1 - 1e-3)
    assert curve(0.2)[4] < bound < best


def test_a_trial_that_may_still_be_solved_is_not_stopped_for_one_that_is_better_yet() -> None:
    study, close = study_of(1.0, 2.0, 3.0, 8.0), running(curve(4.2)[:18])
    assert UCBPruner().prune(study, close)
    study.set_user_attr("settings", {"claude.solved_r2": 0.9999})
    assert not UCBPruner().prune(study, close)
    assert UCBPruner().prune(study, running(curve(2.0)[:18]))


def test_last_report_stops_nothing() -> None:
    assert not UCBPruner().prune(study_of(0.5, 1.0, 2.0, 3.0), running([0.001] * N))


def test_a_trial_without_reports_is_left_alone() -> None:
    assert not UCBPruner().prune(study_of(0.5, 1.0, 2.0, 3.0), running([]))


def test_minimised_objectives_are_bounded_from_below() -> None:
    study = study_of(0.5, 1.0, 2.0, 3.0, direction="minimize")
    assert UCBPruner().prune(study, running([-0.001] * 10))
    assert not UCBPruner().prune(study, running([-value for value in curve(4.0)][:10]))


def test_confidence_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"confidence must lie between 0 and 1, got 1\.0"):
        UCBPruner(confidence=1.0)


def test_it_works_in_plain_optimize() -> None:
    def objective(trial: optuna.Trial) -> float:
        values = curve(trial.suggest_float("nines", 0.1, 3.0))
        for report, value in enumerate(values, 1):
            trial.report(value, report)
            if trial.should_prune():
                raise optuna.TrialPruned
        return values[-1]

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), pruner=UCBPruner())
    study.optimize(objective, n_trials=40)
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.PRUNED) > 10
    assert max(study.trials, key=lambda one: one.params["nines"]).state is TrialState.COMPLETE


def test_coverage_of_its_bound_is_what_its_confidence_says() -> None:
    """Curves of a random shape: of trials asked at every report, the final value exceeds some bound in few."""
    rng = np.random.default_rng(0)
    pruner, misses = UCBPruner(confidence=0.9), 0
    for _ in range(150):
        study = study_of()
        study.add_trials([trial(curve(rng.uniform(0.1, 3), rng.uniform(-1, 4))) for _ in range(6)])
        values = curve(rng.uniform(0.1, 3), rng.uniform(-1, 4))
        found = [pruner.bound_and_best(study, running(values[:report])) for report in range(1, N)]
        misses += any(one is not None and one[0] < values[-1] for one in found)
    assert misses / 150 < 0.1


def test_every_trial_is_stopped_where_it_is_to_pause_and_the_best_one_nowhere_else() -> None:
    study, values = study_of(0.5, 1.0, 2.0, 3.0), curve(4.0)
    pruner = UCBPruner(pauses_at=(1, 4))
    assert [k for k in range(1, N) if pruner.prune(study, running(values[:k]))] == [1, 4]


@pytest.mark.parametrize(
    ("override", "at"),
    [
        (None, [1, 4]),
        ("claude.strategy=none", [1, 4]),
        ("proposer=agent", []),
        ("claude.strategy=latin_square", []),
        ("claude.strategy=grid", []),
        ("claude.strategy=focused", []),
    ],
)
def test_trials_pause_only_where_a_sampler_is_asked_which_of_them_go_on(override: str | None, at: list[int]) -> None:
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = typed(compose("config", ["training.device=cpu", *([override] if override else [])]))
    study, values = study_of(0.5, 1.0, 2.0, 3.0), curve(4.0)
    pruner = make_pruner(cfg)
    assert pauses(cfg, 100, defaults()) == at
    assert [k for k in range(1, N) if pruner.prune(study, running(values[:k]))] == at


@pytest.mark.parametrize(
    ("overrides", "at"),
    [
        (["cluster.gpus=0"], [1, 4]),
        (["training.device=cpu"], [1, 4]),
        (["cluster.gpus=1"], []),
        (["cluster.gpus=1", "claude.total_steps=1000000"], [1, 4]),
    ],
)
def test_a_trial_that_a_gpu_ends_soon_is_not_paused(overrides: list[str], at: list[int]) -> None:
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        cfg = typed(compose("config", ["cluster=slurm", *overrides]))
    config = defaults() | {"claude.total_steps": cfg.claude.total_steps}
    assert pauses(cfg, 100, config) == at
