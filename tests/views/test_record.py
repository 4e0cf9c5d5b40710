"""The record's files: made from the studies alone, byte for byte, and growing only at their end."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import N_NEURONS, Run
from optuna.trial import TrialState
from planted import CONFIG, OMEGA, RATE, WIDTH, PlantedSweep, paused, r2_of

from siren_sweep.cli.main import main
from siren_sweep.errors import OutputError
from siren_sweep.study.records import Outcome, Stint
from siren_sweep.study.stored import mark_ended, mark_open
from siren_sweep.study.stored_trials import TrialWriter
from siren_sweep.study.studies import trial_id
from siren_sweep.sweep.paused import give_up_all
from siren_sweep.train.report import Report
from siren_sweep.views.blocks import read_blocks
from siren_sweep.views.record.writer import record_files, write_record

HOSTILE = 'a | pipe, a "quote", a\nnewline, `code`, <b>tags</b>, final_r2=7 and \x00\x1b \u2028 end'
ENTRY = re.compile(
    r"## Iter (\d+): (excellent|good|moderate|poor)\n"
    r"Node: id=\1, parent=(root|\d+)\n"
    r'Hypothesis tested: "[^"\n]+"\n'
    r"Config: hidden_dim=\S+, n_layers=\S+, omega=\S+, lr=\S+, batch_size=\S+, T_period=\S+, "
    r"total_steps=\S+, n_frames=\d+\n"
    r"Metrics: final_r2=\S+, final_mse=\S+, training_time_min=\S+, total_params=\S+, rank_90=\S+, rank_99=\S+\n"
    r"Mutation: .+\n"
    r"Verdict: (supported|falsified|inconclusive)\n"
    r"Observation: .+\n"
    r"Next: parent=(root|\d+)\n"
)
SECTIONS = [
    "# Working Memory: planted INR",
    "## Paper Summary",
    "## Knowledge Base",
    "### R2 Progression Table",
    "### Established Principles",
    "### Falsified Hypotheses",
    "### Open Questions",
    "---",
    "## Previous Block Summary",
    "---",
    "## Current Block (Block {block})",
    "### Block Info",
    "### Hypothesis",
    "### Iterations This Block",
    "### Emerging Observations",
]
WHY = {"rationale": f"because of {HOSTILE}", "falsified_by": f"less than {HOSTILE}"}


def steps(sweep: PlantedSweep) -> list[Any]:
    """What happens in a sweep, one step after the other; the record is written after each."""
    one = {"score": 6.0, "parent": 0, "changes": {OMEGA: 40.0}, "hypothesis": WHY}
    return [
        lambda: sweep.begin(1),
        lambda: sweep.batch(1, [{"score": 5.0}, one, {"score": 3.0, "parent": 0, "changes": {OMEGA: 90.0}}]),
        lambda: sweep.batch(
            1,
            [
                {"state": TrialState.FAIL, "parent": 0, "changes": {RATE: 1.0}, "reason": HOSTILE, "hypothesis": WHY},
                {
                    "state": TrialState.PRUNED,
                    "parent": 1,
                    "changes": {OMEGA: 60.0},
                    "stop": {"fraction": 0.5, "r2": 0.5, "bound": 0.6},
                },
                {"score": math.log(0.2), "mutation": HOSTILE},
                {
                    "state": TrialState.PRUNED,
                    "parent": 77,
                    "changes": {OMEGA: 61.0},
                    "reports": [dataclasses.asdict(Report(1, 0.05, 2, math.nan, 0.1, 1e-3, 9.0, 1.0))],
                },
            ],
        ),
        lambda: sweep.validate(1, 1, [6.0, 6.01, 5.99, 6.0] * 4),
        lambda: mark_ended(sweep.studies[1]),
        lambda: sweep.begin(2, 100),
        lambda: sweep.batch(2, [{"state": TrialState.RUNNING}, {"state": TrialState.RUNNING, "parent": 0}]),
    ]


@pytest.fixture
def sweep(tmp_path: Path) -> PlantedSweep:
    return PlantedSweep(tmp_path / "planted")


def write(sweep: PlantedSweep) -> None:
    write_record(sweep.paths, sweep.studies, sweep.validations)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_analysis_only_grows_at_its_end(sweep: PlantedSweep) -> None:
    before = b""
    for step in steps(sweep):
        step()
        write(sweep)
        now = (sweep.paths.record / "planted_analysis.md").read_bytes()
        assert now.startswith(before)
        before = now
    text = before.decode()
    assert [int(found[0]) for found in ENTRY.findall(text)] == list(range(1, 8))
    assert text.count(">>> BLOCK END <<<\n") == 1
    assert "## Revision of iteration 2\n" in text
    assert not re.search(r"Observation:.*\b\w+=", text.replace("final_r2=7", ""))


def test_the_entry_of_a_paused_trial_comes_once_when_it_is_told_and_what_was_written_stays(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path / "s")
    study = sweep.begin(1)
    analysis, seen = sweep.paths.record / "s_analysis.md", [""]

    def entries() -> list[int]:
        write(sweep)
        seen.append(analysis.read_text())
        assert seen[-1].startswith(seen[-2])
        return [int(found) for found in re.findall(r"^## Iter (\d+)", seen[-1], re.MULTILINE)]

    sweep.batch(1, [{"score": 3.0}, paused(0.9), paused(0.8), paused(None)])
    assert entries() == [1]
    sweep.batch(1, [{"score": 4.0, "parent": 1, "changes": {OMEGA: 40.0}}])
    assert entries() == [1, 5]
    assert "Verdict: supported" in seen[-1]  # by the bound that its parent had then
    again = [TrialWriter(sweep.storage, trial_id(sweep.storage, study, number)) for number in (1, 2)]
    for writer in again:
        writer.stints([Stint(3, 0, 1, 0.25, 0.9)])
    assert entries() == [1, 5], "those that go on are in no entry"
    for writer, outcome in zip(again, (Outcome(2, "finished", None, {"final_r2": 0.99}, 20), None), strict=True):
        writer.attempt(2)
        writer.outcome(outcome or Outcome(2, "stopped", "stopped at 50% of its steps", {}, 10))
    study.tell(1, 0.99)
    sweep.batch(1, [{"score": 4.5}])
    assert entries() == [1, 5, 2, 6]
    memory = (sweep.paths.record / "s_memory.md").read_text()
    assert "- Iteration 3 stopped at 50% of its steps, and may go on" in memory
    sweep.batch(1, [{"score": 4.6}])
    give_up_all(sweep.storage, study, sweep.paths)
    assert entries() == [1, 5, 2, 6, 7, 3, 4]


def test_the_record_is_made_again_byte_for_byte(sweep: PlantedSweep, run_here: Run) -> None:
    for step in steps(sweep):
        step()
        write(sweep)
    made = contents(sweep.paths.record)
    shutil.rmtree(sweep.paths.record)
    result = run_here("record", str(sweep.paths.root))
    assert result.returncode == 0, result.stderr
    assert contents(sweep.paths.record) == made
    assert {"planted_00.yaml", "planted_01.yaml", "planted_ucb_scores.txt", "memory/block_001_memory.md"} <= made.keys()
    assert "planted_02.yaml" not in made  # of an earlier batch, which had more slots
    assert "config/iter_004_slot_00.yaml" in made


def test_a_folder_without_a_sweep_is_told(tmp_path: Path, told_here: Callable[..., str]) -> None:
    assert "study.db" in told_here("record", str(tmp_path))


def test_a_study_with_a_damaged_page_is_told(tmp_path: Path, told_here: Callable[..., str]) -> None:
    """As where a running sweep's folder was copied: it opens, and then cannot be read."""
    sweep = PlantedSweep(tmp_path / "s")
    sweep.begin(1)
    sweep.batch(1, [{"score": 1.0}])
    with contextlib.closing(sqlite3.connect(sweep.paths.study_db)) as database:
        ((page,),) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'trial_user_attributes'")
        ((size,),) = database.execute("PRAGMA page_size")
    with sweep.paths.study_db.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes(size))
    assert told_here("record", str(sweep.paths.root)).startswith("error: the study cannot be read or written: ")


