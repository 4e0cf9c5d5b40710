"""A sweep whose configs an agent proposes: planned, killed and gone on with, recorded and shown as any other."""

from __future__ import annotations

import sys
from pathlib import Path

import agents
import psutil
import pytest
from mlflow import MlflowClient
from processes import Home, ended, kill, until
from untrained import run

from siren_sweep.config import parameters
from siren_sweep.paths import OutputPaths, SweepPaths, sqlite_url
from siren_sweep.study.studies import all_blocks, open_storage
from siren_sweep.views.blocks import read_blocks
from siren_sweep.views.record.writer import record_files

OMEGA = parameters.OMEGA


def asked(program: str) -> list[str]:
    """The overrides with which a program of `agents` proposes."""
    return ["proposer=agent", f"agent.command=[{sys.executable},-S,-E,{agents.__file__},{program},'{{prompt}}']"]


def logs(paths: SweepPaths) -> dict[str, str]:
    return {file.stem: file.read_text() for file in sorted(paths.agent.glob("*.log"))}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepPaths, dict[int, list[dict]]]:
    """Two blocks of two batches, with a config that a person asks for between them."""
    folder = tmp_path_factory.mktemp("planned")
    with pytest.MonkeyPatch.context() as patch:
        blocks = run(folder, {1: ["try omega_f = 100"]}, patch, *asked("behave"), "claude.n_iter_block=8")
    return OutputPaths(folder).sweep("s"), blocks


def test_a_block_is_begun_batch_by_batch_and_ended_in_the_prompts(planned: tuple[SweepPaths, dict]) -> None:
    said = logs(planned[0])
    batches = [f"block_{block:02d}_batch_{batch:03d}" for block in (1, 2) for batch in (1, 2)]
    assert list(said) == [*batches, "block_02_end"]
    first, second, third, fourth, last = said.values()
    assert "PARALLEL START" in first
    assert "Plan iterations 1-4 (block 1 of 2, n_training_frames 4): edit s_00.yaml, s_01.yaml" in first
    assert "Iterations 1-4 ran (block 1 of 2, n_training_frames 4)" in second
    assert "Plan iterations 6-8 (block 1 of 2, n_training_frames 4): edit s_01.yaml, s_02.yaml, s_03.yaml," in second
    assert "Iterations 5-8 ran (block 1 of 2, n_training_frames 4)" in third
    assert "Plan iterations 9-12 (block 2 of 2, n_training_frames 8)" in third
    ends = [">>> BLOCK END <<<" in text for text in (first, second, third, fourth, last)]
    assert ends == [False, False, True, False, True]
    assert "Iterations 13-16 ran (block 2 of 2, n_training_frames 8)" in last
    assert "This was the last block. Sum up in s_memory.md what was found, and end." in last


def test_its_configs_run_with_their_hypotheses_beside_what_a_person_asked_for(
    planned: tuple[SweepPaths, dict[int, list[dict]]],
) -> None:
    paths, configs = planned
    assert [config[OMEGA] for config in configs[1]] == [20, 40, 10, 30, 100, 60, 15, 45]
    studies = all_blocks(open_storage(None, paths))
    ways = [trial.user_attrs["strategy"] for trial in studies[1].trials]
    assert ways == [*["agent"] * 4, "asked for", *["agent"] * 3]
    files = record_files("s", read_blocks(studies, {}))
    log, memory = files["s_analysis.md"], files["s_memory.md"]
    assert 'Hypothesis tested: "omega_f: 20 -> 40 improves final_r2 over iteration 1 (omega_f 40 resolves more)"' in log
    previous, _, now = memory.partition("## Current Block (Block 2)")
    assert "> The best omega is 30. Verdict: supported" in previous.partition("## Previous Block Summary")[2]
    assert "> The best omega is" in now.partition("### Emerging Observations")[2]
    assert "Verdict: supported" not in log, "its own verdicts are no verdicts"


def test_what_the_sampler_filled_in_is_recorded_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = run(tmp_path, {}, monkeypatch, *asked("crash"), "agent.retries=0")
    assert [len(configs[1]), len(configs[2])] == [4, 4]
    paths = OutputPaths(tmp_path).sweep("s")
    log = record_files("s", read_blocks(all_blocks(open_storage(None, paths)), {}))["s_analysis.md"]
    assert log.count("it ended with exit code 3; is as it was given") == 6


def agent_processes() -> list[int]:
    return [one.pid for one in psutil.process_iter(["cmdline"]) if agents.__file__ in (one.info["cmdline"] or [])]


@pytest.mark.slow
def test_a_batch_that_was_asked_for_when_the_sweep_was_killed_is_asked_for_again(
    own_data: list[str], tmp_path: Path
) -> None:
    small = ["claude.n_parallel=2", "claude.n_iter_block=2"]
    with ended(Home(tmp_path, ["-m", "blocks=tiny", *own_data, *asked("hang_once"), *small])) as home:
        with home.start() as sweep:
            until(lambda: "hanging" in logs(home.paths).get("block_01_batch_001", ""), "the agent")
            assert len(agent_processes()) == 2
            kill(sweep)
        until(lambda: not agent_processes(), "the end of the agent")
        home.finish()
        studies = home.studies()
        assert [trial.user_attrs["strategy"] for study in studies.values() for trial in study.trials] == ["agent"] * 4
        assert [trial.params[OMEGA] for trial in studies[1].trials] == [20, 40]
        outputs = OutputPaths(home.paths.root.parent)
        client = MlflowClient(sqlite_url(outputs.mlflow_db))
        experiment = client.get_experiment_by_name("s")
        assert experiment is not None
        runs = {run.data.tags["key"]: run.info.run_id for run in client.search_runs([experiment.experiment_id])}
        for block, names in ((1, ["batch_001"]), (2, ["batch_001", "end"])):
            artifacts = client.list_artifacts(runs[f"block_{block:02d}"], "agent")
            assert [one.path for one in artifacts] == [f"agent/block_{block:02d}_{name}.log" for name in names]
        assert "omega_f 40 resolves more" in (home.paths.record / "s_analysis.md").read_text()
        before = home.table()
        home.finish()
        assert home.table() == before
        assert home.paths.report.exists()
