"""A space smaller than a block: the block ends when all of it has run, and the sweep goes on."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import run_command


def test_a_block_ends_when_its_space_has_no_config_left(own_data: list[str], tmp_path: Path) -> None:
    pinned = ["graph_model.hidden_dim_nnr_f=8", "graph_model.n_layers_nnr_f=1", "graph_model.nnr_f_xy_period=16"]
    pinned += ["training.learning_rate_NNR_f=1e-2", "training.inr_batch_size=4", "graph_model.nnr_f_T_period=8"]
    swept = "graph_model.omega_f=choice(10,20,30)"
    command = ["-m", "blocks=tiny", *own_data, *pinned, swept, "outputs_dir=out", "tracking=none", "sweep.name=s"]
    result = run_command(*command, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "block 1 ends after 3 trials: nothing is left to run that could win it" in result.stderr
    assert [entry["block"] for entry in json.loads((tmp_path / "out/s/best/best.json").read_text())] == [1, 2]