def test_a_record_that_cannot_be_written_is_told(sweep: PlantedSweep) -> None:
    sweep.paths.record.write_text("a file, where the folder should be")
    with pytest.raises(OutputError, match="could not be written"):
        write(sweep)


def test_the_memory_has_its_sections_in_order_at_every_step(sweep: PlantedSweep) -> None:
    for step in steps(sweep):
        step()
        files = record_files("planted", read_blocks(sweep.studies, sweep.validations))
        for name, text in files.items():
            if name.endswith("_memory.md"):
                block = 1 if "/" in name else max(sweep.studies)
                wanted = [section.format(block=block) for section in SECTIONS]
                assert [line for line in text.splitlines() if line.startswith("#") or line == "---"] == wanted


def test_a_block_that_is_opened_again_is_the_current_one(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path / "s")
    for block in (1, 2):
        study = sweep.begin(block)
        sweep.batch(block, [{"score": 1.0 + block}, {"score": 2.0 + block}])
        mark_ended(study)
    mark_open(sweep.studies[1])
    files = record_files("s", read_blocks(sweep.studies, {}))
    assert "## Current Block (Block 1)" in files["s_memory.md"]
    assert "Previous Block Summary\n\n---" in files["s_memory.md"]
    analysis = files["s_analysis.md"]
    assert analysis.count(">>> BLOCK END <<<") == 1
    assert analysis.index("## Iter 2") < analysis.index("## Iter 3") < analysis.index(">>> BLOCK END <<<")
    assert "Node 1:" in files["s_ucb_scores.txt"]
    assert "Node 3:" not in files["s_ucb_scores.txt"]


