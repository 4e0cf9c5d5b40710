"""Verdicts, noise and evidence, with planted effects and planted noise."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from planted import OMEGA, RATE, WIDTH, block_of, r2_of, view

from siren_sweep.config.parameters import WINDOW
from siren_sweep.views.blocks import BlockView, Stage, TrialView
from siren_sweep.views.grades import grade
from siren_sweep.views.record.evidence import Level, current, judge_block, revised, statements
from siren_sweep.views.record.noise import ENOUGH, PRIOR_SD, Noise, noise_before, pooled, score
from siren_sweep.views.record.verdicts import Call, judge

QUIET = Noise(0.1, 100)


def calls(effect: float, sd: float, n_validated: int, n: int = 1500, seed: int = 0) -> dict[Call, float]:
    """Shares of the calls for a child that is better by `effect`, with runs of noise `sd`.

    The noise is measured on `n_validated` earlier configs, three seeds each.
    """
    rng = np.random.default_rng(seed)
    counts: Counter[Call] = Counter()
    for _ in range(n):
        noise = pooled([[r2_of(5 + run) for run in rng.normal(0, sd, 3)] for _ in range(n_validated)])
        old, new = rng.normal(5, sd), rng.normal(5 + effect, sd)
        child = view(1, new, 0, changes={OMEGA: 40.0})
        counts[judge(child, block_of(view(0, old), child), noise).call] += 1
    return {call: counts[call] / n for call in Call}


@pytest.mark.parametrize("n_validated", [0, 1, 2, 4, 6, 8])
@pytest.mark.parametrize("sd", [0.05, 0.2, PRIOR_SD])
def test_equal_configs_are_called_in_at_most_one_case_of_twenty(sd: float, n_validated: int) -> None:
    shares = calls(0.0, sd, n_validated)
    margin = 2 * math.sqrt(0.05 * 0.95 / 1500)
    assert shares[Call.supported] + shares[Call.falsified] <= 0.05 + margin


def test_noise_above_the_prior_is_held_to_the_same_rate_once_it_is_measured() -> None:
    shares = calls(0.0, 3 * PRIOR_SD, ENOUGH)
    assert shares[Call.supported] + shares[Call.falsified] <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1500)


@pytest.mark.parametrize(("sd", "n_validated"), [(PRIOR_SD, 0), (0.03, ENOUGH), (0.2, ENOUGH), (1.5, ENOUGH)])
@pytest.mark.parametrize(("sign", "right"), [(1, Call.supported), (-1, Call.falsified)])
def test_three_standard_deviations_of_a_difference_are_found_in_four_cases_of_five(
    sd: float, n_validated: int, sign: int, right: Call
) -> None:
    assert calls(sign * 3 * math.sqrt(2) * sd, sd, n_validated)[right] >= 0.8


def test_a_stopped_trial_is_compared_at_the_last_report_that_both_have_reached() -> None:
    parent = view(0, 5.0, curve=[r2_of(score) for score in (1.0, 2.0, 3.0, 4.0, 5.0)])
    child = view(1, None, 0, stage=Stage.paused, changes={OMEGA: 40.0}, curve=[r2_of(1.0), r2_of(1.0)])
    verdict = judge(child, block_of(parent, child), QUIET)
    assert verdict.call is Call.inconclusive
    assert verdict.why == (
        "stopped early: at 10% of the steps 2.72 times the unexplained variance of iteration 1, which settles nothing"
    )


def test_of_a_stopped_parent_and_a_child_that_ended_the_parent_is_said_to_be_stopped() -> None:
    parent = view(0, None, stage=Stage.paused, curve=[r2_of(1.0), r2_of(2.0)])
    child = view(1, 5.0, 0, changes={OMEGA: 40.0}, curve=[r2_of(score) for score in (1.0, 2.0, 3.0)])
    verdict = judge(child, block_of(parent, child), QUIET)
    assert verdict.why.startswith("iteration 1 was stopped early: at 10% of the steps")


def sweep_of_equals(sd: float, rng: np.random.Generator, n_blocks: int = 4, n_trials: int = 12) -> list:
    """Blocks in which nothing matters; each winner is validated with two more seeds, as a sweep does."""
    blocks = []
    for number in range(1, n_blocks + 1):
        scores = rng.normal(5, sd, n_trials)
        trials = [
            view(
                n, score, int(rng.integers(n)) if n else None, changes={OMEGA: 20.0 + n}, block=number, batch=n // 4 + 1
            )
            for n, score in enumerate(scores)
        ]
        validation = [[r2_of(value) for value in (scores.max(), *rng.normal(5, sd, 2))]]
        blocks.append(block_of(*trials, number=number, validation=validation, ended=True))
    return blocks


def test_whole_sweeps_of_equal_configs_are_called_in_at_most_one_case_of_twenty() -> None:
    rng = np.random.default_rng(3)
    found: list[bool] = []
    for _ in range(60):
        blocks = sweep_of_equals(PRIOR_SD, rng)
        judged = [one for block in blocks for one in judge_block(block, noise_before(blocks, block.number))]
        found += [one.verdict.call is not Call.inconclusive for one in judged if one.parent is not None]
    assert len(found) == 60 * 4 * 11
    assert np.mean(found) <= 0.05


def test_the_wrong_way_round_is_never_called_at_three_standard_deviations() -> None:
    assert calls(3 * math.sqrt(2) * 0.2, 0.2, ENOUGH)[Call.falsified] == 0


def test_two_changes_are_never_supported_and_may_be_falsified() -> None:
    rng = np.random.default_rng(1)
    seen = Counter()
    for effect in rng.normal(0, 3, 300):
        both = view(1, 5 + effect, 0, changes={OMEGA: 40.0, RATE: 1e-4})
        verdict = judge(both, block_of(view(0, 5.0), both), QUIET)
        assert not verdict.evidence
        seen[verdict.call] += 1
    assert seen[Call.supported] == 0
    assert seen[Call.falsified] > 50


def latin_square(omega_effect: float, rate_effect: float, noise: tuple[float, ...] = (0, 0, 0, 0)) -> list:
    omega, rate = {OMEGA: 40.0}, {RATE: 1e-4}
    scores = (0.0, rate_effect, omega_effect, omega_effect + rate_effect)
    a, b, c, d = (3 + known + extra for known, extra in zip(scores, noise, strict=True))
    return [
        view(0, a, strategy="latin_square"),
        view(1, b, 0, changes=rate, strategy="latin_square"),
        view(2, c, 0, changes=omega, strategy="latin_square"),
        view(3, d, 0, changes=omega | rate, strategy="latin_square"),
    ]


def test_a_latin_square_is_judged_by_its_main_effects() -> None:
    # Each parameter's change to its parent alone is below the limit of two trials; the mean of both changes is not.
    limit = Noise(0.1, 100).limit()
    square = latin_square(0.9 * limit, -0.9 * limit)
    verdicts = [judge(trial, block_of(*square), QUIET) for trial in square]
    assert [verdict.call for verdict in verdicts] == [
        Call.inconclusive, Call.falsified, Call.supported, Call.inconclusive,
    ]  # fmt: skip
    assert "main effect" in verdicts[2].why
    assert "main effects are those of iterations 3 and 2" in verdicts[3].why


def test_main_effects_of_nothing_are_called_in_at_most_one_case_of_twenty() -> None:
    rng = np.random.default_rng(2)
    squares = [latin_square(0, 0, tuple(rng.normal(0, 0.1, 4))) for _ in range(1500)]
    wrong = [judge(square[2], block_of(*square), QUIET).call is not Call.inconclusive for square in squares]
    assert np.mean(wrong) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1500)


def test_a_latin_square_with_a_failed_corner_is_judged_by_pairs() -> None:
    square = latin_square(3.0, 3.0)
    square[3] = view(3, None, 0, changes={OMEGA: 40.0, RATE: 1e-4}, strategy="latin_square")
    verdict = judge(square[2], block_of(*square), QUIET)
    assert verdict.call is Call.supported
    assert "main effect" not in verdict.why


def pruned(number: int, parent: int | None, bound: float | None, **fields: object):
    return view(number, None, parent, stage=Stage.pruned, bound=r2_of(bound) if bound else None, **fields)


@pytest.mark.parametrize(
    ("bound", "call"), [(4.0, Call.falsified), (4.9, Call.inconclusive), (None, Call.inconclusive)]
)
def test_a_pruned_trial_counts_with_what_its_bound_proves(bound: float | None, call: Call) -> None:
    child = pruned(1, 0, bound, changes={OMEGA: 40.0})
    assert judge(child, block_of(view(0, 5.0), child), QUIET).call is call


def test_a_pruned_parent_is_beaten_where_its_bound_is() -> None:
    parent, child = pruned(0, None, 4.0), view(1, 5.0, 0, changes={OMEGA: 40.0})
    assert judge(child, block_of(parent, child), QUIET).call is Call.supported
    worse = view(1, 1.0, 0, changes={OMEGA: 40.0})
    assert judge(worse, block_of(parent, worse), QUIET).call is Call.inconclusive


@pytest.mark.parametrize(("old", "new"), [(None, 5.0), (5.0, None), (None, None)])
def test_a_failed_trial_settles_nothing(old: float | None, new: float | None) -> None:
    child = view(1, new, 0, changes={OMEGA: 40.0})
    verdict = judge(child, block_of(view(0, old), child), QUIET)
    assert verdict.call is Call.inconclusive
    assert "failed" in verdict.why


def test_a_root_and_an_unknown_parent_settle_nothing() -> None:
    for parent in (None, 99):
        assert judge(view(1, 5.0, parent), block_of(view(1, 5.0, parent)), QUIET).call is Call.inconclusive


@pytest.mark.parametrize(
    ("r2", "name"),
    [(0.9501, "excellent"), (0.95, "good"), (0.8, "good"), (0.7999, "moderate"), (0.5, "moderate"), (0.49, "poor"),
     (-3.0, "poor"), (math.nan, "poor"), (None, "poor")],
)  # fmt: skip
def test_classes(r2: float | None, name: str) -> None:
    assert grade(r2) == name


def test_the_score_is_finite_up_to_a_perfect_fit() -> None:
    assert score(0.0) == 0
    assert score(1 - math.exp(-3)) == pytest.approx(3)
    assert math.isfinite(score(1.0))
    assert score(-1e9) < score(0.5) < score(1.0)


def test_noise_is_pooled_within_configs_and_not_between_them() -> None:
    noise = pooled([[r2_of(1.0), r2_of(1.2)], [r2_of(9.0), r2_of(9.2), r2_of(9.4)], [0.5]])
    assert noise.dof == 3
    assert noise.sd == pytest.approx(math.sqrt((0.02 + 0.08) / 3))


def test_a_block_is_judged_with_what_the_blocks_before_it_measured() -> None:
    blocks = [block_of(number=1, validation=[[0.9, 0.91, 0.92]]), block_of(number=2, validation=[[0.8, 0.5, 0.1]])]
    assert noise_before(blocks, 1).dof == 0
    assert noise_before(blocks, 2) == pooled(blocks[0].validation.values())
    assert noise_before(blocks, 3).dof == 4


def chain(*effects: float, parameter: str = OMEGA, first: int = 0) -> list:
    """A root and children of it that raise one parameter."""
    root = view(first, 5.0)
    values = [
        view(first + 1 + n, 5.0 + effect, first, changes={parameter: 64.0 + n}) for n, effect in enumerate(effects)
    ]
    return [root, *values]


@pytest.mark.parametrize(
    ("effects", "level"),
    [
        ((9.0,), Level.tentative),
        ((9.0, 9.0), Level.tentative),
        ((9.0, 9.0, 9.0), Level.established),
        ((-4.0, -4.0, -4.0, 0.0), Level.established),
        ((9.0, 9.0, 9.0, -4.0), Level.contradicted),
    ],
)
def test_evidence_levels(effects: tuple[float, ...], level: Level) -> None:
    (statement,) = statements(current([block_of(*chain(*effects))]))
    assert statement.level is level
    for iteration in (2 + n for n, effect in enumerate(effects) if effect):
        assert f"iteration {iteration}:" in str(statement)


def test_a_principle_that_is_contradicted_says_that_it_was_one() -> None:
    before, after = (statements(current([block_of(*chain(*effects))]))[0] for effects in ((9, 9, 9), (9, 9, 9, -4)))
    assert before.level is Level.established
    assert after.once_established
    assert "established" in str(after)


def test_raising_and_lowering_are_statements_of_their_own() -> None:
    root = view(0, 5.0)
    up, down = (view(n, 9.0, 0, changes={WIDTH: width}) for n, width in ((1, 16), (2, 4)))
    assert [one.raised for one in statements(current([block_of(root, up, down)]))] == [True, False]


def test_validation_revises_verdicts_at_the_end_of_its_block_and_not_before() -> None:
    better = [view(0, 5.0), view(1, 5.9, 0, changes={OMEGA: 40.0})]
    seeds = [[r2_of(5.9 + shift) for shift in (0, 0.01, -0.01) * 6]]
    blocks = [block_of(*better, validation=seeds, ended=True)]
    ((old, new),) = revised(blocks, 1)
    assert (old.verdict.call, new.verdict.call) == (Call.inconclusive, Call.supported)
    assert statements(current(blocks))
    assert not statements(current([block_of(*better, validation=seeds)]))


SOLVED = {"claude.solved_r2": 0.9999}


def solved_block(*trials: TrialView) -> BlockView:
    return block_of(*trials, settings=SOLVED)


@pytest.mark.parametrize("effect", [-4.0, 4.0])
def test_of_two_solved_configs_neither_is_better(effect: float) -> None:
    parent, child = view(0, 14.0), view(1, 14.0 + effect, 0, changes={OMEGA: 40.0})
    verdict = judge(child, solved_block(parent, child), QUIET)
    assert verdict.call is Call.inconclusive
    assert verdict.why == "it and iteration 1 are solved: R2 of 0.9999 or more"
    assert not statements(current([solved_block(parent, child)]))
    assert judge(child, block_of(parent, child), QUIET).call is not Call.inconclusive  # a sweep with no such threshold


@pytest.mark.parametrize(
    ("parent", "child", "call"), [(8.0, 12.0, Call.supported), (12.0, 8.0, Call.falsified), (5.0, 8.0, Call.supported)]
)
def test_below_the_threshold_a_difference_counts(parent: float, child: float, call: Call) -> None:
    trials = view(0, parent), view(1, child, 0, changes={OMEGA: 40.0})
    assert judge(trials[1], solved_block(*trials), QUIET).call is call


def test_a_trial_that_was_stopped_when_it_could_still_have_been_solved_is_not_falsified() -> None:
    parent = view(0, 16.0)
    for bound, call in ((11.0, Call.inconclusive), (8.0, Call.falsified)):
        child = pruned(1, 0, bound, changes={OMEGA: 40.0})
        assert judge(child, solved_block(parent, child), QUIET).call is call


def test_a_latin_square_of_solved_configs_is_no_evidence() -> None:
    square = latin_square(3.0, -3.0, (10.0, 10.0, 10.0, 10.0))
    verdict = judge(square[2], solved_block(*square), QUIET)
    assert (verdict.call, "all four configs are solved" in verdict.why) == (Call.inconclusive, True)


def test_no_windows_are_longer_than_any() -> None:
    frames = {"n_training_frames": 1000}
    root, whole, short = (
        view(number, value, parent, changes={WINDOW: window}, **frames)
        for number, value, parent, window in ((0, 5.0, None, 125), (1, 9.0, 0, 0), (2, 1.0, 0, 62))
    )
    found = statements(current([block_of(root, whole, short)]))
    assert [(one.raised, len(one.better), len(one.worse)) for one in found] == [(True, 1, 0), (False, 0, 1)]
