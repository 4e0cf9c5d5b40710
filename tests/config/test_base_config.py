"""A config of the existing system as a base: what is known is taken, what is not is told, what is typed wins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from siren_sweep.cli.main import conf_dir, typed
from siren_sweep.config import parameters
from siren_sweep.config.base import read_base, with_base
from siren_sweep.config.schema import Config
from siren_sweep.errors import ConfigError
from siren_sweep.sweep.block import start_block, start_config
from siren_sweep.sweep.checks import SweepOverrides, all_faults

OLD = """\
dataset: flyvis_noise_005
description: "stimulus"
simulation: {n_frames: 64000}
graph_model:
  inr_type: siren_txy
  hidden_dim_nnr_f: 256
  hidden_dim_nnr: 64   # another network's
  omega_f: 80          # which is this project's default too
  aggr_type: add
training:
  learning_rate_NNR_f: 1e-5
  n_epochs: 1
claude:
  n_iter_block: 6
  training_time_target_min: 60
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    (tmp_path / "it's old_00.yaml").write_text(OLD)
    return tmp_path / "it's old_00.yaml"


def composed(*arguments: str) -> Config:
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        return typed(compose("config", with_base(arguments)))


def test_known_values_are_taken_and_others_told(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = composed(f"base={old}")
    assert (cfg.graph_model.hidden_dim_nnr_f, cfg.training.learning_rate_NNR_f, cfg.claude.n_iter_block) == (
        256,
        1e-5,
        6,
    )
    told = capsys.readouterr().err
    for name in ("dataset", "description", "simulation", "graph_model.aggr_type", "training.n_epochs"):
        assert name in told
    assert "claude.training_time_target_min" in told
    assert "graph_model.hidden_dim_nnr," in told
    assert "hidden_dim_nnr_f" not in told


def test_what_a_base_sets_to_null_is_null_where_that_means_something(tmp_path: Path) -> None:
    file = tmp_path / "base.yaml"
    file.write_text("graph_model: {omega_f: null}\nclaude: {solved_r2: null}\n")
    cfg = composed(f"base={file}")
    assert cfg.claude.solved_r2 is None
    assert cfg.graph_model.omega_f == composed().graph_model.omega_f


def test_what_is_typed_wins_over_the_base_and_the_base_over_the_groups(old: Path) -> None:
    cfg = composed("graph_model.hidden_dim_nnr_f=64", f"base={old}", "blocks=demo")
    assert (cfg.graph_model.hidden_dim_nnr_f, cfg.claude.n_iter_block) == (64, 6)


def test_a_sweep_starts_from_the_base_also_where_it_says_the_default(old: Path) -> None:
    cfg = composed(f"base={old}")
    start = start_block(cfg, 1, cfg.search_space.params, {}, None)
    config = start.space.config(start.base)
    assert (config[parameters.HIDDEN_DIM], config[parameters.OMEGA], config[parameters.RATE]) == (256, 80.0, 1e-5)


def test_every_fault_of_its_values_is_told_at_once(tmp_path: Path, told_here: Callable[..., str]) -> None:
    values = {"graph_model": {"omega_f": -1, "hidden_dim_nnr_f": "wide"}, "training": {"inr_batch_size": 2.5}}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(values))
    told = told_here("-m", "base=bad.yaml")
    for fault in (
        "omega_f must be greater than 0",
        "hidden_dim_nnr_f must be a number",
        "inr_batch_size must be a whole",
    ):
        assert fault in told


@pytest.mark.parametrize("text", ["- 1", "graph_model: 3", "a: [", "!!python/object/apply:os.system [ls]"])
def test_a_file_that_is_no_config_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"base|YAML"):
        read_base(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError, match="can be read"):
        read_base(tmp_path / "none.yaml")


def test_faults_of_a_base_are_told_in_the_order_of_the_file(tmp_path: Path) -> None:
    names = ["omega_ff", "nnr_xy_period", "hiden_dim_nnr_f", "window_frame", "n_layer_nnr_f"]
    (tmp_path / "old.yaml").write_text(yaml.safe_dump({"graph_model": dict.fromkeys(names, 1)}, sort_keys=False))
    with pytest.raises(ConfigError) as refused:
        read_base(tmp_path / "old.yaml")
    assert [fault.split(";")[0] for fault in refused.value.faults] == [
        f"there is no setting graph_model.{name}" for name in names
    ]


def test_a_base_of_the_existing_system_starts_a_sweep_of_any_frames(tmp_path: Path) -> None:
    """It names the period and the steps, which the blocks set, and more frames a batch than a single run has."""
    text = OLD.replace("  aggr_type", "  nnr_f_T_period: 10.0\n  aggr_type").replace(
        "n_epochs", "inr_batch_size: 16\n  n_epochs"
    )
    (tmp_path / "old.yaml").write_text(text + "  total_steps: 5000\n")
    cfg = composed(f"base={tmp_path / 'old.yaml'}", "blocks.schedule=[{n_training_frames:1000,total_steps:20000}]")
    assert all_faults(cfg, SweepOverrides()) == []
    config = start_config(cfg, cfg.blocks.schedule[0])
    assert (config[parameters.OMEGA], config[parameters.BATCH_SIZE]) == (80.0, 16)


def test_a_batch_that_is_fixed_is_held_against_the_frames_of_every_block() -> None:
    pinned = SweepOverrides(pinned={parameters.BATCH_SIZE})
    schedule = "blocks.schedule=[{n_training_frames:%d,total_steps:40},{n_training_frames:99,total_steps:40}]"
    assert all_faults(composed("training.inr_batch_size=16", schedule % 16), pinned) == []
    (told,) = all_faults(composed("training.inr_batch_size=16", schedule % 15), pinned)
    assert told.startswith("training.inr_batch_size must be at most training.n_training_frames (15), got 16")
