"""`siren-sweep ui`: MLflow's pages, open on the runs of a sweep."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rich.console import Console

from siren_sweep.errors import OutputError
from siren_sweep.paths import OutputPaths, SweepPaths, sqlite_url
from siren_sweep.study.stored import read_tracked_to, sweep_id
from siren_sweep.study.studies import read_folder
from siren_sweep.views.mlflow.address import HOST, PORT, TRAINING, shown, sync_uri

PATIENCE_S = 300.0  # longest wait for the server's first answer
GRACE_S = 5.0  # between SIGTERM and SIGKILL
_OF_A_SWEEP = ("study.db", "sweep.lock")
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


def serve(folder: Path) -> int:
    """Open MLflow's pages on the runs of the newest sweep below `folder`; returns the exit code.

    `folder` may be a sweep's folder, `outputs_dir`, or the folder that holds `outputs_dir`. Where the sweep tracks to a
    server, its address is printed; else a server runs here until a person ends it. Raises OutputError where there is no
    sweep, it has not tracked, or the server does not start or ends.
    """
    paths = newest_sweep(folder)
    outputs = OutputPaths(paths.root.parent)
    with read_folder(paths.root) as (_, blocks, _):
        stored, own_id = (read_tracked_to(blocks[1]), sweep_id(blocks[1])) if 1 in blocks else (None, "")
    if stored is None:
        raise OutputError(f"the sweep {paths.root.name!r} must have tracked to MLflow, and has not")
    uri = sync_uri(stored, None, outputs) or sqlite_url(outputs.mlflow_db)
    if uri.startswith(("http://", "https://", "databricks")):
        print(f"the sweep {paths.root.name} tracks to {shown(uri, outputs)}{_runs(uri, own_id)}")
        return 0
    if uri == sqlite_url(outputs.mlflow_db):
        if not outputs.mlflow_db.exists():
            raise OutputError(f"{outputs.mlflow_db} must hold what the sweep {paths.root.name!r} tracked; it is gone")
        from siren_sweep.views.mlflow.experiment import find_artifacts

        find_artifacts(outputs)
    with _server(uri) as (process, address, said):
        with Console(stderr=True).status("MLflow starts"):
            page = address + _runs(uri, own_id)
            _wait(process, address, said)
        print(f"{paths.root.name}: {page}\nCtrl-C ends it", flush=True)
        if any(name in os.environ for name in _DISPLAYS):
            webbrowser.open(page)
        process.wait()
        raise OutputError(f"MLflow's server has ended: {_last_words(said)}")
    return 0


def newest_sweep(folder: Path) -> SweepPaths:
    """The sweep below `folder`, at most two levels down, that ran last. Raises OutputError where there is none."""
    found = [file for depth in ("", "*/", "*/*/") for name in _OF_A_SWEEP for file in folder.glob(depth + name)]
    if not found:
        raise OutputError(
            f"there must be a sweep in the folder, or in one below it; there is none in {str(folder.absolute())!r}"
        )
    return SweepPaths(max(found, key=lambda file: file.stat().st_mtime).parent.absolute())


def _runs(uri: str, own_id: str) -> str:
    """The path of a sweep's runs below the server's address; empty where MLflow does not have them."""
    from mlflow.exceptions import MlflowException

    from siren_sweep.views.mlflow.client import client_of
    from siren_sweep.views.mlflow.experiment import TAG

    try:
        (found,) = client_of(uri).search_experiments(filter_string=f"tags.{TAG} = '{own_id}'")[:1]
    except (MlflowException, ValueError):
        return ""
    return f"/#/experiments/{found.experiment_id}/runs?{TRAINING}"


@contextmanager
def _server(uri: str) -> Iterator[tuple[subprocess.Popen[bytes], str, IO[bytes]]]:
    """MLflow's server, in a process group of its own: the process, its address, and the file with its output."""
    port = _free_port()
    own = {
        "MLFLOW_BACKEND_STORE_URI": uri,  # not an argument, which other users of the machine could read
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    arguments = ["server", "--host", HOST, "--port", str(port), "--workers", "1"]
    ends = (signal.SIGTERM, signal.SIGHUP)  # they end it as Ctrl-C does
    before = [signal.signal(how, signal.default_int_handler) for how in ends]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *arguments],
            env=os.environ | own,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the server
        )
        try:
            yield process, f"http://{HOST}:{port}", said
        except KeyboardInterrupt:
            print("\nMLflow ends", file=sys.stderr)
        finally:
            _end(process)
            for how, handler in zip(ends, before, strict=True):
                signal.signal(how, handler)


def _free_port() -> int:
    """MLflow's usual port, or any free one where that is taken. Raises OutputError where none is free."""
    for port in (PORT, 0):
        with socket.socket() as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                own.bind((HOST, port))
            except OSError:
                continue
            return int(own.getsockname()[1])
    raise OutputError(f"a port of {HOST} must be free, and none is")


def _wait(process: subprocess.Popen[bytes], address: str, said: IO[bytes]) -> None:
    """Wait until the server answers. Raises OutputError where it ends, or takes longer than `PATIENCE_S`."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # without the proxy of http_proxy
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            direct.open(f"{address}/health", timeout=5).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise OutputError(f"MLflow's server does not start: {_last_words(said)}") from None
        time.sleep(0.2)


def _last_words(said: IO[bytes]) -> str:
    """The last line of the server's output."""
    said.seek(0)
    lines = said.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it has started."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(GRACE_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
