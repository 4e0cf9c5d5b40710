"""The tree sampler: what it proposes from, and that it proposes the same again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from siren_sweep.config.parameters import WINDOW
from siren_sweep.search.encoding import axes
from siren_sweep.search.history import History
from siren_sweep.search.knowledge import couplings
from siren_sweep.search.mutations import mutations
from siren_sweep.search.proposal import Proposal
from siren_sweep.search.sampler import UCBTreeSampler
from siren_sweep.study.records import Outcome, PlannedTrial, Stop, TrialPlan
from siren_sweep.study.stored import read_plan, write_plan
from siren_sweep.study.stored_trials import trial_values
from siren_sweep.train.report import Status
from siren_sweep.train.size import n_parameters

OMEGA, RATE = "graph_model.omega_f", "training.learning_rate_NNR_f"
SPACE: dict[str, BaseDistribution] = {
    OMEGA: FloatDistribution(5, 1000, log=True),
    RATE: FloatDistribution(1e-6, 1e-2, log=True),
    "graph_model.hidden_dim_nnr_f": CategoricalDistribution([64, 128, 256]),
    "graph_model.n_layers_nnr_f": IntDistribution(2, 6),
}
OTHER: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "x": FloatDistribution(-3, 3),
    "step": FloatDistribution(0, 1, step=0.25),
    "fixed": IntDistribution(4, 4),
}


def r2(params: Mapping[str, Any]) -> float:
    """A smooth landscape with its best at omega 100, rate 1e-3, the widest."""
    distance = abs(math.log(params["graph_model.omega_f"] / 100)) + abs(
        math.log(params["training.learning_rate_NNR_f"] / 1e-3)
    )
    return float(1 - 10 ** -(3 - 0.5 * distance + math.log2(params["graph_model.hidden_dim_nnr_f"] / 256)))


def told(params: Mapping[str, Any], value: float | None, space: Mapping[str, BaseDistribution], **more: Any) -> Any:
    state = more.pop("state", TrialState.COMPLETE)
    return create_trial(params=dict(params), distributions=dict(space), value=value, state=state, **more)


def add(study: optuna.Study, proposals: Sequence[Proposal], space: Mapping[str, BaseDistribution] = SPACE) -> None:
    for one in proposals:
        study.add_trial(told(one.params, r2(one.params), space, user_attrs={"parent": one.parent}))


def searched(n_batches: int, seed: int = 0) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    for _ in range(n_batches):
        add(study, UCBTreeSampler(seed).propose(study, SPACE, 4))
    return study


def keys(configs: Sequence[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
    return {tuple(sorted(params.items())) for params in configs}


def test_batches_are_distinct_and_nothing_runs_twice() -> None:
    study = searched(6)
    assert len(keys([trial.params for trial in study.trials])) == 24


def test_small_space_is_run_to_its_end_and_then_left() -> None:
    space: dict[str, BaseDistribution] = {"a": IntDistribution(1, 3), "b": CategoricalDistribution(["u", "v"])}
    study, sizes = optuna.create_study(direction="maximize"), []
    for _ in range(3):
        proposals = UCBTreeSampler(0).propose(study, space, 4)
        sizes.append(len(proposals))
        study.add_trials([told(one.params, 0.1 * one.params["a"], space) for one in proposals])
    assert sizes == [4, 2, 0]


def test_a_first_batch_has_each_config_once_where_there_are_few() -> None:
    space = {OMEGA: CategoricalDistribution([20, 30, 40])}
    proposals = UCBTreeSampler(0).propose(optuna.create_study(direction="maximize"), space, 4)
    assert sorted(one.params[OMEGA] for one in proposals) == [20, 30, 40]


def test_same_study_and_seed_propose_the_same() -> None:
    study = searched(2)
    assert UCBTreeSampler(1).propose(study, SPACE, 4) == UCBTreeSampler(1).propose(study, SPACE, 4)


def changed_by(study: optuna.Study, proposals: Sequence[Proposal]) -> list[frozenset[str]]:
    """The parameters in which each child differs from its parent."""
    return [
        frozenset(name for name, value in one.params.items() if study.trials[one.parent].params[name] != value)
        for one in proposals
        if one.parent is not None
    ]


@pytest.mark.parametrize("seed", range(3))
def test_a_child_differs_from_its_parent_in_one_parameter_or_in_a_coupled_pair(seed: int) -> None:
    study = searched(1, seed)
    changes: list[frozenset[str]] = []
    for _ in range(8):
        proposals = UCBTreeSampler(seed).propose(study, SPACE, 4)
        changes += changed_by(study, proposals)
        add(study, proposals)
    assert all(len(names) == 1 or names == {OMEGA, RATE} for names in changes)
    assert sum(len(names) == 1 for names in changes) >= len(changes) / 2


def test_a_coupled_pair_moves_together_where_only_that_promises_more() -> None:
    """A ridge: far better along omega than at the one trial, and only where the rate follows it down."""

    def on_ridge(params: Mapping[str, Any]) -> float:
        omega, rate = math.log10(params[OMEGA] / 10), math.log10(params[RATE] / 1e-3)
        return float(1 - 10 ** -(1 + 0.8 * omega - 2.0 * abs(omega + rate)))

    space = {name: SPACE[name] for name in (OMEGA, RATE)}
    study = optuna.create_study(direction="maximize")
    for omega, rate in ((10, 1e-3), (20, 5e-4), (40, 2.5e-4), (40, 1e-3), (10, 2.5e-4), (20, 2e-3)):
        params = {OMEGA: float(omega), RATE: rate}
        study.add_trial(told(params, on_ridge(params), space, user_attrs={"parent": None}))
    proposals = [one for one in UCBTreeSampler(0).propose(study, space, 8) if one.parent is not None]
    pairs = [one for one in proposals if len(changed_by(study, [one])[0]) == 2]
    assert pairs
    for one in pairs:
        assert one.hypothesis is not None
        assert "omega_f and learning_rate_NNR_f move together: an update moves the phase" in one.hypothesis.rationale


def test_only_parameters_that_act_as_one_are_coupled() -> None:
    named = {*SPACE, "graph_model.nnr_f_xy_period", "T_period_ratio", "training.inr_batch_size", "total_steps_ratio"}
    space = axes({name: SPACE.get(name, FloatDistribution(1, 64, log=True)) for name in named})
    pairs = [(one.first, one.second) for one in couplings(space)]
    assert sorted(pairs) == [(OMEGA, "T_period_ratio"), (OMEGA, "graph_model.nnr_f_xy_period"), (OMEGA, RATE)]
    parent = (0, {axis.name: axis.from_unit(0.3) for axis in space})
    found = mutations(space, [parent], np.random.default_rng(0))
    doubles = {frozenset(name for name in named if one.params[name] != parent[1][name]) for one in found}
    assert {names for names in doubles if len(names) > 1} == {frozenset(pair) for pair in pairs}


def test_mutation_and_hypothesis_name_the_same_change() -> None:
    study = searched(2)
    children = [one for one in UCBTreeSampler(0).propose(study, SPACE, 4) if one.parent is not None]
    assert children
    for child in children:
        assert child.parent is not None
        assert child.hypothesis is not None
        stated = child.hypothesis
        assert [name.rsplit(".", 1)[-1] for name in stated.parameters] == [
            part.split(":")[0] for part in child.mutation.split(", ")
        ]
        assert stated.expectation is not None
        assert stated.expectation["sd"] > 0
        assert str(len(study.trials)) in stated.rationale


def test_it_finds_a_smooth_optimum_in_a_few_batches() -> None:
    assert searched(8).best_value > 0.995


@pytest.mark.parametrize("reward", ["rank", "raw"])
def test_both_rewards_serve(reward: str) -> None:
    assert len(UCBTreeSampler(0, reward=reward).propose(searched(2), SPACE, 4)) == 4


def test_pruned_failed_and_running_trials_are_taken_as_they_are() -> None:
    study = searched(1)
    params = UCBTreeSampler(0).propose(study, SPACE, 4)
    reports = {report: 0.01 * report for report in range(1, 8)}
    study.add_trial(told(params[0].params, None, SPACE, state=TrialState.PRUNED, intermediate_values=reports))
    study.add_trial(told(params[1].params, None, SPACE, state=TrialState.FAIL))
    study.add_trial(told(params[2].params, None, SPACE, state=TrialState.RUNNING))
    proposals = UCBTreeSampler(0).propose(study, SPACE, 4)
    assert not keys([one.params for one in proposals]) & keys([trial.params for trial in study.trials])
    failed_or_running = {len(study.trials) - 1, len(study.trials) - 2}
    assert not failed_or_running & {one.parent for one in proposals}


@pytest.mark.parametrize(
    "outcome",
    [
        {"attempt": 1, "status": "infeasible", "reason": "needs 80 min"},
        {"attempt": 1, "status": "failed", "reason": "out of memory"},
    ],
)
def test_nothing_larger_than_an_infeasible_config_is_proposed(outcome: dict[str, Any]) -> None:
    study = searched(2)
    params = {**study.trials[0].params, "graph_model.hidden_dim_nnr_f": 64, "graph_model.n_layers_nnr_f": 4}
    study.add_trial(told(params, None, SPACE, state=TrialState.FAIL, user_attrs={"outcome": outcome}))
    proposals = UCBTreeSampler(0).propose(study, SPACE, 4)
    assert proposals
    for one in proposals:
        assert one.params["graph_model.hidden_dim_nnr_f"] == 64
        assert one.params["graph_model.n_layers_nnr_f"] <= 4


def test_once_solved_only_what_costs_less_is_proposed() -> None:
    study, width, depth = searched(3), "graph_model.hidden_dim_nnr_f", "graph_model.n_layers_nnr_f"
    middle = {OMEGA: 100.0, RATE: 1e-3, width: 128, depth: 3}
    study.add_trial(told(middle, r2(middle), SPACE))
    assert any(one.params[width] == 256 for one in UCBTreeSampler(0).propose(study, SPACE, 4))
    study.set_user_attr("settings", {"claude.solved_r2": r2(middle) - 1e-6})
    proposals = UCBTreeSampler(0).propose(study, SPACE, 4)
    assert len(proposals) == 4
    assert all(n_parameters(one.params[width], one.params[depth]) < n_parameters(128, 3) for one in proposals)


def test_neighbours_of_an_infeasible_config_are_avoided_where_no_name_tells_a_cost() -> None:
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    study = optuna.create_study(direction="maximize")
    study.add_trials([told({"x": x, "y": 0.5}, x / 2, space) for x in (0.1, 0.5, 0.8)])
    outcome = {"attempt": 1, "status": "infeasible", "reason": "needs 80 min"}
    study.add_trial(told({"x": 1.0, "y": 0.5}, None, space, state=TrialState.FAIL, user_attrs={"outcome": outcome}))
    proposals = UCBTreeSampler(0).propose(study, space, 4)
    assert len(proposals) == 4
    assert all(math.dist((one.params["x"], one.params["y"]), (1.0, 0.5)) >= 0.15 for one in proposals)


def test_a_proposal_is_stored_as_json_and_read_back_as_it_was() -> None:
    study = optuna.create_study(direction="maximize")
    proposals = UCBTreeSampler(0).propose(searched(2), SPACE, 4)
    plans = [TrialPlan(1, dict(one.params), hypothesis=one.hypothesis) for one in proposals]
    write_plan(study, [PlannedTrial(one.params, plan) for one, plan in zip(proposals, plans, strict=True)])
    assert [one.params for one in read_plan(study, 1)] == [one.params for one in proposals]
    assert [one.plan.hypothesis for one in read_plan(study, 1)] == [one.hypothesis for one in proposals]


def test_earlier_block_moves_the_first_batch_to_where_it_was_good() -> None:
    earlier, study = searched(8), optuna.create_study(direction="maximize")
    first = UCBTreeSampler(0).propose(study, SPACE, 4, earlier=[earlier])
    alone = UCBTreeSampler(0).propose(study, SPACE, 4)
    assert max(r2(one.params) for one in first) > max(r2(one.params) for one in alone)


def test_plain_optimize_improves_with_any_distributions() -> None:
    def objective(trial: optuna.Trial) -> float:
        values = {name: trial._suggest(name, distribution) for name, distribution in OTHER.items()}
        return float((values["x"] - 1) ** 2 + values["step"] + (values["kind"] != "b"))

    study = optuna.create_study(sampler=UCBTreeSampler(0))
    study.optimize(objective, n_trials=30)
    assert study.best_value < 0.3
    assert all(trial.params["fixed"] == 4 for trial in study.trials)


def paused_study(curves: Mapping[float, Sequence[float]]) -> optuna.Study:
    """Trials by omega_f: with twenty reports they are finished, with fewer they are paused."""
    study = optuna.create_study(direction="maximize")
    for omega, values in curves.items():
        study.enqueue_trial({OMEGA: omega}, user_attrs=trial_values(TrialPlan(1, {}), None, 1))
        trial = study.ask({OMEGA: SPACE[OMEGA]})
        for report, value in enumerate(values, 1):
            trial.report(value, report)
        if len(values) == 20:
            study.tell(trial, values[-1])
        else:
            for name, value in trial_values(TrialPlan(1, {}), Outcome(1, Status.stopped), 1).items():
                trial.set_user_attr(name, value)
    return study


def rising(nines: float) -> list[float]:
    return [float(1 - 10 ** -(nines * report / 20)) for report in range(1, 21)]


def test_the_paused_trial_that_promises_most_goes_on() -> None:
    study = paused_study({10.0: rising(1.0), 30.0: rising(2.0), 300.0: rising(4.0)[:4], 900.0: rising(0.1)[:4]})
    again = [one for one in UCBTreeSampler(0).propose(study, {OMEGA: SPACE[OMEGA]}, 4) if one.goes_on is not None]
    assert [(one.goes_on, one.params) for one in again] == [(2, {OMEGA: 300.0})]


def test_a_paused_trial_is_proposed_once_and_never_as_a_new_config() -> None:
    study = paused_study({10.0: rising(1.0), 30.0: rising(2.0), 300.0: rising(4.0)[:4], 400.0: rising(4.0)[:4]})
    proposals = UCBTreeSampler(0).propose(study, {OMEGA: SPACE[OMEGA]}, 6)
    again = [one.goes_on for one in proposals if one.goes_on is not None]
    assert len(set(again)) == len(again)
    new = [one.params[OMEGA] for one in proposals if one.goes_on is None]
    assert not set(new) & {10.0, 30.0, 300.0, 400.0}


def test_no_new_config_begins_at_the_end_of_a_block_while_paused_ones_may_still_win() -> None:
    study = paused_study({10.0: rising(1.0), 30.0: rising(2.0), 300.0: rising(4.0)[:4], 900.0: rising(3.0)[:4]})
    space = {OMEGA: SPACE[OMEGA]}
    assert [one.goes_on for one in UCBTreeSampler(0).propose(study, space, 2, left=2)] == [2, 3]
    assert None in [one.goes_on for one in UCBTreeSampler(0).propose(study, space, 2, left=3)]


def test_what_the_pruners_bound_has_stopped_does_not_go_on_even_where_nothing_else_is_left() -> None:
    study = paused_study({10.0: rising(1.0), 30.0: rising(2.0), 300.0: rising(4.0)[:4], 900.0: rising(3.0)[:4]})
    stop = trial_values(TrialPlan(1, {}), stop=Stop(0.2, 0.5, bound=0.9, best=0.99))["stop"]
    study.get_trials(deepcopy=False)[2].user_attrs["stop"] = stop
    space = {OMEGA: SPACE[OMEGA]}
    assert [one.goes_on for one in UCBTreeSampler(0).propose(study, space, 2, left=2)] == [3, None]


def test_trials_that_ended_for_good_do_not_go_on() -> None:
    study = paused_study({10.0: rising(1.0), 30.0: rising(2.0), 300.0: rising(4.0)[:4], 900.0: rising(0.1)[:4]})
    study.tell(2, state=TrialState.PRUNED)
    study.tell(3, state=TrialState.PRUNED)
    assert {one.goes_on for one in UCBTreeSampler(0).propose(study, {OMEGA: SPACE[OMEGA]}, 4)} == {None}


def test_asking_for_four_grows_no_faster_than_linearly() -> None:
    """Counted in the trials that the model is fitted to, not in seconds: at most 70 of however many."""
    study = optuna.create_study(direction="maximize")
    first = searched(1).trials[0].params
    grid = [{**first, "graph_model.omega_f": 5.0 + index} for index in range(600)]
    study.add_trials([told(params, r2(params), SPACE) for params in grid])
    assert len(History(study, axes(SPACE)).fitted) == 70


def test_new_configs_and_paused_trials_both_get_places_where_both_may_win() -> None:
    """Over many batches, without a share that is kept for either: the margins that are drawn see to it."""
    curves = {10.0: rising(1.0), 30.0: rising(2.0), 100.0: rising(2.6)[:4], 300.0: rising(2.4)[:4]}
    study, space = paused_study(curves), {OMEGA: SPACE[OMEGA]}
    places = [one.goes_on for seed in range(20) for one in UCBTreeSampler(seed).propose(study, space, 2)]
    assert 2 <= sum(place is not None for place in places) <= 38


def test_once_something_is_solved_no_more_than_that_is_asked_of_a_config() -> None:
    """Paused at 0.9998 beside a solved trial of twice its cost: to be solved is enough, it need not be better."""
    study = paused_study({10.0: rising(4.5), 30.0: rising(1.0), 100.0: rising(1.2), 300.0: rising(4.2)[:18]})
    study.set_user_attr("settings", {"claude.solved_r2": 0.9999})
    width = "graph_model.hidden_dim_nnr_f"
    for trial in study.get_trials(deepcopy=False):
        trial.params[width] = 64 if trial.number == 3 else 128
        trial.distributions[width] = SPACE[width]
    space = {OMEGA: SPACE[OMEGA], width: SPACE[width]}
    first = [UCBTreeSampler(seed).propose(study, space, 1)[0].goes_on for seed in range(12)]
    assert first.count(3) >= 8


def test_what_one_network_lacked_says_nothing_of_windows() -> None:
    space = {**SPACE, WINDOW: CategoricalDistribution([0, 125])}
    study = optuna.create_study(direction="maximize")
    for trial in searched(2).trials:
        study.add_trial(told({**trial.params, WINDOW: 125}, trial.value, space))
    small = {**study.trials[0].params, WINDOW: 0, "graph_model.hidden_dim_nnr_f": 64, "graph_model.n_layers_nnr_f": 2}
    outcome = {"attempt": 1, "status": "infeasible", "reason": "needs 80 min"}
    study.add_trial(told(small, None, space, state=TrialState.FAIL, user_attrs={"outcome": outcome}))
    proposals = UCBTreeSampler(0).propose(study, space, 4)
    assert any(one.params["graph_model.hidden_dim_nnr_f"] > 64 for one in proposals)


def test_a_space_of_nothing_has_one_config() -> None:
    study = optuna.create_study(direction="maximize")
    assert [one.params for one in UCBTreeSampler(0).propose(study, {}, 4)] == [{}]
    study.add_trial(create_trial(value=0.5))
    assert UCBTreeSampler(0).propose(study, {}, 4) == []


def test_a_narrow_range_is_searched_in_as_many_digits_as_it_needs() -> None:
    (narrow,), (wide,) = (axes({OMEGA: FloatDistribution(*ends, log=True)}) for ends in ((101, 104), (5, 1000)))
    assert narrow.candidates(4) == [101.0, 102.0, 103.0, 104.0]
    assert wide.from_unit(0.5) == 71.0