def test_the_memory_says_what_never_goes_on_and_how_seeds_were_run(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path / "s")
    study = sweep.begin(1)
    metrics = {"sample_r2": r2_of(3.0), "sample_r2_se": 0.0, "sample_windows": 16, "n_windows": 161}
    sampled = {"attempt": 1, "status": "finished", "reason": None, "metrics": metrics, "stop_step": 20}
    failed = vars(Outcome(1, "failed", "the worker died 2 times"))
    sweep.batch(
        1,
        [
            {"score": 3.0, "outcome": sampled},
            paused(0.9),
            paused(None),
            {"state": TrialState.FAIL, "outcome": failed, "reports": paused(r2=0.96)["reports"]},
        ],
    )
    sweep.validate(1, 0, [3.1, 3.2])
    files = record_files("s", read_blocks(sweep.studies, sweep.validations))
    assert files["s_memory.md"].count("and may go on") == 1
    assert "## Iter 4: poor" in files["s_analysis.md"]
    mark_ended(study)
    sweep.begin(2)
    memory = record_files("s", read_blocks(sweep.studies, sweep.validations))["s_memory.md"]
    assert re.search(r"Validation: 3 seeds of iteration 1 gave R2 [\d., ]+ over 16 of 161 windows", memory)


def test_odd_text_breaks_no_table_and_no_line(sweep: PlantedSweep) -> None:
    for step in steps(sweep):
        step()
    files = record_files("planted", read_blocks(sweep.studies, sweep.validations))
    rows = [line for line in files["planted_memory.md"].split("\n") if line.startswith("|")]
    assert len(rows) == 2 + 7
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {14}
    for text in files.values():
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u2028]", text)


