"""A PostgreSQL server of a test's own, from Debian's package."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PASSWORD = "pg-pass-word"


@dataclass
class Server:
    """Started and stopped by `pg_ctl`, which does not run as root."""

    folder: Path
    pg_ctl: str
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://somebody:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def ctl(self, *arguments: str) -> None:
        command = [self.pg_ctl, "-w", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", user=user())
        assert done.returncode == 0, done.stdout + done.stderr

    def sql(self, statement: str) -> None:
        """Run one statement."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def start(self) -> None:
        self.ctl("-o", f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1", "start")


def user() -> str | None:
    return "postgres" if os.geteuid() == 0 else None


@contextlib.contextmanager
def postgres() -> Iterator[Server]:
    """A running server, of which nothing is left afterwards; skips the test where there is none to start."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), shutil.which("pg_ctl")]
    if found[0] is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    with tempfile.TemporaryDirectory(dir="/tmp") as name, socket.socket() as free:
        folder, pg_ctl = Path(name), str(found[0])
        free.bind(("127.0.0.1", 0))
        server = Server(folder, pg_ctl, free.getsockname()[1])
        free.close()
        (folder / "password").write_text(PASSWORD)
        if user():
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres")
        authentication = f"--auth-host=scram-sha-256 --username=somebody --pwfile={folder / 'password'}"
        server.ctl("initdb", "-o", authentication)
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(AssertionError):
                server.ctl("stop", "-m", "immediate")
