"""The views that a sweep asks for: each once, in order, in a process whose end costs nothing."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
from planted import PlantedSweep

from siren_sweep.config.schema import Config, Tracking
from siren_sweep.paths import OutputPaths
from siren_sweep.study.stored import read_block
from siren_sweep.sweep.view_process import MOST_DEATHS, View, ViewProcess, _next


def test_a_view_asked_for_twice_is_made_once_and_in_order() -> None:
    export, record, report = View("export", 1), View("record"), View("report", 1)
    later = [View("export", 2), record, View("report", 2)]
    waiting, made = [export, record, report, View("export", 2), *later], []
    while waiting:
        made.append(alike := _next(waiting))
        waiting = [view for view in waiting if view not in alike]
    assert [alike[-1] for alike in made] == [export, *later]
    assert made[-1] == [report, View("report", 2)]


def test_the_process_is_started_again_where_it_dies_and_a_view_that_fails_is_told(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path / "s")
    sweep.begin(1)
    sweep.batch(1, [{"score": 1.0}, {"score": 2.0}])
    said: list[str] = []
    beside = ViewProcess(Config(tracking=Tracking(enabled=False)), OutputPaths(tmp_path), sweep.paths, said.append)
    beside.listen()
    assert beside._process is not None
    process = psutil.Process(beside._process.pid)
    process.kill()
    beside.ask(View("record"))
    beside.ask(View("export", 1))  # of trials that have left no files
    beside.ask(View("report", 1))
    deadline = time.monotonic() + 120
    while beside._asked and time.monotonic() < deadline:
        beside.listen(0.2)
    beside.close(over=True)
    assert (sweep.paths.record / "s_analysis.md").exists()
    assert sweep.paths.report.exists()
    assert read_block(sweep.studies[1]).shown
    (failed,) = beside.failed
    assert failed in said
    assert "the export of block 1 failed" in failed
    assert "siren-sweep export" in failed.splitlines()[-1]


def test_after_too_many_deaths_the_views_are_told_as_missing_and_nothing_else_fails(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path / "s")
    sweep.begin(1)
    said: list[str] = []
    beside = ViewProcess(Config(tracking=Tracking(enabled=False)), OutputPaths(tmp_path), sweep.paths, said.append)
    beside._deaths = MOST_DEATHS
    beside.ask(View("record"))
    beside._start()
    assert beside._process is not None
    psutil.Process(beside._process.pid).kill()
    deadline = time.monotonic() + 120
    while not said and time.monotonic() < deadline:
        beside.listen(0.2)
    for _ in range(2):  # as the thread that listens goes on to
        beside.listen()
    beside.close(over=True)
    assert said == ["the process that makes the views has died, without the record"]
    assert beside.unsent
