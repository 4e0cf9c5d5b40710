"""The tree's scores against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from siren_sweep.search.tree import GrowingTree, Node, Reward, rank_rewards, scores, visits

C = 1.414


def chain_and_leaves() -> list[Node]:
    """Twelve nodes: 1 has child 2; 3 has 4, which has 5; the others are roots without children."""
    parents = {1: None, 2: 1, 3: None, 4: 3, 5: 4} | dict.fromkeys(range(6, 13))
    return [Node(number, parent, 0.5) for number, parent in parents.items()]


@pytest.mark.parametrize(("node", "n_visits", "exploration"), [(2, 1, 2.45), (1, 2, 1.63), (3, 3, 1.22)])
def test_exploration_term_is_what_twelve_nodes_give_by_hand(node: int, n_visits: int, exploration: float) -> None:
    row = next(row for row in scores(chain_and_leaves(), C, Reward.raw) if row.id == node)
    assert row.visits == n_visits
    assert row.ucb - row.reward == pytest.approx(exploration, abs=0.005)


def test_visits_count_all_descendants() -> None:
    assert visits(chain_and_leaves())[3] == 3
    assert visits(chain_and_leaves())[4] == 2


def test_highest_score_comes_first_and_equal_ones_by_id() -> None:
    nodes = [Node(1, None, 0.2), Node(2, None, 0.9), Node(3, None, 0.2)]
    assert [row.id for row in scores(nodes, C)] == [2, 1, 3]


def test_rank_rewards_run_from_zero_to_one() -> None:
    assert rank_rewards({1: -40.0, 2: 0.99, 3: 0.98}) == {1: 0.0, 3: 0.5, 2: 1.0}


def test_equal_values_share_their_mean_rank() -> None:
    assert rank_rewards({1: 0.5, 2: 0.5, 3: 0.9}) == {1: 0.25, 2: 0.25, 3: 1.0}


def test_lone_node_has_full_reward() -> None:
    assert rank_rewards({7: -3.0}) == {7: 1.0}


def test_failed_node_is_a_visit_without_a_score() -> None:
    nodes = [Node(1, None, 0.5), Node(2, 1, None)]
    (row,) = scores(nodes, C, Reward.raw)
    assert row.id == 1
    assert row.ucb == pytest.approx(0.5 + C * 2**0.5 / 3)


def test_parent_outside_the_block_makes_a_root() -> None:
    (row,) = scores([Node(5, 99, 0.5)], C)
    assert row.parent is None


def test_pending_child_takes_its_parent_down() -> None:
    """N = 4: 1 + 2.828 / 2 = 2.41 before, 1 + 3.162 / 3 = 2.05 after, against 0.5 + 3.162 / 2 = 2.08 of the second."""
    nodes = [Node(1, None, 0.9), Node(2, None, 0.8), Node(3, None, 0.1), Node(4, None, None)]
    assert scores(nodes, C)[0].id == 1
    assert scores([*nodes, Node(5, 1, None)], C)[0].id == 2


def test_without_values_nothing_is_scored() -> None:
    assert scores([Node(1, None, None)], C) == []


@pytest.mark.parametrize("reward", Reward)
@pytest.mark.parametrize("seed", range(5))
def test_what_is_first_in_a_growing_tree_is_first_by_the_scores_of_its_nodes(reward: Reward, seed: int) -> None:
    """Nodes come in any order, values among them that are equal, change, or go; some parents never come."""
    rng = np.random.default_rng(seed)
    parents = {node: int(rng.integers(-5, 60)) if rng.random() < 0.8 else None for node in range(60)}
    tree, known = GrowingTree(range(60), C, reward), dict[int, Node]()
    assert tree.first(2) == []
    for node in (*rng.permutation(60).tolist(), *rng.integers(60, size=60).tolist()):
        value = float(rng.integers(8)) / 8 if rng.random() < 0.8 else None
        known[node] = Node(node, parents[node], value)
        tree.put(known[node])
        assert tree.first(3) == [row.id for row in scores(known.values(), C, reward, 3)]
