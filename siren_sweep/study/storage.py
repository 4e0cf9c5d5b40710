"""Faults of the storage: a database server that restarts, a full disk, a damaged study file.

A server that is gone is waited for. Any other fault becomes one OutputError.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.util
import os
import shlex
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.pool import StaticPool
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from siren_sweep.errors import OutputError, redacted
from siren_sweep.paths import SweepPaths, replacing, sqlite_url

_NOT_NOW = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}
BUSY_TIMEOUT_S = 120.0  # longest wait for a file to which another process writes
PATIENCE_S = 600.0  # longest wait for a database server that is gone
PAUSE_S = 1.0
STORAGE_ERRORS = (StorageInternalError, SQLAlchemyError, sqlite3.Error)
# Repeating these could add a trial twice, or fail. Their callers check first what is stored, and use `wait_for`.
NOT_REPEATED = {"create_new_trial", "set_trial_state_values"}
ALSO_ASKED = {"get_trial_id_from_study_id_trial_number"}  # beside Optuna's abstract methods

# Settings of libpq: a server that does not answer, or a cut connection, is noticed in seconds, not hours.
_PSYCOPG = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "tcp_user_timeout": 60_000}
_POSTGRES = "postgresql+psycopg"

P = ParamSpec("P")
T = TypeVar("T")


def with_driver(url: str) -> str:
    """The address of a storage; PostgreSQL's gets a driver if it has none. Raises OutputError where that is missing."""
    scheme, mark, rest = url.partition("://")
    if scheme in ("postgres", "postgresql"):
        scheme = _POSTGRES
    if scheme == _POSTGRES and importlib.util.find_spec("psycopg") is None:
        raise OutputError("storage.url=postgresql://... needs the driver psycopg: pip install 'siren_sweep[postgres]'")
    return f"{scheme}{mark}{rest}"


def engine_settings(address: str) -> dict[str, Any]:
    """The arguments of SQLAlchemy's engine for an address."""
    if address.startswith("sqlite"):
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    own = {"connect_args": _PSYCOPG} if address.startswith(_POSTGRES) else {}
    return {"pool_pre_ping": True, **own}


def check_server(url: str) -> None:
    """Raises OutputError, with the driver's reason and no password, where no server answers at the address."""
    address = with_driver(url)
    try:
        engine = create_engine(address, **engine_settings(address))
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    except Exception as error:  # of SQLAlchemy or the driver, or an ImportError of a missing driver
        raise OutputError(not_opened(error, address)) from None


def not_opened(error: Exception, address: str, file: Path | None = None) -> str:
    """The message for a storage that cannot be opened: the study file `file`, or a server's at `address`."""
    reason = storage_reason(error, file) if file else storage_reason(error).replace(address, "<storage.url>")
    return f"the storage of the studies cannot be opened ({type(error).__name__}: {reason})"


