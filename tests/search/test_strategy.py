"""Batches as they are planned: layouts, parents, and that nothing runs twice, whichever sampler serves them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from siren_sweep.config.choices import Strategy
from siren_sweep.config.parameters import defaults
from siren_sweep.search.proposal import Proposal
from siren_sweep.search.proposer import OneByOne, Proposer
from siren_sweep.search.sampler import UCBTreeSampler
from siren_sweep.search.strategy import plan_batch
from siren_sweep.study.records import Outcome, TrialPlan
from siren_sweep.study.stored_trials import trial_values

OMEGA, RATE, WIDTH = "graph_model.omega_f", "training.learning_rate_NNR_f", "graph_model.hidden_dim_nnr_f"
BASE: dict[str, Any] = {OMEGA: 80.0, RATE: 1e-4, WIDTH: 128, "kind": "a"}


Space = dict[str, BaseDistribution]
SPACE: Space = {
    OMEGA: FloatDistribution(5, 2000, log=True),
    RATE: FloatDistribution(1e-6, 1e-2, log=True),
    WIDTH: IntDistribution(16, 1024, log=True),
    "kind": CategoricalDistribution(["a", "b"]),
}
SMALL: Space = {"a": IntDistribution(1, 3), "b": CategoricalDistribution([10, 20])}


def empty() -> optuna.Study:
    return optuna.create_study(direction="maximize")


def run(study: optuna.Study, proposals: Sequence[Proposal], space: Space, value: float = 0.5) -> None:
    """Enqueue, start and tell a batch as a sweep does; each trial a little better than the one before."""
    for one in proposals:
        study.enqueue_trial(one.params, user_attrs={"parent": one.parent})
        trial = study.ask(space)
        study.tell(trial, value + 0.001 * trial.number)


def plan(study: optuna.Study, proposer: Proposer | None = None, n: int = 4, **more: Any) -> list[Proposal]:
    options = {"strategy": Strategy.auto, "base": BASE} | more
    return plan_batch(study, options.pop("space", SPACE), proposer or UCBTreeSampler(0), n, **options)


def stock(kind: type[BaseSampler]) -> Callable[[int], Proposer]:
    """One of Optuna's samplers, made with a seed."""
    return lambda seed: OneByOne(kind(seed=seed))


def test_first_batch_of_a_sweep_varies_omega_around_the_base() -> None:
    proposals = plan(empty())
    assert proposals[0].params == BASE
    assert len({one.params[OMEGA] for one in proposals}) == 4
    assert all({**one.params, OMEGA: 80.0} == BASE for one in proposals)
    assert [one.parent for one in proposals] == [None, 0, 0, 0]
    assert all(one.strategy == "grid" for one in proposals)


def test_first_batch_of_a_later_block_holds_what_was_carried() -> None:
    carried = [{**BASE, OMEGA: 33.0}, {**BASE, OMEGA: 33.0, RATE: 5e-4}]
    proposals = plan(empty(), carried=carried)
    assert [one.params for one in proposals[:2]] == carried
    assert len(proposals) == 4
    for variation in proposals[2:]:
        assert variation.parent == 0
        assert sum(variation.params[name] != carried[0][name] for name in BASE) == 1


def test_latin_square_crosses_two_parameters_at_two_levels() -> None:
    proposals = plan(empty(), strategy=Strategy.latin_square)
    varied = [name for name in BASE if len({one.params[name] for one in proposals}) == 2]
    assert varied == [OMEGA, RATE]
    assert len({(one.params[OMEGA], one.params[RATE]) for one in proposals}) == 4


def test_focused_varies_one_parameter_of_the_best_trial() -> None:
    study = empty()
    run(study, plan(study), SPACE)
    best = study.best_trial
    proposals = plan(study, strategy=Strategy.focused)
    assert all(one.parent == best.number for one in proposals)
    assert all(sum(one.params[name] != best.params[name] for name in BASE) == 1 for one in proposals)


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("proposer", [UCBTreeSampler, stock(RandomSampler), stock(TPESampler)])
def test_batches_are_distinct_and_none_repeats(strategy: Strategy, proposer: Callable[[int], Proposer]) -> None:
    study = empty()
    for batch in range(3):
        run(study, plan(study, proposer(batch), strategy=strategy), SPACE)
    configs = {tuple(sorted(trial.params.items())) for trial in study.trials}
    assert len(configs) == len(study.trials) == 12


