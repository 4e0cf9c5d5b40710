"""The study file damaged, and a database server that is gone for a while."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path
from unittest import mock

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from siren_sweep import open_sweep
from siren_sweep.errors import OutputError, SweepStateError
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.study import storage
from siren_sweep.study.records import Block
from siren_sweep.study.storage import restore, save_copy, storage_errors, wait_for
from siren_sweep.study.studies import (
    all_blocks,
    all_studies,
    create,
    open_folder,
    open_storage,
    study_name,
    told_trials,
    validation_name,
)


@pytest.fixture
def paths(tmp_path: Path) -> SweepPaths:
    """A sweep of one study, copied, and then of two."""
    own = OutputPaths(tmp_path).sweep("s")
    studies = open_storage(None, own)
    create(studies, study_name(1), Block(1, 10))
    save_copy(own)
    create(studies, study_name(2), Block(2, 10))
    studies.remove_session()
    return own


def test_a_study_that_is_whole_is_left_alone(paths: SweepPaths) -> None:
    assert restore(paths) is None
    assert sorted(all_blocks(open_storage(None, paths))) == [1, 2]


def test_a_study_that_another_program_holds_is_not_taken_for_damaged(
    paths: SweepPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "BUSY_TIMEOUT_S", 0.1)
    with contextlib.closing(sqlite3.connect(paths.study_db)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OutputError, match="cannot be read now"):
            restore(paths)
    assert restore(paths) is None
    assert not paths.study_db.with_name("study.damaged.db").exists()
    assert sorted(all_blocks(open_storage(None, paths))) == [1, 2]


@pytest.mark.parametrize("left", [0.0, 0.3, 0.9])
def test_a_truncated_study_goes_back_to_its_copy_and_is_set_aside(left: float, paths: SweepPaths) -> None:
    os.truncate(paths.study_db, int(paths.study_db.stat().st_size * left))
    damaged = paths.study_db.read_bytes()
    assert "goes on from its last copy" in str(restore(paths))
    assert sorted(all_blocks(open_storage(None, paths))) == [1]
    assert paths.study_db.with_name("study.damaged.db").read_bytes() == damaged
    assert restore(paths) is None


def test_a_damaged_study_does_not_take_the_place_of_its_copy(paths: SweepPaths) -> None:
    before = paths.study_copy.read_bytes()
    os.truncate(paths.study_db, paths.study_db.stat().st_size // 2)
    with pytest.raises(OutputError, match=r"damaged|malformed"), storage_errors():
        save_copy(paths)
    assert paths.study_copy.read_bytes() == before


def test_a_damaged_study_without_a_copy_is_told(paths: SweepPaths) -> None:
    paths.study_copy.unlink()
    paths.study_db.write_bytes(b"no database" * 100)
    with pytest.raises(OutputError, match="has no copy beside it"):
        restore(paths)


def test_tables_of_another_optuna_are_told_with_the_command_that_upgrades_them(paths: SweepPaths) -> None:
    def version(number: str) -> None:
        with contextlib.closing(sqlite3.connect(paths.study_db)) as database, database:
            database.execute("UPDATE alembic_version SET version_num = ?", (number,))

    version("v3.0.0.d")
    opened = [lambda: open_storage(None, paths), lambda: open_folder(paths.root), lambda: open_sweep(paths.root)]
    for act in opened:
        with pytest.raises(OutputError, match="no longer compatible with the table schema") as refused:
            act()
        assert "optuna storage upgrade --storage sqlite:////" in str(refused.value)
    (command,) = re.findall(r"`\$ (optuna.*)`", str(refused.value))
    program, *arguments = shlex.split(command)
    subprocess.run([Path(sys.executable).with_name(program), *arguments], check=True, capture_output=True)
    assert sorted(all_blocks(open_storage(None, paths))) == [1, 2]
    version("v9.0.0")
    with pytest.raises(OutputError, match="no longer compatible"):
        open_storage(None, paths)


def test_a_trial_that_somebody_deleted_is_told_and_one_that_somebody_added_counts_for_nothing(
    paths: SweepPaths,
) -> None:
    storage = open_storage(None, paths)
    study = create(storage, study_name(2))
    for _ in range(3):
        study.add_trial(optuna.create_trial(value=0.5))
    assert told_trials(create(storage, study_name(2))) == []
    with contextlib.closing(sqlite3.connect(paths.study_db)) as database, database:
        database.execute("DELETE FROM trials WHERE number = 1")
    with pytest.raises(SweepStateError, match="'block_02' must have all of its trials, and trial 1 was deleted"):
        create(open_storage(None, paths), study_name(2))


def test_a_second_look_at_the_studies_reads_only_new_ones(paths: SweepPaths) -> None:
    storage = open_storage(None, paths)
    first = create(storage, study_name(1))
    known = all_studies(storage, ({1: first}, {}))
    assert known[0][1] is first
    create(storage, validation_name(1))
    with mock.patch.object(storage, "get_all_studies", side_effect=AssertionError("all that is stored was read")):
        again = all_studies(storage, known)
    assert [sorted(one) for one in again] == [[1, 2], [1]]
    assert all(again[0][number] is known[0][number] for number in (1, 2))


def test_a_block_of_which_not_all_is_written_down_has_not_begun(tmp_path: Path) -> None:
    own = OutputPaths(tmp_path).sweep("s")
    studies = open_storage(None, own)
    create(studies, study_name(1), Block(1, 10))
    made = optuna.create_study(study_name=study_name(2), storage=studies, direction="maximize")
    for key, value in (("block", 2), ("n_training_frames", 100)):
        assert sorted(all_blocks(studies)) == [1]
        assert [block.number for block in open_sweep(own.root).blocks] == [1]
        made.set_user_attr(key, value)
    create(studies, study_name(2), Block(2, 100))
    assert sorted(all_blocks(studies)) == [1, 2]


def test_a_worker_makes_no_study_where_there_is_none(tmp_path: Path) -> None:
    own = OutputPaths(tmp_path).sweep("s")
    with pytest.raises(OutputError, match=r"study\.db is gone"):
        open_storage(None, own, existing=True)
    assert not own.root.exists()


def gone(driver: Exception) -> StorageInternalError:
    error = StorageInternalError("as Optuna raises it")
    error.__cause__ = OperationalError("SELECT 1", {}, driver)
    return error


def test_a_server_that_is_gone_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PAUSE_S", 0.0)
    errors = [gone(ConnectionError("refused"))] * 3

    def act() -> str:
        if errors:
            raise errors.pop()
        return "answer"

    assert wait_for(act) == "answer"


def test_a_server_that_stays_away_and_a_file_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "PATIENCE_S", 0.0)
    monkeypatch.setattr(storage, "PAUSE_S", 0.0)
    calls = []

    def act(driver: Exception) -> None:
        calls.append(driver)
        raise gone(driver)

    for driver, n_calls in ((ConnectionError("refused"), 1), (sqlite3.OperationalError("database or disk is full"), 2)):
        with pytest.raises(OutputError, match=str(driver)), storage_errors():
            wait_for(lambda driver=driver: act(driver))
        assert len(calls) == n_calls
