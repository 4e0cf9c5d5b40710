"""The replay of searches over recorded curves: its accounts, by hand, on a table made for the purpose."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.pruners import NopPruner

REPLAY = Path(__file__).parents[2] / "bench" / "search" / "replay.py"
sys.path.insert(0, str(REPLAY.parent))

from replay import Run, Winner, _Replayed, repeat, summary  # noqa: E402
from table import Table  # noqa: E402


def table(n: int = 60) -> Table:
    """Two parameters on a 10 x 6 grid, the best in a corner; curves of equal shape; one config diverges."""
    configs = np.array([[a, b] for a in range(1, 11) for b in range(6)], float)[:n]
    nines = 0.2 * configs[:, 0] + 0.1 * configs[:, 1]
    curves = 1 - 10 ** -(nines[:, None] * np.linspace(0.05, 1, 20))
    curves[3, 5:] = np.nan
    return Table(["omega_f", "b"], configs, curves)


def test_best_two_percent_are_marked() -> None:
    assert np.flatnonzero(table().is_top).tolist() == [59]


def test_cost_is_one_where_no_width_is_known() -> None:
    assert set(table().cost) == {1.0}


def test_cost_follows_the_network_and_the_steps() -> None:
    configs = np.array([[8, 1, 100], [8, 1, 200], [16, 1, 100]], float)
    cost = Table(["hidden_dim_nnr_f", "n_layers_nnr_f", "total_steps"], configs, np.zeros((3, 20))).cost
    assert cost[1] / cost[0] == pytest.approx(2)
    assert cost[2] / cost[0] == pytest.approx((4 * 16 + 16 * 17 + 17) / (4 * 8 + 8 * 9 + 9))


def test_config_that_is_not_in_the_table_becomes_the_nearest_that_has_not_run() -> None:
    holes, seen = table(59), np.zeros(59, bool)
    assert holes.nearest_unseen({"omega_f": 10, "b": 5}, seen, positions=False) == 53
    seen[53] = True
    assert holes.nearest_unseen({"omega_f": 10, "b": 5}, seen, positions=False) == 58


def test_without_a_pruner_every_step_is_taken_and_the_winner_lives() -> None:
    run = repeat(table(), "random", "none", seed=0)
    assert run.winner == Winner(finished=True, lost=False, ahead=0.0)
    assert run.steps_share == pytest.approx(1, abs=0.016)  # the diverged config stops at its sixth report


def test_cost_to_a_top_config_counts_whole_batches() -> None:
    run = repeat(table(), "random", "none", seed=1)
    assert any(run.cost == pytest.approx(cost) for cost, best in run.path if best <= run.path[-1][1])


def test_ours_pauses_and_goes_on_and_the_same_seed_repeats_it() -> None:
    first, again = (repeat(table(), "ucb_tree", "ucb", seed=3, least=2) for _ in range(2))
    assert first == again
    assert set(first.stops) & {1, 4} == {1, 4}
    assert np.isfinite(first.cost)
    assert all(later[0] > sooner[0] for sooner, later in itertools.pairwise(first.path))


def test_a_stock_sampler_takes_up_no_trial_that_was_stopped() -> None:
    run = repeat(table(), "random", "successive_halving", seed=0)
    assert run.winner.lost is not run.winner.finished
    assert run.steps_share < 1
    assert all(stop < 20 for stop in run.stops)


def test_a_winner_is_lost_to_the_bound_alone_and_ahead_by_its_own_score() -> None:
    small = table()
    study = optuna.create_study(direction="maximize", pruner=NopPruner())
    replayed = _Replayed(small, study, goes_on=True)
    worse, winner = (replayed.start(study.ask(small.values()), positions=False) for _ in range(2))
    worse.row, worse.finished, winner.row = 29, True, 59
    replayed._account([worse])
    assert replayed.winner == Winner(finished=False, lost=False, ahead=pytest.approx(1.0))
    winner.trial.set_user_attr("bound", 0.9)
    assert replayed.winner.lost


def test_searches_that_never_got_there_are_infinite_in_the_quantiles() -> None:
    winner = Winner(finished=True, lost=False, ahead=0.0)
    runs = [Run(cost, -1.0, -1.0, 0.5, winner, [(1.0, -1.0)], [3]) for cost in (2.0, np.inf, np.inf)]
    row = summary("random", "none", runs)
    assert (row["cost_q25"], row["median_cost"], row["never"]) == (2.0, None, pytest.approx(2 / 3))


def test_command_writes_one_object_a_pair(tmp_path: Path) -> None:
    small = table()
    np.savez(tmp_path / "t.npz", names=["omega_f", "b"], configs=_configs(small), curves=small.curves)
    command = [
        sys.executable,
        str(REPLAY),
        "--table",
        "t.npz",
        "--repetitions",
        "2",
        "--json",
        "r.json",
        "--pairs",
        "ours",
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    rows = json.loads((tmp_path / "r.json").read_text())
    assert (rows[0]["sampler"], rows[0]["pruner"], rows[0]["repetitions"]) == ("ucb_tree", "ucb", 2)
    wanted = {"median_cost", "cost_q25", "cost_q75", "best_after_12", "steps_share", "winner_stopped", "winner_lost"}
    assert all(wanted <= row.keys() for row in rows)


def _configs(small: Table) -> np.ndarray:
    return np.array([[level[at] for level, at in zip(small.levels, row, strict=True)] for row in small.index])
