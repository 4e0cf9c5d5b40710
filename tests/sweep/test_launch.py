"""Slots with real processes: however a worker ends, it is told, and no other slot is touched."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from siren_sweep.sweep import slots as launch
from siren_sweep.sweep import worker
from siren_sweep.sweep.slots import Job, run_jobs, slots


def _write(file: Path) -> None:
    file.write_text("done")


def _kill_itself(file: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _leave_quietly(file: Path) -> None:
    os._exit(0)


def _raise(file: Path) -> None:
    raise ValueError("no")


def _exit(file: Path) -> None:
    raise SystemExit(7)


def _hang(file: Path) -> None:
    file.write_text("hangs")
    time.sleep(600)


def _interrupted(file: Path) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("target", "end"),
    [
        (_kill_itself, "the worker was killed by SIGKILL"),
        (_leave_quietly, ""),
        (_raise, "the worker exited with code 1"),
        (_exit, "the worker exited with code 7"),
    ],
)
def test_a_worker_that_dies_is_told_and_dies_alone(target: object, end: str, tmp_path: Path) -> None:
    jobs = [Job((_choose, target, index, tmp_path / str(index)), 60.0) for index in range(4)]
    run_jobs(_call, jobs, 2)
    assert [job.end for job in jobs] == ["", end, "", ""]
    assert [(tmp_path / str(index)).exists() for index in range(4)] == [True, False, True, True]


def _call(function: object, *args: object) -> None:
    function(*args)  # type: ignore[operator]


def _choose(target: object, index: int, file: Path) -> None:
    target(file) if index == 1 else _write(file)  # type: ignore[operator]


def test_a_worker_that_hangs_is_stopped_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "GRACE_S", 0.5)
    jobs = [Job((tmp_path / "hangs",), 2.0), Job((tmp_path / "too",), 2.0)]
    run_jobs(_hang, jobs, 2)
    assert all(job.end == "the worker was stopped at its hard limit of 0.0 minutes" for job in jobs)


def test_no_more_run_at_once_than_there_are_slots(tmp_path: Path) -> None:
    jobs = [Job((tmp_path / str(index),), 60.0) for index in range(5)]
    run_jobs(_count_running, jobs, 2)
    assert all(job.end == "" for job in jobs)
    assert max(int(file.read_text()) for file in tmp_path.iterdir()) <= 2


def _count_running(file: Path) -> None:
    siblings = psutil.Process(os.getppid()).children()
    file.write_text(str(len([process for process in siblings if process.status() != psutil.STATUS_ZOMBIE])))
    time.sleep(0.3)


def test_trials_that_run_at_once_have_different_places_and_none_beyond_the_slots(tmp_path: Path) -> None:
    """On several GPUs a place is a GPU, whatever slots the trials were planned for."""
    jobs = [Job((tmp_path / str(index),), 60.0) for index in range(5)]
    run_jobs(_take_note, jobs, 2)
    notes = [tuple(map(float, file.read_text().split())) for file in tmp_path.iterdir()]
    assert {place for place, _, _ in notes} == {0, 1}
    for own in (0, 1):
        spells = sorted((begin, end) for place, begin, end in notes if place == own)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spells))


def _take_note(file: Path) -> None:
    begin = time.monotonic()
    time.sleep(0.2)
    file.write_text(f"{worker._place} {begin} {time.monotonic()}")


def test_slots_share_the_cores() -> None:
    n_cores = len(os.sched_getaffinity(0))
    assert slots(1, "cpu").concurrency == 1
    assert slots(1, "cpu").n_threads == n_cores
    many = slots(4 * n_cores, "cpu")
    assert (many.concurrency, many.n_threads) == (n_cores, 1)
