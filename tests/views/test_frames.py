"""A sweep as data frames, read from planted studies, which stay as they are."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from optuna.trial import TrialState
from planted import CONFIG, OMEGA, PlantedSweep, paused, r2_of, ran
from rich.console import Console

import siren_sweep
from siren_sweep.cli.main import main
from siren_sweep.config.config_file import plain
from siren_sweep.config.parameters import BATCH_SIZE, PARAMETERS, WINDOW
from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import ConfigError, OutputError, SweepStateError
from siren_sweep.study.records import Outcome
from siren_sweep.study.studies import study_name
from siren_sweep.train.report import Report
from siren_sweep.train.size import n_parameters
from siren_sweep.views.comparison import comparison_table


def report(index: int, r2: float) -> dict[str, float]:
    return dataclasses.asdict(Report(index, index / 20, index * 2, r2, 1 - r2, 1e-3, 10.0, index * 6.0))


@pytest.fixture
def planted(tmp_path: Path) -> PlantedSweep:
    """Two blocks: one with every kind of ending, one that has just begun."""
    sweep = PlantedSweep(tmp_path / "demo")
    sweep.begin(1)
    curve = [report(index, index / 40) for index in range(1, 11)]
    sweep.batch(
        1,
        [
            {"score": 2.0, "reports": curve},
            {"score": 3.0, "changes": {OMEGA: 30.0}, "parent": 0, "mutation": "omega"},
            {"state": TrialState.PRUNED, "reports": curve, "outcome": None, "stop": {"fraction": 0.5, "r2": 0.26}},
            {"state": TrialState.FAIL, "reason": "out of memory: no"},
        ],
    )
    sweep.begin(2, n_frames=20)
    sweep.batch(2, [{"state": TrialState.RUNNING, "reports": curve, "outcome": None}])
    sweep.batch(2, [{"state": TrialState.WAITING, "outcome": None, "seed": None}])
    return sweep


def folder_state(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(file): (file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "")
        for file in [folder, *folder.rglob("*")]
    }


def test_a_row_a_trial_with_its_parameters(planted: PlantedSweep) -> None:
    sweep = siren_sweep.open_sweep(planted.paths.root)
    trials = sweep.trials
    assert [block.n_training_frames for block in sweep.blocks] == [10, 20]
    assert list(trials.block) == [1, 1, 1, 1, 2, 2]
    assert list(trials.number) == [0, 1, 2, 3, 0, 1]
    assert list(trials.iteration) == [1, 2, 3, 4, 5, 6]
    assert list(trials.batch) == [1, 1, 1, 1, 1, 2]
    assert list(trials.state) == ["complete", "complete", "pruned", "fail", "running", "waiting"]
    assert trials.r2[:5].fillna(-9).tolist() == [r2_of(2.0), r2_of(3.0), 0.26, -9, 0.25]
    assert np.isnan(trials.r2[5])
    assert trials.minutes[:5].tolist() == [0.5, 0.5, 1.0, 0.5, 1.0]
    assert trials.reason[3] == "out of memory: no"
    assert list(trials.parent.fillna(-1)) == [-1, 0, -1, -1, -1, -1]
    assert trials.mutation[1] == "omega"
    assert trials.seed[:5].tolist() == [42] * 5
    assert trials.omega_f.tolist() == [20.0, 30.0, 20.0, 20.0, 20.0, 20.0]
    assert trials.hidden_dim_nnr_f.dtype == np.int64
    assert {item.leaf for item in PARAMETERS.values()} <= set(trials.columns)


def test_a_row_a_report(planted: PlantedSweep) -> None:
    curves = siren_sweep.open_sweep(str(planted.paths.root)).curves
    assert list(curves.columns) == ["block", "number", "step", "r2", "mse", "learning_rate", "elapsed_s"]
    own = curves[(curves.block == 1) & (curves.number == 2)]
    assert own.step.tolist() == list(range(2, 22, 2))
    assert own.r2.tolist() == [index / 40 for index in range(1, 11)]
    assert len(curves) == 30


def test_the_best_of_a_block_says_what_its_export_says(planted: PlantedSweep) -> None:
    sweep = siren_sweep.open_sweep(planted.paths.root)
    best = sweep.best(1)
    assert best is not None
    assert (best["final_r2"], best["trial"], best["seed"]) == (r2_of(3.0), 1, 42)
    assert best["config"]["graph_model"]["omega_f"] == 30
    saved = planted.paths.trial(study_name(1), 1)
    saved.root.mkdir(parents=True)
    saved.config.write_text(yaml.safe_dump(plain(TrialConfig())))
    with_config = siren_sweep.open_sweep(planted.paths.root).best(1)
    assert with_config is not None
    assert with_config["config"] == plain(TrialConfig())
    assert sweep.best(2) is None
    with pytest.raises(ConfigError, match=r"one that the sweep has begun \(1, 2\), got 3"):
        sweep.best(3)
    with pytest.raises(OutputError, match=r"there is no .*best/block_02\.safetensors"):
        sweep.load(2)


def test_nothing_is_written_while_another_writes(planted: PlantedSweep) -> None:
    writer = sqlite3.connect(planted.paths.study_db, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE studies SET study_name = study_name || ' gone'")
    before = folder_state(planted.paths.root)
    sweep = siren_sweep.open_sweep(planted.paths.root)
    assert len(sweep.trials) == 6
    assert folder_state(planted.paths.root) == before
    writer.execute("ROLLBACK")
    writer.close()
    planted.batch(2, [{"score": 1.0}])
    assert len(sweep.trials) == 6
    assert len(siren_sweep.open_sweep(planted.paths.root).trials) == 7


def test_a_write_that_was_cut_off_is_rolled_back_in_a_copy(planted: PlantedSweep) -> None:
    """A writer that was killed left changed pages, and the journal that undoes them."""
    killed = """
