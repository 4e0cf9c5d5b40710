"""Disks that fill up, turn read-only or vanish, damaged files: one clear error, and nothing finished is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fields import make_field_folder
from optuna.trial import TrialState
from processes import Home, Table, ended, kill, told_by, until, workers

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

AS_A_PERSON = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]  # root writes where it may not, else


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data of `undisturbed` again, eight chunks of two frames."""
    return make_field_folder(tmp_path / "field", n_frames=16, chunk_frames=2)


@pytest.fixture
def home(data: Path, long_command: list[str], tmp_path: Path) -> Iterator[Home]:
    with ended(Home(tmp_path, [*long_command, f"dataset.path={data}", "tracking=none"])) as own:
        yield own


def in_mid_sweep(home: Home, sweep: subprocess.Popen[str]) -> None:
    """Wait until something is finished and something runs."""
    until(lambda: (home.reporting() and n_told(home) >= 1) or sweep.poll() is not None, "a trial that was told")
    until(lambda: workers(sweep) or sweep.poll() is not None, "workers")
    assert sweep.poll() is None


def n_told(home: Home) -> int:
    return sum(row[2] is TrialState.COMPLETE for row in home.table())


def assert_kept(before: Table, after: Table) -> None:
    assert {row for row in before if row[2] is TrialState.COMPLETE} <= set(after)


def fill(file: Path) -> None:
    with contextlib.suppress(OSError), file.open("ab", buffering=0) as out:
        while True:
            out.write(bytes(4096))


def test_a_full_disk_is_told_and_the_sweep_goes_on_when_there_is_room(home: Home, undisturbed: Table) -> None:
    disk = home.root / "out"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    filler = disk / "filler"
    try:
        with home.start() as sweep:
            in_mid_sweep(home, sweep)
            before = home.table()
            while sweep.poll() is None:  # again and again: what the sweep takes away leaves room
                fill(filler)
                time.sleep(0.1)
            message = told_by(sweep)
        assert "full" in message or "No space left" in message
        until(lambda: not home.processes(), "the end of all processes")
        assert_kept(before, home.table())
        again = home.refused()
        assert "No space left" in again or "full" in again
        filler.unlink()
        home.finish()
        home.assert_as(undisturbed)
    finally:
        for process in home.processes():
            kill(process)
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_folder_that_turns_read_only_is_told(home: Home, undisturbed: Table) -> None:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root writes anywhere, and there is no setpriv to take that right away")
    home.before = AS_A_PERSON if os.geteuid() == 0 else []
    folders: list[Path] = []
    with home.start() as sweep:
        in_mid_sweep(home, sweep)
        folders = [home.paths.root, *(path for path in home.paths.root.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        message = told_by(sweep)
    assert "readonly" in message or "Permission denied" in message or "unable to open" in message
    until(lambda: not home.processes(), "the end of all processes")
    again = home.refused()
    assert "Permission denied" in again or "readonly" in again or "unable to open" in again
    for folder in folders:
        folder.chmod(0o755)
    home.finish()
    home.assert_as(undisturbed)


def test_a_folder_that_vanishes_is_told_and_none_is_made_in_its_place(home: Home, undisturbed: Table) -> None:
    aside = home.root / "aside"
    with home.start() as sweep:
        in_mid_sweep(home, sweep)
        home.paths.root.rename(aside)
        told_by(sweep)
    until(lambda: not home.processes(), "the end of all processes")
    assert not home.paths.study_db.exists()
    shutil.rmtree(home.paths.root, ignore_errors=True)
    aside.rename(home.paths.root)
    home.finish()
    home.assert_as(undisturbed)


def corrupt(chunk: Path) -> None:
    content = chunk.read_bytes()
    chunk.write_bytes(content[: len(content) // 2])


def change(chunk: Path) -> None:
    """Other values, every byte of them in order."""
    import zarr

    array = zarr.open_array(chunk.parents[2], mode="r+")
    array[0, 0] = np.float32(0.25)


@pytest.mark.parametrize(
    ("strike", "says"),
    [
        (corrupt, "stimulus.zarr: chunk c/0/0 cannot be read"),
        (Path.unlink, "1 missing: c/0/0"),
        (change, "changed under the sweep 's'"),
    ],
)
def test_data_that_break_in_mid_sweep_stop_it_and_mended_let_it_go_on(
    strike: Callable[[Path], None], says: str, home: Home, data: Path, undisturbed: Table
) -> None:
    chunk, kept = data / "stimulus.zarr/c/0/0", data / "kept"
    shutil.copy2(chunk, kept)
    with home.start() as sweep:
        in_mid_sweep(home, sweep)
        before = home.table()
        strike(chunk)
        message = told_by(sweep)
    assert says in message
    assert_kept(before, home.table())
    until(lambda: not home.processes(), "the end of all processes")
    assert says in home.refused()
    assert_kept(before, home.table())
    shutil.copy2(kept, chunk)
    home.finish()
    home.assert_as(undisturbed)


@pytest.mark.parametrize("strike", [corrupt, Path.unlink])
def test_broken_data_before_a_start_are_told_before_anything_is_written(
    strike: Callable[[Path], None], home: Home, data: Path
) -> None:
    strike(data / "stimulus.zarr/c/0/0")
    assert "c/0/0" in home.refused()
    assert not home.paths.root.exists()


@pytest.mark.parametrize("left", [0.0, 0.4])
def test_a_truncated_study_goes_back_to_its_copy(left: float, home: Home, undisturbed: Table) -> None:
    with home.start() as sweep:
        in_mid_sweep(home, sweep)
        sweep.kill()
    until(lambda: not home.processes(), "the end of all processes")
    study = home.paths.study_db
    os.truncate(study, int(study.stat().st_size * left))
    assert "it is now study.damaged.db, and the sweep goes on from its last copy" in home.finish()
    home.assert_as(undisturbed)


def test_a_study_truncated_while_the_sweep_runs_is_told(home: Home, undisturbed: Table) -> None:
    with home.start() as sweep:
        in_mid_sweep(home, sweep)
        os.truncate(home.paths.study_db, home.paths.study_db.stat().st_size // 3)
        assert "the storage of the studies" in told_by(sweep)
    until(lambda: not home.processes(), "the end of all processes")
    home.finish()
    home.assert_as(undisturbed)


def test_a_damaged_study_without_a_copy_is_told_and_left_as_it_is(home: Home) -> None:
    with home.start() as sweep:
        until(home.reporting, "a report")
        sweep.kill()
    until(lambda: not home.processes(), "the end of all processes")
    study = home.paths.study_db
    home.paths.study_copy.unlink(missing_ok=True)
    study.with_name(f"{study.name}-journal").unlink(missing_ok=True)  # sqlite itself writes that back
    os.truncate(study, study.stat().st_size // 2)
    before = study.read_bytes()
    assert "is damaged" in home.refused()
    assert study.read_bytes() == before


def test_a_truncated_checkpoint_costs_its_trial_nothing_but_time(home: Home, undisturbed: Table) -> None:
    with home.start() as sweep:
        until(lambda: list(home.paths.root.glob("block_*/trial_*/checkpoint")), "a checkpoint")
        kill(sweep, signal.SIGKILL)
    until(lambda: not home.processes(), "the end of all processes")
    checkpoints = list(home.paths.root.glob("block_*/trial_*/checkpoint"))
    assert checkpoints
    for checkpoint in checkpoints:
        os.truncate(checkpoint, checkpoint.stat().st_size // 2)
    home.finish()
    home.assert_as(undisturbed)
