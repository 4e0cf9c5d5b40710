"""The whole job side by side: what is read from a sweep, what the table says, and which cells run again."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import N_NEURONS
from planted import PlantedSweep, paused

from siren_sweep.config.parameters import leaf
from siren_sweep.study.records import Outcome, Stint
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.train.report import Report

BENCH = Path(__file__).parents[2] / "bench"
JOB = BENCH / "job" / "job.py"
sys.path[:0] = [str(BENCH), str(JOB.parent)]

import job  # noqa: E402
import report  # noqa: E402
from outcomes import Seen, ours_seen  # noqa: E402
from stack_samples import function_of  # noqa: E402
from task import Task  # noqa: E402
from training_times import Interval, read_runs, step_share, training_intervals  # noqa: E402
from wall import Training, filled, gaps, places  # noqa: E402


def reports(*seconds: float) -> list[Report]:
    """A report each so many seconds of training, ten steps after the one before, at 10 steps a second."""
    return [
        Report(index, index / 20, 10 * index, index / 100, 0.1, 1e-3, 10.0, at) for index, at in enumerate(seconds, 1)
    ]


@pytest.fixture
def sweep(tmp_path: Path) -> PlantedSweep:
    """A trial that paused after two reports and went on at 200, one that is paused, one of a sample of windows."""
    sweep = PlantedSweep(tmp_path / "job")
    sweep.begin(1, n_frames=100, settings={"claude.search_windows": 4})
    curve = [vars(report) for report in reports(2, 4, 6, 8)]
    metrics = {"final_r2": 0.5, "training_time_min": 9 / 60}
    ended = Outcome(2, "finished", None, metrics, 40, began_s=100.0, ended_s=207.0)
    stint = Stint(batch=2, slot=1, attempt=1, fraction=0.1, began=200.0)
    sampled = {"changes": {"graph_model.window_frames": 10}, "score": 9.0, "reports": curve}
    sweep.batch(
        1,
        [
            {"score": 1.0, "attempt": 2, "reports": curve, "stints": [vars(stint)], "outcome": vars(ended)},
            paused(n_reports=2, reports=curve[:2], outcome=vars(Outcome(1, "stopped", began_s=300.0))),
            sampled,
        ],
    )
    return sweep


def test_a_trial_did_not_train_while_it_was_paused(sweep: PlantedSweep) -> None:
    first, second, _ = read_trials(sweep.studies[1])
    assert list(training_intervals(first)) == [Interval(100.0, 104.0, 0.0), Interval(202.0, 207.0, 4.0)]
    assert list(training_intervals(second)) == [Interval(300.0, 304.0, 0.0)]
    assert step_share(first) == pytest.approx(4 / 9)


def test_what_ours_saw_is_of_networks_of_the_whole_field(sweep: PlantedSweep) -> None:
    assert [run.whole for run in read_runs(sweep.paths.root)] == [True, True, False]
    seen = sorted(ours_seen(sweep.paths.root.parent), key=lambda one: one.at)
    by_report = [(102.0, 0.01), (104.0, 0.02), (204.0, 0.03), (206.0, 0.04)]
    kept = Seen(207.0, 0.5, True)
    paused_too = [Seen(302.0, 0.01, False), Seen(304.0, 0.02, False)]
    assert seen == [*(Seen(at, r2, False) for at, r2 in by_report), kept, *paused_too]
    assert job.climb(100.0, seen) == [(2.0, 0.01), (4.0, 0.02), (104.0, 0.03), (106.0, 0.04), (107.0, 0.5)]


def test_gaps_are_told_by_what_comes_after_them(sweep: PlantedSweep) -> None:
    run, _, other = read_runs(sweep.paths.root)
    again, block = (dataclasses.replace(run, study=name) for name in ("block_01_validation", "block_02"))
    trained = [Training(run, 1, 4), Training(other, 2, 6), Training(run, 9, 10), Training(again, 11, 12)]
    found = gaps([*trained, Training(block, 15, 16)], start=0, end=20)
    assert [(gap.kind, gap.begin, gap.end) for gap in found] == [
        ("before the first trial", 0, 1),
        ("between two batches", 6, 9),
        ("before a block's best is trained again", 10, 11),
        ("between two blocks", 12, 15),
        ("after the last trial", 16, 20),
    ]
    samples = [(5.0, "a"), (7.0, "b"), (8.5, "a"), (14.0, "c")]
    assert places(found, samples) == {"b": 1.0, "a": 1.5, "c": 3.5}
    assert filled(trained[:3], 6) in (8 / 6, 8 / 12)  # on one core, and on more


def test_a_sample_is_the_innermost_function_of_ours() -> None:
    seen = []

    class Dimension(str):
        def rsplit(self, *_: Any) -> list[str]:  # type: ignore[override]
            seen.append(function_of(sys._getframe()))
            return ["name"]

    assert leaf(Dimension("a.name")) == "name"
    assert seen == ["config.parameters.leaf"]
    assert function_of(sys._getframe()) == "elsewhere"


def result(side: str, seed: int, seen: list[tuple[float, float]], **more: Any) -> dict[str, Any]:
    return {
        "side": side,
        "task": {"n_frames": 100, "seed": seed},
        "limit_s": 600,
        "at_limit": side != "ours",
        "took_s": 40.0 if side == "ours" else 660.0,
        "seen": seen,
        "kept": [],
        "best_on_disk": seen[-1][1] if seen else None,
        "left": {"kinds": ["weights"], "n_files": 2, "mb": 1.0},
        "machine": {"cpu": "a processor", "n_cores": 2, "load_before": 0.1, "commit": "abc"},
        **more,
    }


def test_the_table_says_when_marks_are_reached_and_by_whom_alone(tmp_path: Path) -> None:
    cells = tmp_path / "cells"
    cells.mkdir()
    results = [
        result("ours", 1, [(10.0, 0.96), (20.0, 0.9995)]),
        result("ours", 2, [(14.0, 0.992)]),
        result("ours", 3, [(12.0, 0.9991)]),
        result("stock", 1, [(300.0, 0.5), (360.0, 0.97)]),
        result("stock", 2, [(120.0, 0.96)]),
        result("stock", 3, []),
    ]
    for index, one in enumerate(results):
        (cells / f"{index}.json").write_text(json.dumps(one))
    text = report.write(tmp_path)
    ours, stock = [line.split(" | ") for line in text.splitlines() if line.startswith("| 100")]
    assert ours[3:6] == ["12 s", "14 s", "20 s (2 of 3 seeds)"]
    assert stock[3:6] == ["360 s (2 of 3 seeds) (30 times ours)", "not reached", "not reached"]
    assert stock[6] == "10.0 min (limit, 3 of 3)"
    assert "- 100 frames: R2 0.99 is reached within the limits by siren_sweep alone." in text
    assert "R2 0.95 is" not in text
    assert all((tmp_path / name).stat().st_size for name in ("job.md", "job.png", "job.svg"))
    assert report.SIDES.keys() == job.SIDES.keys()


def test_all_sides_get_the_same_space_and_start(field_folder: Path) -> None:
    few = Task(str(field_folder), N_NEURONS, 16, 400, seed=3)
    many = Task(str(field_folder), N_NEURONS, 1000, 400, seed=3)
    assert (few.one_network_space(), many.one_network_space()) == ("default", "one_network")
    start = few.start("default")
    cfg = few.config(start.space.config(start.base))
    assert (cfg.training.seed, cfg.training.n_training_frames, cfg.claude.total_steps) == (3, 16, 100)
    assert cfg.graph_model.omega_f == 30  # as conf/search_space/default.yaml begins, with a quarter of the steps
    assert Task.of(few.text) == few


def bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The benchmark as `make bench-job` runs it."""
    command = [sys.executable, str(JOB), *arguments]
    return subprocess.run(command, cwd=cwd, env={"PYTHONPATH": str(BENCH)}, capture_output=True, text=True, check=False)


