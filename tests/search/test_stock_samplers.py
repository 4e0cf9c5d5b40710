"""What a sampler that takes up no paused trial sees of one."""

from __future__ import annotations

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from siren_sweep.config.choices import Strategy
from siren_sweep.search.proposer import OneByOne
from siren_sweep.search.strategy import plan_batch
from siren_sweep.study.records import Outcome, TrialPlan
from siren_sweep.study.stored_trials import trial_values

OMEGA = "graph_model.omega_f"
SPACE: dict[str, BaseDistribution] = {OMEGA: FloatDistribution(5, 2000, log=True)}


class Looks(RandomSampler):
    """Keeps what it sees of the last study that it was asked in."""

    states: list[tuple[TrialState, float | None]]

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.states = [(one.state, one.value) for one in study.get_trials(deepcopy=False)[:-1]]


def test_optunas_samplers_see_a_paused_trial_as_pruned_and_take_none_up() -> None:
    study = optuna.create_study(direction="maximize")
    for number, (status, state) in enumerate([("finished", TrialState.COMPLETE), ("stopped", TrialState.RUNNING)]):
        study.add_trial(
            create_trial(
                state=state,
                value=0.5 if state is TrialState.COMPLETE else None,
                params={OMEGA: 10.0 + number},
                distributions=SPACE,
                intermediate_values={1: 0.3, 2: 0.4},
                user_attrs=trial_values(TrialPlan(1 + number, {}), Outcome(1, status), attempt=1),
            )
        )
    sampler = Looks(seed=0)
    proposals = plan_batch(study, SPACE, OneByOne(sampler), 4, strategy=Strategy.auto, base={OMEGA: 10.0})
    assert [one.goes_on for one in proposals] == [None] * 4
    assert sampler.states[1] == (TrialState.PRUNED, 0.4)
    assert study.trials[1].state is TrialState.RUNNING