@pytest.mark.parametrize("proposer", [UCBTreeSampler, stock(RandomSampler), stock(TPESampler)])
def test_small_space_is_run_to_its_last_config(proposer: Callable[[int], Proposer]) -> None:
    study, sizes = empty(), []
    for batch in range(3):
        proposals = plan(study, proposer(batch), space=SMALL, base={"a": 2, "b": 10})
        sizes.append(len(proposals))
        run(study, proposals, SMALL)
    assert sizes == [4, 2, 0]


def test_same_study_plans_the_same_again() -> None:
    study = empty()
    run(study, plan(study), SPACE)
    assert plan(study, stock(TPESampler)(5)) == plan(study, stock(TPESampler)(5))
    assert plan(study, UCBTreeSampler(5)) == plan(study, UCBTreeSampler(5))


def test_planning_leaves_the_study_as_it_was() -> None:
    study = empty()
    run(study, plan(study), SPACE)
    plan(study, stock(TPESampler)(0))
    assert len(study.trials) == 4


def test_mutation_is_told_by_leaf_name_against_the_parent() -> None:
    proposals = plan(empty())
    assert proposals[0].mutation == ""
    assert all(one.mutation.startswith("omega_f: 80 -> ") for one in proposals[1:])


def test_layouts_state_what_would_falsify_them() -> None:
    child = plan(empty())[1]
    assert child.hypothesis is not None
    assert child.hypothesis.parameters == (OMEGA,)
    assert child.hypothesis.old == (80.0,)
    assert child.hypothesis.new == (child.params[OMEGA],)
    assert "parent" in child.hypothesis.falsified_by


def test_base_outside_the_space_is_moved_into_it() -> None:
    space: Space = {OMEGA: CategoricalDistribution([30, 90]), RATE: FloatDistribution(1e-3, 1e-2, log=True)}
    proposals = plan(empty(), space=space, base={OMEGA: 80.0, RATE: 1e-4})
    assert proposals[0].params == {OMEGA: 90, RATE: 1e-3}


def test_shorter_last_batch_is_as_long_as_asked_for() -> None:
    assert len(plan(empty(), n=2)) == 2


def test_failed_trials_are_not_run_again() -> None:
    study = empty()
    for one in plan(study):
        study.add_trial(create_trial(params=one.params, distributions=SPACE, state=TrialState.FAIL))
    again = plan(study)
    assert len(again) == 4
    assert not {one.params[OMEGA] for one in again} & {trial.params[OMEGA] for trial in study.trials}


def test_a_sampler_that_keeps_its_state_in_its_trials_goes_on_from_batch_to_batch() -> None:
    space: Space = {name: SPACE[name] for name in (OMEGA, RATE)}
    study, generations = empty(), []
    for batch in range(6):
        proposals = plan(study, stock(CmaEsSampler)(batch), space=space, base={OMEGA: 80.0, RATE: 1e-4})
        generations.append(max(one.sampler_state.get("cma:generation", -1) for one in proposals))
        for one in proposals:
            attributes = {"sampler_state": json.loads(json.dumps(one.sampler_state))}
            study.enqueue_trial(one.params, user_attrs=attributes)
            trial = study.ask(space)
            study.tell(trial, -(math.log10(one.params[OMEGA] / 100) ** 2))
    assert generations == sorted(generations)
    assert generations[-1] >= 2


def test_what_a_person_tries_is_a_child_of_the_config_that_it_changes() -> None:
    """Of two solved configs that is the cheaper one, though the other has the higher R2."""
    space: Space = {WIDTH: CategoricalDistribution([64, 256]), OMEGA: FloatDistribution(5, 500, log=True)}
    study = empty()
    study.set_user_attr("settings", {"claude.solved_r2": 0.9999})
    for width, r2 in ((256, 0.999999), (64, 0.99995)):
        params = {WIDTH: width, OMEGA: 30.0}
        own = trial_values(TrialPlan(1, defaults() | params), Outcome(1, "finished", stop_step=100), 1)
        study.add_trial(create_trial(value=r2, params=params, distributions=space, user_attrs=own))
    (asked,) = plan(study, n=1, space=space, base={}, wanted=[{WIDTH: 64, OMEGA: 60.0}])
    assert (asked.parent, asked.mutation) == (1, "omega_f: 30 -> 60")
