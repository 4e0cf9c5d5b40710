"""The studies on a real PostgreSQL server, from Debian's package."""

from __future__ import annotations

import importlib.util
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import BaseStorage
from postgres import PASSWORD, Server, postgres

from siren_sweep.errors import OutputError
from siren_sweep.paths import OutputPaths
from siren_sweep.study.storage import check_server, with_driver
from siren_sweep.study.studies import STORAGE_URL_VARIABLE, create, load, open_storage, study_name


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as own:
        yield own


@pytest.fixture
def connect(server: Server, tmp_path: Path) -> Iterator[Callable[[], BaseStorage]]:
    """Opens the server's storage, as a parent and a worker do; its connections are closed at the end."""
    opened: list[BaseStorage] = []

    def act() -> BaseStorage:
        opened.append(open_storage(server.url, OutputPaths(tmp_path).sweep("s"), existing=bool(opened)))
        return opened[-1]

    yield act
    for storage in opened:
        storage._backend.engine.dispose()  # type: ignore[attr-defined]


def test_a_study_is_there_again_after_the_server_was_restarted(
    server: Server, connect: Callable[[], BaseStorage], tmp_path: Path
) -> None:
    study = create(connect(), study_name(1))
    study.set_user_attr("before", 1)
    server.ctl("stop", "-m", "immediate")
    server.start()
    study.set_user_attr("after", 2)
    again = load(connect(), study_name(1))
    assert again is not None
    assert {name: again.user_attrs[name] for name in ("before", "after")} == {"before": 1, "after": 2}
    assert not list(tmp_path.iterdir())


def test_a_worker_that_looks_for_its_trial_while_the_server_is_gone_waits(
    server: Server, connect: Callable[[], BaseStorage]
) -> None:
    create(connect(), study_name(2)).add_trial(optuna.create_trial(value=0.5))
    worker = connect()
    study_id = worker.get_study_id_from_name(study_name(2))
    server.ctl("stop", "-m", "immediate")
    back = threading.Timer(0.5, server.start)
    back.start()
    try:
        trial_id = worker.get_trial_id_from_study_id_trial_number(study_id, 0)
    finally:
        back.join()
    assert worker.get_trial(trial_id).number == 0


def test_a_wrong_password_is_told_and_not_shown(server: Server) -> None:
    with pytest.raises(OutputError, match="password authentication failed") as refused:
        check_server(server.url.replace(PASSWORD, "wrong-one"))
    assert "wrong-one" not in str(refused.value)


def test_a_server_that_does_not_answer_is_told_before_the_data_are_read(
    told_here: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORAGE_URL_VARIABLE, "")  # what the sweep sets is taken away again
    monkeypatch.delenv(STORAGE_URL_VARIABLE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"postgresql://me:{PASSWORD}@127.0.0.1:{free.getsockname()[1]}/db"
        error = told_here("-m", "blocks=tiny", f"storage.url='{address}'")
    assert "the storage of the studies cannot be opened (OperationalError: " in error
    assert PASSWORD not in error
    assert "reading the data" not in error
    assert not list(tmp_path.glob("outputs/*"))


def test_a_driver_that_is_missing_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_driver("postgresql://me@host/db") == "postgresql+psycopg://me@host/db"
    assert with_driver("mysql+pymysql://me@host/db") == "mysql+pymysql://me@host/db"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(OutputError, match=r"pip install 'siren_sweep\[postgres\]'"):
        with_driver("postgresql://me:secret@host/db")
