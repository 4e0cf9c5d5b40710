"""Shows the progress in the terminal, and has the views made, while the sweep's loop runs."""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from optuna.storages import BaseStorage

from siren_sweep.config.schema import Config
from siren_sweep.errors import OutputError
from siren_sweep.paths import OutputPaths, SweepPaths, command
from siren_sweep.study.storage import STORAGE_ERRORS
from siren_sweep.study.studies import Studies, all_studies
from siren_sweep.sweep.interrupts import AtOnce
from siren_sweep.sweep.progress import ProgressView
from siren_sweep.sweep.view_process import View, ViewProcess

INTERVAL_S = 1.0  # between two updates of the progress
PATIENCE_S = 20.0  # longest wait for a view that is being written when a sweep is stopped

log = logging.getLogger(__name__)


class Monitor:
    """A thread that runs as long as the sweep. A failure in it does not affect the sweep."""

    def __init__(self, cfg: Config, outputs: OutputPaths, paths: SweepPaths, storage: BaseStorage) -> None:
        self._paths, self._storage = paths, storage
        self._studies: Studies = ({}, {})
        self._progress = ProgressView(cfg, paths, storage)
        self._views = ViewProcess(cfg, outputs, paths, self._progress.say)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="monitor", daemon=True)

    def __enter__(self) -> Monitor:
        try:
            self._look()  # before a trial can end: what has ended by now has run before
        except BaseException:  # such as Ctrl-C
            self._progress.close()
            raise
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if kind is not None and issubclass(kind, AtOnce):
            self._progress.close()
            self._views.kill()
            return
        self._thread.join()
        self._look()
        self._progress.close()
        with self._progress.busy("the last views"):
            self._views.close(over=kind is None, patience_s=None if kind is None else PATIENCE_S)
        if self._views.unsent:
            sync = command("sync", self._paths.root)
            self._progress.say(
                f"MLflow could not be reached; what is missing is sent by the next start, or by\n  {sync}"
            )
        if kind is None and self._views.failed:
            raise OutputError("; ".join(self._views.failed))

    def record(self) -> None:
        """Ask for the record."""
        self._views.ask(View("record"))

    def export(self, block: int) -> None:
        """Ask for the export of a block."""
        self._views.ask(View("export", block))

    def show(self, block: int) -> None:
        """Ask for the export, the record and the report of a block that has ended."""
        for view in (View("export", block), View("record"), View("report", block)):
            self._views.ask(view)

    def _loop(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._look()
            self._views.listen()

    def _look(self) -> None:
        try:
            self._studies = all_studies(self._storage, self._studies)
            self._progress.update(*self._studies, self._views.busy_with)
        except STORAGE_ERRORS:  # the sweep's loop meets and reports them too
            return
        except Exception:  # the sweep can run without a progress display
            log.exception("progress could not be shown")
