"""Which paused trials are taken up again, and what a search sees of those that are not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from siren_sweep.config.choices import Strategy
from siren_sweep.search.going_on import GoingOn, worth_going_on
from siren_sweep.search.proposer import OneByOne
from siren_sweep.search.pruner import UCBPruner
from siren_sweep.search.sampler import UCBTreeSampler
from siren_sweep.search.strategy import plan_batch
from siren_sweep.study.records import Outcome, TrialPlan
from siren_sweep.study.stored import trial_values

N = 20
OMEGA = "graph_model.omega_f"


class Space:
    def distributions(self) -> dict[str, FloatDistribution]:
        return {OMEGA: FloatDistribution(5, 2000, log=True)}


def early(final: float) -> list[float]:
    """R2 of a curve that has all its nines after a few reports."""
    return [1 - 10 ** -(final * min(1.0, index / 4)) for index in range(1, N + 1)]


def slow(final: float, n_reports: int) -> list[float]:
    """R2 at the first reports of one whose nines rise evenly, to `final` after eight of them."""
    return [1 - 10 ** -(final * min(1.0, index / 8)) for index in range(1, n_reports + 1)]


def late(final: float) -> list[float]:
    """R2 of one that gets most of them in its second half."""
    return [1 - 10 ** -(final * (index / N) ** 4 + 0.01 * index) for index in range(1, N + 1)]


def add(study: optuna.Study, batch: int, curve: Sequence[float], state: TrialState = TrialState.COMPLETE) -> None:
    status = "finished" if state is TrialState.COMPLETE else "stopped"
    plan = TrialPlan(len(study.trials) + 1, {}, batch=batch)
    study.add_trial(
        create_trial(
            state=state,
            value=curve[-1] if state is TrialState.COMPLETE else None,
            params={OMEGA: 10.0 + len(study.trials)},
            distributions=Space().distributions(),
            intermediate_values=dict(enumerate(curve, 1)),
            user_attrs=trial_values(plan, Outcome(1, status), attempt=1),
        )
    )


@pytest.fixture
def study() -> optuna.Study:
    """Four that rose early, and one stopped as it was below them."""
    study = optuna.create_study(direction="maximize")
    for final in (1.8, 1.9, 2.0, 2.1):
        add(study, 1, early(final))
    add(study, 1, slow(0.7, 12), TrialState.RUNNING)
    stopped = study.get_trials(deepcopy=False)[4]
    assert UCBPruner().prune(study, stopped)
    return study


def plan(study: optuna.Study, proposer: Any) -> list[Any]:
    return plan_batch(study, Space(), proposer, 4, strategy=Strategy.auto, base={OMEGA: 10.0})


def test_a_paused_trial_goes_on_once_finished_curves_have_shown_that_it_may_still_win(study: optuna.Study) -> None:
    assert not worth_going_on(study)
    for _ in range(2):
        add(study, 2, early(2.0))
    assert not worth_going_on(study), "nothing that has finished since gained late"
    for final in (1.5, 1.6, 1.7, 1.8):
        add(study, 3, late(final))
    assert [trial.number for trial in worth_going_on(study)] == [4]
    proposals = plan(study, GoingOn(UCBTreeSampler(0)))
    assert [one.goes_on for one in proposals] == [None, None, None, 4]
    assert proposals[-1].params == study.trials[4].params
    assert len({one.params[OMEGA] for one in proposals}) == 4
    assert plan(study, GoingOn(UCBTreeSampler(0))) == proposals


class Looks(RandomSampler):
    """Keeps what it sees of the last study that it was asked in."""

    states: list[tuple[TrialState, float | None]]

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.states = [(one.state, one.value) for one in study.get_trials(deepcopy=False)[:-1]]


def test_optunas_samplers_see_a_paused_trial_as_pruned_and_take_none_up(study: optuna.Study) -> None:
    for final in (1.5, 1.6, 1.7, 1.8):
        add(study, 3, late(final))
    sampler = Looks(seed=0)
    proposals = plan(study, OneByOne(sampler))
    assert [one.goes_on for one in proposals] == [None] * 4
    assert sampler.states[4] == (TrialState.PRUNED, slow(0.7, 12)[-1])
    assert study.trials[4].state is TrialState.RUNNING
