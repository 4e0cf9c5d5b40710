"""The choice of the search's settings on all tables but one: what it chooses, and what it counts, on made-up cells."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from test_replay import table

import leave_one_out  # isort: skip
import replay  # isort: skip

STOCK = {name: {"cost": 10.0, "best_at_12": -1.0} for name in leave_one_out.TABLES}


def written(file: Path, costs: dict[str, dict[str, float]]) -> leave_one_out.Cells:
    """Cells of one search each, with the costs by setting and table; elsewhere 8, and the default 6."""
    rows = [
        {"setting": setting, "table": name, "hidden": hidden, "seed": 0, "cost": cost, "best_at_12": -2.0}
        for setting in ("as shipped", *costs)
        for name in leave_one_out.TABLES
        for hidden in (False, True)
        for cost in [costs.get(setting, {}).get(name, 6.0 if setting == "as shipped" else 8.0)]
    ]
    blocks = [
        {
            "setting": "blocks",
            "table": "frames_30",
            "hidden": False,
            "seed": seed,
            "best": -2.0,
            "winner_waits": seed > 1,
            "winner_lost": seed == 1,
            "winner_ahead": 0.01 * seed,
        }
        for seed in range(4)
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows + blocks))
    return leave_one_out.read(file)


def test_a_table_has_no_say_in_the_setting_that_is_reported_on_it(tmp_path: Path) -> None:
    one_table_alone = written(tmp_path / "cells.jsonl", {"pauses at 2": {"frames_30": 0.001}})
    lines = leave_one_out.report(one_table_alone, STOCK)
    assert "| `frames_30` | 0.60, 0.60 | -1.00, -1.00 | as shipped | 0.60, 0.60 |" in lines
    assert "| `frames_100` | 0.60, 0.60 | -1.00, -1.00 | pauses at 2 | 0.80, 0.80 |" in lines


def test_settings_are_compared_by_the_seeds_that_all_have(tmp_path: Path) -> None:
    cells = written(tmp_path / "cells.jsonl", {"pauses at 2": dict.fromkeys(leave_one_out.TABLES, 7.0)})
    for name, hidden in itertools.product(leave_one_out.TABLES, (False, True)):
        cells["as shipped", name, hidden].append({"seed": 1, "cost": 60.0, "best_at_12": -2.0})
    lines = leave_one_out.report(cells, STOCK)
    assert "- as shipped: 0.60, 0.60 (n = 14)" in lines
    assert any(line.startswith("| `frames_30` |") and "| as shipped |" in line for line in lines)


def test_winners_that_are_lost_or_paused_at_the_end_are_counted(tmp_path: Path) -> None:
    lost, waits = leave_one_out.report(written(tmp_path / "cells.jsonl", {}), STOCK)[-2:]
    assert lost.endswith("lost to the bound: 1 of 4, ahead by 0.01 (median) to 0.01; 0 by more than 0.02")
    assert waits.endswith("block's end: 2 of 4, ahead by 0.03 (median) to 0.03; 1 by more than 0.02")


def test_continuous_spaces_have_rows_and_a_mean_of_their_own(tmp_path: Path) -> None:
    cells = written(tmp_path / "cells.jsonl", {})
    for name, hidden in itertools.product(leave_one_out.CONTINUOUS, (False, True)):
        cells["as shipped", name, hidden] = [{"cost": 2.0, "best_at_12": -1.5}]
        cells["blocks", name, hidden] = [
            {"best": -2.0, "winner_waits": True, "winner_lost": False, "winner_ahead": 0.5}
        ]
    lines = leave_one_out.report(cells, STOCK | dict.fromkeys(leave_one_out.CONTINUOUS, STOCK["frames_100"]))
    assert "| `continuous frames_100` | 0.20, 0.20 | -0.50, -0.50 |  |  |" in lines
    assert "- as shipped, names known: 0.60 (0.60 to 0.60), worst 0.60" in lines
    assert "- as shipped, continuous, names known: 0.20 (0.20 to 0.20), worst 0.20" in lines
    assert "2 of 4" in lines[-1], "blocks of continuous spaces are not counted among those of tables"


def test_a_block_takes_the_steps_of_its_trials_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []
    account = replay._Replayed._account
    monkeypatch.setattr(replay, "BLOCK", 5)
    monkeypatch.setattr(
        replay._Replayed, "_account", lambda self, slots: (account(self, slots), spent.append(self.planned))
    )
    best, _ = replay.block(table(), seed=0)
    assert 4.5 < max(spent) <= 5
    assert best < np.log10(0.5)