def wait_for(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of `act` for these arguments. While the database server is gone, it is tried again, for PATIENCE_S."""
    again = Retrying(
        retry=retry_if_exception(_server_is_gone),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_fixed(PAUSE_S),
        reraise=True,
    )
    return again(act, *args, **kwargs)


def patient(storage: BaseStorage) -> BaseStorage:
    """The storage, whose methods are called again while its server is gone; those in `NOT_REPEATED` are not."""
    storage.get_all_trials = _uncollected(storage.get_all_trials)  # type: ignore[method-assign]
    for name in (BaseStorage.__abstractmethods__ | ALSO_ASKED) - NOT_REPEATED:
        setattr(storage, name, functools.partial(wait_for, getattr(storage, name)))
    return storage


def _uncollected(method: Callable[..., T]) -> Callable[..., T]:
    """The method, with Python's garbage collection off while it runs: the collection would take half of its time."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> T:
        enabled = gc.isenabled()
        gc.disable()
        try:
            return method(*args, **kwargs)
        finally:
            if enabled:
                gc.enable()

    return call


def _server_is_gone(error: BaseException) -> bool:
    """Whether a connection was lost or refused; a file has no server that could come back."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if isinstance(cause, PendingRollbackError):  # of a session whose connection was lost; it is rolled back now
        return True
    if not isinstance(cause, (OperationalError, InterfaceError)):
        return isinstance(cause, DBAPIError) and cause.connection_invalidated
    return not isinstance(cause.orig, sqlite3.Error)


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Raises OutputError, with the driver's reason and without its address, for what a storage raises."""
    try:
        yield
    except STORAGE_ERRORS as error:
        raise OutputError(
            f"the storage of the studies failed ({storage_reason(error)}); what was finished before stays, "
            "and the same command goes on when this is mended"
        ) from error


def storage_reason(error: Exception, file: Path | None = None) -> str:
    """The driver's message in one line, without the user and password of an address in it.

    For a study `file`, Optuna's advice on tables of another version gets the file's address.
    """
    cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
    origin = getattr(cause, "orig", None) or cause
    lines = [line.strip() for line in str(origin).splitlines() if line.strip()]
    reason = redacted(lines[0]) if lines else type(origin).__name__
    return reason.replace("$STORAGE_URL", shlex.quote(sqlite_url(file))) if file is not None else reason


def save_copy(paths: SweepPaths) -> None:
    """Copy the study file, as it is now, to `study.copy.db`, from which `restore` restores it.

    Raises OutputError where the copy cannot be written, or the study file is damaged.
    """
    source_url = f"{paths.study_db.absolute().as_uri()}?mode=ro"
    with replacing(paths.study_copy) as file:
        with (
            contextlib.closing(sqlite3.connect(source_url, uri=True)) as source,
            contextlib.closing(sqlite3.connect(file)) as copy,
        ):
            source.backup(copy)
        if damage := _damage(file):  # the copy has the file's pages, also damaged ones
            raise OutputError(f"{paths.study_db} is damaged ({damage}); the same command goes on from its last copy")


@contextlib.contextmanager
def snapshot(file: Path) -> Iterator[BaseStorage]:
    """A copy in memory of a study file as it is now. The file is not written to, and its writers do not wait.

    Raises OutputError where it cannot be read, also later in the `with` block.
    """
    with contextlib.closing(sqlite3.connect(":memory:")) as memory:
        own = {"creator": lambda: memory, "poolclass": StaticPool}
        try:
            _read_into(memory, file)
            try:
                storage = RDBStorage("sqlite://", engine_kwargs=own, skip_table_creation=True)
            except RuntimeError as error:  # the tables are of another version of Optuna
                raise OutputError(f"{file} cannot be read: {storage_reason(error, file)}") from None
            yield storage
        except STORAGE_ERRORS as error:
            raise OutputError(f"{file} must be a whole study file, and is not ({storage_reason(error)})") from None


def _read_into(memory: sqlite3.Connection, file: Path) -> None:
    journal = Path(f"{file}-journal")
    try:
        with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as source:
            source.backup(memory)
    except sqlite3.OperationalError:
        if not journal.exists():
            raise
        with tempfile.TemporaryDirectory() as folder:  # a write was cut off; a copy is rolled back
            for own in (file, journal):
                shutil.copy(own, folder)
            with contextlib.closing(sqlite3.connect(Path(folder) / file.name)) as source:
                source.backup(memory)


def restore(paths: SweepPaths) -> str | None:
    """Replace a damaged study file by its last copy; returns a message about it, or None where it is not damaged.

    Raises OutputError where the file is damaged and has no copy.
    """
    damage = _damage(paths.study_db)
    if damage is None:
        return None
    if not paths.study_copy.exists():
        raise OutputError(
            f"{paths.study_db} is damaged ({damage}) and has no copy beside it; the trials' own files are as they "
            "were; move the study file away to start the sweep again"
        )
    aside = paths.study_db.with_name("study.damaged.db")
    with contextlib.suppress(FileNotFoundError):  # the journal belongs to the damaged file
        os.replace(f"{paths.study_db}-journal", f"{aside}-journal")
    os.replace(paths.study_db, aside)
    with replacing(paths.study_db) as file:
        shutil.copyfile(paths.study_copy, file)
    return f"{paths.study_db} was damaged ({damage}): it is now {aside.name}, and the sweep goes on from its last copy"


def _damage(file: Path) -> str | None:
    """What is wrong with a study file; None where it is whole, or there is none.

    Raises OutputError where it may be whole, but cannot be read now.
    """
    if not file.exists():
        return None
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=BUSY_TIMEOUT_S)) as database:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            database.execute("SELECT count(*) FROM studies").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in _NOT_NOW:  # the lowest byte is the kind
            raise OutputError(f"{file} cannot be read now ({error}); the same command goes on once it can") from None
        return str(error)
    return None if verdict == "ok" else str(verdict).splitlines()[0]