def test_the_memory_says_when_no_llm_took_part_and_that_the_cheapest_of_solved_configs_is_the_best(
    sweep: PlantedSweep,
) -> None:
    sweep.begin(1, settings={"claude.solved_r2": 0.9999})
    cheap, dear = {"changes": {WIDTH: 8}}, {"changes": {WIDTH: 64}}
    metrics = {8: {"total_params": 100}, 64: {"total_params": 9000}}
    sweep.batch(1, [{"score": 12.0, **cheap, "metrics": metrics[8]}, {"score": 15.0, **dear, "metrics": metrics[64]}])
    memory = record_files("planted", read_blocks(sweep.studies, {}))["planted_memory.md"]
    assert "- **LLM-driven exploration**: no LLM took part; 2 trials in 1 block, laid out by tree;" in memory
    assert "at iteration 1 (hidden_dim=8" in memory[: memory.index("## Knowledge Base")]
    assert "the cheapest of those with R2 0.9999 or more" in memory
    sweep.batch(1, [{"score": 5.0, "strategy": "agent"}])
    assert (
        "LLM-driven exploration**: 3 trials"
        in (record_files("planted", read_blocks(sweep.studies, {}))["planted_memory.md"])
    )


def test_the_end_of_a_block_stands_in_its_snapshot(sweep: PlantedSweep) -> None:
    for step in steps(sweep)[:5]:
        step()
    files = record_files("planted", read_blocks(sweep.studies, sweep.validations))
    assert files["memory/block_001_memory.md"].count(">>> BLOCK END <<<") == 1
    assert "measured with 16 degrees of freedom" in files["memory/block_001_memory.md"]


def test_ucb_scores_are_in_the_known_format(sweep: PlantedSweep) -> None:
    for step in steps(sweep)[:3]:
        step()
    lines = record_files("planted", read_blocks(sweep.studies, {}))["planted_ucb_scores.txt"].split("\n")
    assert lines[0] == "=== UCB Scores (Simulation block 1, iters 1-7, N=7, c=1.414) ==="
    assert lines[1] == ""
    row = re.compile(r"Node \d+: UCB=\d+\.\d{3}, parent=(root|\d+), visits=\d+, R2=-?\d+\.\d{3}, Time=\S+, Mutation=.+")
    assert [bool(row.fullmatch(line)) for line in lines[2:-1]] == [True] * 5
    assert "Node 3: " in "".join(lines)
    assert "parent=1, visits=1, R2=0.950, Time=0.5, Mutation=omega_f: 20 -> 90" in "".join(lines)


def test_next_parent_is_never_the_following_iteration(sweep: PlantedSweep) -> None:
    for step in steps(sweep):
        step()
    text = record_files("planted", read_blocks(sweep.studies, sweep.validations))["planted_analysis.md"]
    for iteration, _, _, _, following in ENTRY.findall(text):
        assert following == "root" or int(following) != int(iteration) + 1


def test_a_sweep_that_has_not_begun_has_a_record(sweep: PlantedSweep) -> None:
    write(sweep)
    assert (sweep.paths.record / "planted_analysis.md").read_text() == "# Analysis: planted\n"


def test_a_slot_s_config_runs(tmp_path: Path, field_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = PlantedSweep(tmp_path / "my sweep", {"path": str(field_folder), "n_input_neurons": N_NEURONS})
    sweep.begin(1)
    sweep.batch(1, [{"state": TrialState.RUNNING, "changes": {OMEGA: 13.0}}])
    write(sweep)
    monkeypatch.chdir(tmp_path)
    arguments = ["--config-dir", str(sweep.paths.record), "--config-name", "my sweep_00"]
    monkeypatch.setattr("sys.argv", ["siren_sweep", *arguments])
    main()
    (used,) = tmp_path.glob("outputs/runs/*/*/config.yaml")
    assert "omega_f: 13.0" in used.read_text()
    assert f"total_steps: {CONFIG['claude.total_steps']}" in used.read_text()
