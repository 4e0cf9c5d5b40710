"""What of a sweep's config may change while it stays the same sweep, and what a longer one leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import run_command
from hydra import compose, initialize_config_dir
from mlflow import MlflowClient

from siren_sweep.config.compose import conf_dir, typed
from siren_sweep.errors import SweepStateError
from siren_sweep.paths import OutputPaths, sqlite_url
from siren_sweep.study.studies import all_blocks, open_storage
from siren_sweep.sweep.changes import accepted
from siren_sweep.sweep.checks import SweepOverrides, settings

BEFORE = {
    "claude.n_iter_block": 12,
    "claude.time_budget_min": 60.0,
    "claude.n_parallel": 4,
    "claude.ucb_c": 1.4,
    "blocks.schedule[1].n_training_frames": 10,
    "blocks.schedule[1].total_steps": 500,
}
BLOCK_2 = {"blocks.schedule[2].n_training_frames": 20, "blocks.schedule[2].total_steps": 900}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"claude.n_iter_block": 13},
        {"claude.time_budget_min": 61.0},
        {"claude.n_parallel": 8},
        {"claude.n_parallel": 2},
        BLOCK_2,
        {"claude.n_iter_block": 20, **BLOCK_2},
    ],
)
def test_settings_that_extend_a_sweep_are_accepted(change: dict[str, Any]) -> None:
    assert len(accepted(BEFORE, BEFORE | change, "s")) == len(change)


@pytest.mark.parametrize(
    "change",
    [
        {"claude.n_iter_block": 11},
        {"claude.time_budget_min": 59.0},
        {"claude.ucb_c": 2.0},
        {"blocks.schedule[1].total_steps": 600},
        {"pinned.graph_model.omega_f": 30},
    ],
)
def test_settings_of_another_sweep_are_refused_with_the_remedies(change: dict[str, Any]) -> None:
    (key,) = change
    with pytest.raises(SweepStateError) as refused:
        accepted(BEFORE, BEFORE | change | BLOCK_2, "s")
    text = str(refused.value)
    assert f"{key} was {BEFORE.get(key)!r}, now {change[key]!r}" in text
    assert "another sweep.name" in text
    assert "claude.n_iter_block and claude.time_budget_min may rise" in text
    assert "schedule[2]" not in text
    with pytest.raises(SweepStateError, match=r"schedule.2..total_steps was 900, now None"):
        accepted(BEFORE | BLOCK_2, BEFORE, "s")


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({}, {"training.turn_limit": 0.35}, "training.turn_limit, new: 0.35"),
        ({"claude.old": 1}, {}, "claude.old, no longer compared"),
        ({"blocks.name": "tiny"}, {}, "blocks.name, no longer compared"),
        ({}, {"sampler.c": 1.0}, None),
        ({"search_space.params.total_steps_ratio": "choice(1.0)"}, {}, None),
        ({}, {"swept.graph_model.omega_f": "choice(3,4)"}, None),
    ],
)
def test_settings_that_the_code_has_got_or_lost_since_are_told(
    before: dict[str, Any], now: dict[str, Any], said: str | None
) -> None:
    if said is None:
        with pytest.raises(SweepStateError):
            accepted(BEFORE | before, BEFORE | now, "s")
    else:
        assert accepted(BEFORE | before, BEFORE | now, "s") == [said]


def test_what_a_sweep_learns_from_is_the_same_where_both_were_moved(own_data: list[str]) -> None:
    def known(outputs: str, folder: str) -> Any:
        with initialize_config_dir(conf_dir(), version_base="1.3"):
            cfg = typed(compose("config", [*own_data, f"outputs_dir={outputs}", f"sweep.learn_from={folder}"]))
        return settings(cfg, SweepOverrides())["sweep.learn_from"]

    assert known("/a/out", "/a/out/old") == known("/b", "/b/old") == "old"
    assert known("/a/out", "/elsewhere/old") == "/elsewhere/old"


@pytest.mark.slow  # three blocks, twice
def test_a_finished_sweep_goes_on_with_more_trials_and_blocks(
    own_data: list[str], told_here: Callable[..., str], tmp_path: Path
) -> None:
    command = ["-m", "blocks=tiny", *own_data, "outputs_dir=out", "sweep.name=s", "claude.n_validation_seeds=1"]
    first = run_command(*command, "claude.n_iter_block=1", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    schedule = ",".join(f"{{n_training_frames:{frames},total_steps:40}}" for frames in (4, 8, 16))
    longer = [*command, f"blocks.schedule=[{schedule}]", "claude.n_iter_block=4", "claude.n_parallel=2"]
    second = run_command(*longer, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert "the sweep 's' goes on with" in second.stderr
    assert "failed" not in second.stderr
    assert "claude.n_iter_block was 1, now 4" in second.stderr
    outputs = OutputPaths(tmp_path / "out")
    blocks = all_blocks(open_storage(None, outputs.sweep("s")))
    assert [len(study.trials) for study in blocks.values()] == [4, 4, 4]
    best = json.loads(outputs.sweep("s").best_json.read_text())
    assert [(entry["block"], len(entry["validation_r2"])) for entry in best] == [(1, 1), (2, 1), (3, 1)]
    client = MlflowClient(sqlite_url(outputs.mlflow_db))
    experiment = client.get_experiment_by_name("s")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    trials = [run for run in runs if "validation" not in run.data.tags["key"] and "trial_" in run.data.tags["key"]]
    assert len(trials) == 12
    winners = {run.data.tags["key"]: run.data.tags["best_trial"] for run in runs if "best_trial" in run.data.tags}
    assert winners == {f"block_{entry['block']:02d}": str(entry["trial"]) for entry in best}
    for entry in best:
        version = client.get_model_version_by_alias("s", f"block_{entry['block']:02d}")
        assert version.tags["trial"] == str(entry["trial"])
    assert "claude.n_iter_block was 4, now 1" in told_here(*command, "claude.n_iter_block=1")