def test_data_that_are_not_there_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["job.py", str(tmp_path / "none"), "--frames", "10"])
    with pytest.raises(SystemExit) as ending:
        job.main()
    assert ending.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: dataset.path must be a folder that holds stimulus.zarr and pos.zarr, got ")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_side_leaves_a_result_and_only_missing_cells_run(field_folder: Path, tmp_path: Path) -> None:
    task = [str(field_folder), "--frames", "16", "--steps", "40", "--seeds", "1", "--neurons", str(N_NEURONS)]
    first = bench(*task, "--sides", "ours,flyvis_defaults", "--minutes", "6", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    sides = "ours", "stock", "flyvis_defaults"
    again = bench(*task, "--sides", ",".join(sides), "--minutes", "1", cwd=tmp_path)
    assert [line.split(":")[0] for line in again.stdout.splitlines() if " of " in line][:1] == ["1 of 1"]
    cells = tmp_path / "outputs/bench_job/cells"
    found = {side: json.loads((cells / f"00016_{side}_1.json").read_text()) for side in sides}
    for one in found.values():
        assert one["best_on_disk"] == pytest.approx(max(r2 for _, r2 in one["kept"]), abs=1e-4)
        assert one["seen"] == sorted(one["seen"])
    assert [one["at_limit"] for one in found.values()] == [False, True, False]
    assert {"weights", "config that runs", "record", "report", "table", "study"} <= set(found["ours"]["left"]["kinds"])
    assert set(found["stock"]["left"]["kinds"]) == {"weights", "study"}
