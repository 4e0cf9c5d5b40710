"""A space smaller than a block: the block ends when all of it has run, and the sweep goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from untrained import run


def test_a_block_ends_when_its_space_has_no_config_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pinned = ["graph_model.hidden_dim_nnr_f=8", "graph_model.n_layers_nnr_f=1", "graph_model.nnr_f_xy_period=16"]
    pinned += ["training.learning_rate_NNR_f=1e-2", "training.inr_batch_size=4", "graph_model.nnr_f_T_period=8"]
    blocks = run(tmp_path, {}, monkeypatch, *pinned, "graph_model.omega_f=choice(10,20,30)")
    why = "no config is left to run that could win with the steps that are left"
    assert f"block 1 ends after 3 trials: {why}" in capsys.readouterr().err
    for number in (1, 2):
        assert sorted(config["graph_model.omega_f"] for config in blocks[number]) == [10, 20, 30]