import os, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size=1")
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE trial_user_attributes SET value_json = '1'")
database.execute("UPDATE studies SET study_name = study_name || ' gone'")
os._exit(0)
"""
    planted.storage.remove_session()
    subprocess.run([sys.executable, "-c", killed, str(planted.paths.study_db)], check=True)
    before = folder_state(planted.paths.root)
    with (
        pytest.raises(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(f"{planted.paths.study_db.as_uri()}?mode=ro", uri=True)) as reader,
    ):
        reader.execute("SELECT * FROM studies")
    assert len(siren_sweep.open_sweep(planted.paths.root).trials) == 6
    assert folder_state(planted.paths.root) == before


def test_sweeps_beside_each_other(planted: PlantedSweep, tmp_path: Path) -> None:
    other = PlantedSweep(tmp_path / "other")
    other.begin(1)
    table = siren_sweep.compare([planted.paths.root, str(tmp_path / "other")])
    assert table[["sweep", "block"]].to_numpy().tolist() == [["demo", 1], ["demo", 2], ["other", 1]]
    assert table.final_r2.fillna(-9).tolist() == [r2_of(3.0), -9, -9]
    assert table.minutes.tolist() == [2.5, 1.0, 0.0]
    assert table.n_trials.tolist() == [4, 2, 0]
    assert table.omega_f[0] == 30
    assert table.hidden_dim_nnr_f[0] == CONFIG["graph_model.hidden_dim_nnr_f"]
    assert table.hidden_dim_nnr_f.isna().tolist() == [False, True, True]
    again = PlantedSweep(tmp_path / "elsewhere" / "demo")
    again.begin(1)
    paths = [planted.paths.root, tmp_path / "elsewhere" / "demo"]
    assert set(siren_sweep.compare(paths).sweep) == {str(path) for path in paths}
    assert len(siren_sweep.compare([])) == 0


def test_sweeps_side_by_side_show_where_their_best_configs_differ(
    planted: PlantedSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = PlantedSweep(tmp_path / "other")
    other.begin(1)
    other.batch(1, [{"score": 12.0, "changes": {OMEGA: 55.0}}])
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.argv", ["siren-sweep", "compare", str(planted.paths.root), str(other.paths.root)])
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 0
    told = capsys.readouterr().out.replace("┃", "│").splitlines()
    lines = [[cell.strip() for cell in line.split("│")] for line in told if "│" in line]
    assert ["frames", "", "demo", "other"] in lines
    assert ["", "R2", "0.9502", "1 - 6.1e-06"] in lines
    assert ["", "omega_f", "30", "55"] in lines
    assert ["", "R2", "-", "-"] in lines
    assert not [line for line in lines if line[1] == "hidden_dim_nnr_f"]


def test_two_proposers_are_compared_at_equal_cost(tmp_path: Path) -> None:
    for name, scores in (("long", (1.0, 2.0, 4.0, 9.0)), ("short", (3.0, 2.0))):
        sweep = PlantedSweep(tmp_path / name)
        sweep.begin(1)
        sweep.batch(1, [{"score": score, "outcome": ran(score)} for score in scores])
    table = siren_sweep.compare([tmp_path / "long", tmp_path / "short"])
    assert table.r2_at_equal_cost.tolist() == [r2_of(2.0), r2_of(3.0)]
    assert table.final_r2.tolist() == [r2_of(9.0), r2_of(3.0)]
    assert table.cost[0] == 2 * table.cost[1] == 4 * 20 * CONFIG[BATCH_SIZE] * n_parameters(8, 1)
    Console(file=(out := io.StringIO()), width=80).print(comparison_table([tmp_path / "long", tmp_path / "short"]))
    lines = [[cell.strip() for cell in line.split("│")] for line in out.getvalue().splitlines()]
    assert ["", "R2 at equal cost", "0.8647", "0.9502"] in lines
    assert ["", "cost", "2.00", "1.00"] in lines


def test_a_trial_of_some_windows_costs_those_however_it_ended(tmp_path: Path) -> None:
    n = n_parameters(8, 1)
    sample = {"sample_r2": 0.9, "sample_windows": 16, "n_windows": 512, "total_params": 512 * n}
    reports = [report(index, 0.5) for index in range(1, 6)]  # to step 10 of 20
    endings = [
        (TrialState.COMPLETE, Outcome(1, "finished", None, sample, 20)),
        (TrialState.PRUNED, Outcome(1, "stopped", "stopped", {"final_r2": None, "total_params": 512 * n}, 10)),
        (TrialState.FAIL, Outcome(1, "failed", "its worker died 2 times")),
        (TrialState.RUNNING, None),
    ]
    sweep = PlantedSweep(tmp_path / "s")
    sweep.begin(1, n_frames=64_000, settings={"claude.search_windows": 16})
    slots = [{"score": 3.0, "state": state, "outcome": own and vars(own), "reports": reports} for state, own in endings]
    sweep.batch(1, [{"changes": {WINDOW: 125}, **slot} for slot in slots])
    table = siren_sweep.compare(sweep.paths.root)
    assert table.cost.tolist() == [(20 + 3 * 10) * CONFIG[BATCH_SIZE] * 16 * n]
    assert set(siren_sweep.open_sweep(sweep.paths.root).trials.part) == {"over 16 of 512 windows"}


def test_a_path_in_brackets_is_shown_as_it_is(tmp_path: Path) -> None:
    folders = [tmp_path / name / "demo" for name in ("[old]", "new")]
    for folder in folders:
        PlantedSweep(folder).begin(1)
    Console(file=(out := io.StringIO()), width=1000).print(comparison_table(folders))
    assert str(folders[0]) in out.getvalue()


def test_a_sweep_without_a_block_is_empty(tmp_path: Path) -> None:
    sweep = siren_sweep.open_sweep(PlantedSweep(tmp_path / "new").paths.root)
    assert (sweep.blocks, len(sweep.trials), len(sweep.curves)) == ([], 0, 0)
    assert sweep.trials.r2.dtype == np.float64


def test_a_folder_that_is_no_sweep_s_is_told(planted: PlantedSweep, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds study\.db; there is none in '.*nowhere'"):
        siren_sweep.open_sweep(tmp_path / "nowhere")
    for content in (b"", b"no database" * 1000):
        folder = tmp_path / f"broken{len(content)}"
        folder.mkdir()
        (folder / "study.db").write_bytes(content)
        with pytest.raises(OutputError, match=r"study\.db must be a whole study file, and is not"):
            siren_sweep.open_sweep(folder)
    planted.studies[1].set_user_attr("format", 99)
    with pytest.raises(SweepStateError, match="must be of format 1, got 99"):
        siren_sweep.open_sweep(planted.paths.root)


def test_names_are_there_when_asked_for() -> None:
    assert set(siren_sweep.__all__) <= set(dir(siren_sweep))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        siren_sweep.nothing  # noqa: B018


def test_a_stopped_trial_costs_what_it_ran_of_the_windows_that_it_trained(tmp_path: Path) -> None:
    sweep, weights = PlantedSweep(tmp_path / "s"), n_parameters(8, 1)
    sweep.begin(1, 1000, settings={"claude.search_windows": 4})
    whole = {"sample_r2": 0.9, "sample_windows": 4, "n_windows": 16, "total_params": 16 * weights}
    done = {"attempt": 1, "status": "finished", "metrics": whole, "stop_step": 20}
    stopped = {"attempt": 1, "status": "stopped", "metrics": {"total_params": 16 * weights}, "stop_step": 5}
    slots = [{"score": 2.0, "outcome": done}, paused() | {"outcome": stopped}]
    sweep.batch(1, [slot | {"changes": {WINDOW: 62}} for slot in slots])
    assert siren_sweep.compare(tmp_path / "s").cost[0] == (20 + 5) * CONFIG[BATCH_SIZE] * weights * 4
