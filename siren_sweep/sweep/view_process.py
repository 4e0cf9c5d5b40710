"""Makes the views of a sweep while it trains: export, record, report and MLflow's runs, in a process of its own.

Training does not wait for them. The process reads the studies, as every view does. Where it dies it is started again,
and is asked again for the views that it had not made.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from optuna.study import Study

from siren_sweep.config.schema import Config
from siren_sweep.errors import SweepError, redacted
from siren_sweep.paths import OutputPaths, SweepPaths, command, sqlite_url
from siren_sweep.study.storage import STORAGE_ERRORS
from siren_sweep.study.stored import mark_shown
from siren_sweep.study.studies import Studies, all_studies, open_storage
from siren_sweep.sweep.slots import die_with_parent, warm_up
from siren_sweep.views.mlflow.address import tracking_uri

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    from siren_sweep.views.mlflow.mirror import Mirror

INTERVAL_S = 1.0  # shortest pause between two updates of MLflow
PACE, LONGEST_S = 10, 10.0  # the pause is PACE times the time of the update, and LONGEST_S at most
RETRY_S = 30.0  # pause after MLflow could not be reached
MOST_DEATHS = 2
NICENESS = 5  # so that training has the cores first
GARBAGE = 100_000  # objects between two looks for garbage; at Python's 700 they take a tenth of the views' time

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """A view that is asked for: the `record`, the `export` of a block, or the `report` when a block has ended."""

    kind: str
    block: int = 0

    def __str__(self) -> str:
        return f"the {self.kind}{f' of block {self.block}' if self.block else ''}"


class ViewProcess:
    """The sweep's side of the process: sends it requests and receives its messages, which `say` prints."""

    def __init__(self, cfg: Config, outputs: OutputPaths, paths: SweepPaths, say: Callable[[str], None]) -> None:
        self._args, self._say = (cfg, outputs, paths), say
        self._lock = threading.RLock()
        self._asked: list[View] = []  # views that are not made yet
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._deaths = 0
        self._closing = self._closed = False
        self.failed: list[str] = []
        self.busy_with = ""  # the view that is being made, in words
        self.unsent = False  # MLflow lacks something

    def ask(self, view: View) -> None:
        """Ask for a view. It is made of the studies as they are when its turn comes."""
        with self._lock:
            self._asked.append(view)
            self._send(view)

    def listen(self, timeout_s: float = 0.0) -> None:
        """Read the messages of the process, and start it where it does not run; wait up to `timeout_s` for one."""
        with self._lock:
            self._start()
        if self._closed:  # it has ended, or died too often
            return
        connection = self._connection
        assert connection is not None
        try:
            while connection.poll(timeout_s):
                self._hear(*connection.recv())
                if self._closed:
                    return
        except (EOFError, OSError):
            with self._lock:
                self._lose()

    def close(self, over: bool, patience_s: float | None = None) -> None:
        """Wait until all views are made, `patience_s` at most, and end the process. `over`: the sweep has ended."""
        deadline = None if patience_s is None else time.monotonic() + patience_s
        with self._lock:
            self._start()
            self._closing = True
            if self.busy_with:
                self._say(f"being written: {self.busy_with}")
            self._send(over)
        while not self._closed and (deadline is None or time.monotonic() < deadline):
            self.listen(0.5)
        self.kill()

    def kill(self) -> None:
        """Kill the process."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.join()

    def _start(self) -> None:
        if self._process is None and not self._closed:
            context = warm_up()
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(*self._args, theirs), daemon=True)
            self._process.start()
            theirs.close()
            for view in self._asked:
                self._send(view)

    def _send(self, message: View | bool) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):  # it is dead; `listen` notices it
                self._connection.send(message)

    def _hear(self, kind: str, what: Any, text: str = "") -> None:
        if kind == "says":
            self._say(what)
        elif kind == "begins":
            known, self.busy_with = self.busy_with, str(what)
            if self._closing and known != self.busy_with:
                self._say(f"being written: {what}")
        elif kind == "made":
            with self._lock:
                self._asked.remove(what)
            self.busy_with = str(what) if self._closing else ""
            if text:
                self._say(text)
                if what.kind == "export":
                    self.failed.append(text)
        else:
            self.unsent, self._closed = what, True

    def _lose(self) -> None:
        """Handle the death of the process: the next `listen` starts it again, unless it has died too often."""
        assert self._process is not None
        self._process.join()
        self._process = None
        self._deaths += 1
        if self._closing or self._deaths > MOST_DEATHS:
            lost = ", ".join(dict.fromkeys(map(str, self._asked)))
            self._say("the process that makes the views has died" + (f", without {lost}" if lost else ""))
            self._closed = self.unsent = True


def _serve(cfg: Config, outputs: OutputPaths, paths: SweepPaths, connection: Connection) -> None:
    """The main function of the process: make the views that are asked for, and update MLflow between them."""
    threading.Thread(target=die_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    os.nice(NICENESS)
    gc.set_threshold(GARBAGE)
    logging.captureWarnings(True)
    file = logging.FileHandler(paths.views_log, delay=True)
    logging.basicConfig(handlers=[file], level=logging.WARNING, force=True)
    views = _Views(cfg, outputs, paths, connection)
    waiting: list[View] = []
    over: bool | None = None
    pause_s = INTERVAL_S
    while over is None or waiting:
        while connection.poll(0 if waiting or over is not None else pause_s):
            received = connection.recv()
            if isinstance(received, View):
                waiting.append(received)
            else:
                over = received
                with contextlib.suppress(OSError):  # training is over; raising the priority may be forbidden
                    os.setpriority(os.PRIO_PROCESS, 0, usual)
        if over is False:  # the sweep was stopped; its next start makes the missing views
            break
        if waiting:
            alike = _next(waiting)
            views.make(alike)
            waiting = [view for view in waiting if view not in alike]
        if over is None:
            began = time.monotonic()
            views.mirror()
            pause_s = min(max(INTERVAL_S, PACE * (time.monotonic() - began)), LONGEST_S)
    connection.send(("closed", views.mirror(over=bool(over), last=True)))


def _next(waiting: Sequence[View]) -> list[View]:
    """The next view to make: the first that is not asked for again later, with all requests that it answers."""
    for index, view in enumerate(waiting):
        alike = [other for other in waiting if other == view or other.kind == view.kind == "report"]
        if not any(other in alike for other in waiting[index + 1 :]):
            return alike
    raise AssertionError


class _Views:
    """The process's side: makes views and updates MLflow."""

    def __init__(self, cfg: Config, outputs: OutputPaths, paths: SweepPaths, connection: Connection) -> None:
        self._cfg, self._outputs, self._paths, self._connection = cfg, outputs, paths, connection
        self._storage = open_storage(cfg.storage.url, paths, existing=True)
        self._studies: Studies = ({}, {})  # of the blocks that have begun, and those beside them
        self._mirror: Mirror | None = None
        self._meter: SystemMetricsMonitor | None = None
        self._retry_at, self._told = 0.0, ""

    def make(self, alike: Sequence[View]) -> None:
        """Make one view for several requests, and report it. A failure is reported with the command that repeats it."""
        view = alike[-1]
        self._connection.send(("begins", view))
        told = ""
        try:
            self._make(view)
            if view.kind == "report":
                for one in alike:
                    mark_shown(self._studies[0][one.block])
        except Exception as error:
            if not isinstance(error, SweepError):
                log.exception("%s failed", view)
                error = RuntimeError(f"{type(error).__name__}: {error}; see {self._paths.views_log}")
            told = f"{view} failed ({redacted(str(error))}); again by\n  {command(view.kind, self._paths.root)}"
        for one in alike:
            self._connection.send(("made", one, told))
            told = ""

    def _make(self, view: View) -> None:
        """Make a view. Its module is imported at the first request, so that the first batch starts fast."""
        blocks, validations = self._studies = all_studies(self._storage, self._studies)
        if view.kind == "record":
            from siren_sweep.views.record.writer import write_record

            write_record(self._paths, blocks, validations)
        elif view.kind == "export":
            from siren_sweep.views.blocks import read_blocks
            from siren_sweep.views.export import export_block

            (block,) = read_blocks({view.block: blocks[view.block]}, validations)
            export_block(block, self._paths, self._outputs)
        else:
            from siren_sweep.views.report.page import write_report

            write_report(self._paths, self._outputs, blocks, validations)

    def mirror(self, over: bool = False, last: bool = False) -> bool:
        """Send to MLflow what it does not have; returns whether MLflow could not be reached."""
        try:
            blocks, validations = self._studies = all_studies(self._storage, self._studies)
        except STORAGE_ERRORS:  # a sweep that runs meets and reports them too; at its end MLflow may lack something
            return last
        if not blocks or not self._cfg.tracking.enabled or (time.monotonic() < self._retry_at and not last):
            return False
        had = self._mirror is not None
        try:
            self._mirror = self._mirror or self._connect(blocks[min(blocks)])
            self._mirror.update(blocks, validations, over)
            self._measure(self._mirror.sweep_run, last)
            return False
        except SweepError as error:  # for a person to mend, such as a deleted experiment
            self._mirror, self._retry_at = None, time.monotonic() + RETRY_S
            self._tell(str(error))
            return False
        except Exception as error:  # an outage of tracking must not touch training
            log.warning("MLflow: %s", redacted(str(error)))
            self._mirror = None
            if had:  # a person may have deleted a run since the last update: try again with a new connection
                return self.mirror(over, last)
            self._retry_at = time.monotonic() + RETRY_S
            self._tell(f"MLflow cannot be reached ({type(error).__name__}); training goes on")
            return True

    def _measure(self, run_id: str | None, last: bool) -> None:
        """Log the load and memory of the machine to the sweep's run, where `tracking.system_metrics` is set."""
        if last and self._meter is not None:
            self._meter.finish()
        elif self._cfg.tracking.system_metrics and self._meter is None and run_id is not None:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            uri = tracking_uri(self._cfg.tracking.uri) or sqlite_url(self._outputs.mlflow_db)
            self._meter = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
            self._meter.start()

    def _connect(self, first: Study) -> Mirror:
        from siren_sweep.views.mlflow.mirror import Mirror

        name, uri = self._paths.root.name, tracking_uri(self._cfg.tracking.uri)
        mirror = Mirror(uri, self._outputs, self._paths, first)
        if mirror.copied:
            self._tell(
                f"MLflow: another copy of this sweep is sent there as well; this one is {mirror.experiment!r} there"
            )
        elif mirror.experiment != name:
            self._tell(f"MLflow: the sweep {name!r} is the experiment {mirror.experiment!r} there")
        return mirror

    def _tell(self, text: str) -> None:
        """Report a text, unless it was the last one that was reported."""
        if text != self._told:
            self._connection.send(("says", text))
        self._told = text
