"""What goes on beside the sweep's loop, read from the studies: progress in the terminal, the mirror to MLflow."""

from __future__ import annotations

import logging
import shlex
import sys
import threading
import time
from collections.abc import Mapping
from types import TracebackType

from optuna.storages import BaseStorage
from optuna.study import Study

from siren_sweep.config.schema import Config
from siren_sweep.errors import SweepError, redacted
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.study.storage import STORAGE_ERRORS
from siren_sweep.study.studies import all_blocks, all_validations
from siren_sweep.sweep.interrupts import AtOnce
from siren_sweep.sweep.progress import ProgressView
from siren_sweep.views.mlflow.address import tracking_uri
from siren_sweep.views.mlflow.mirror import Mirror

INTERVAL_S = 1.0
RETRY_S = 30.0  # after MLflow could not be reached

log = logging.getLogger(__name__)


class Monitor:
    """A thread for as long as the sweep runs. Nothing that fails in it touches the sweep."""

    def __init__(self, cfg: Config, outputs: OutputPaths, paths: SweepPaths, storage: BaseStorage) -> None:
        self._cfg, self._outputs, self._paths, self._storage = (cfg, outputs, paths, storage)
        self._view = ProgressView(cfg)
        self._mirror: Mirror | None = None
        self._retry_at = 0.0
        self._unreached, self._told = False, ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="monitor", daemon=True)

    def __enter__(self) -> Monitor:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if kind is not None and issubclass(kind, AtOnce):
            self._view.close()
            return
        self._thread.join()
        self._retry_at = 0.0
        self._look(over=kind is None)
        self._view.close()
        if self._unreached:
            command = f"siren-sweep sync {shlex.quote(str(self._paths.root))}"
            print(f"MLflow could not be reached; the next start, or {command}, sends what is missing", file=sys.stderr)

    def _loop(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._look(over=False)

    def _look(self, over: bool) -> None:
        try:
            studies = all_blocks(self._storage)
            self._view.update(studies)
        except STORAGE_ERRORS:  # the sweep's loop meets them too, and tells
            return
        except Exception:  # progress is a service
            log.exception("progress could not be shown")
            return
        if studies and self._cfg.tracking.enabled and time.monotonic() >= self._retry_at:
            self._send(studies, over)

    def _send(self, studies: Mapping[int, Study], over: bool) -> None:
        """Send what MLflow does not have; what a mirror fails over that was made before is tried by a new one."""
        had = self._mirror is not None
        try:
            self._mirror = self._mirror or self._connect(studies[min(studies)])
            self._mirror.update(studies, all_validations(self._storage), over)
            self._unreached = False
        except SweepError as error:  # what a person asked for
            self._mirror, self._retry_at, self._unreached = None, time.monotonic() + RETRY_S, False
            self._tell(str(error))
        except Exception as error:  # an outage of tracking must not touch training
            log.info("MLflow: %s", redacted(str(error)))
            self._mirror = None
            if had:  # a person may have deleted a run since
                self._send(studies, over)
                return
            self._unreached, self._retry_at = True, time.monotonic() + RETRY_S
            self._tell(f"MLflow cannot be reached ({type(error).__name__}); training goes on")

    def _connect(self, first: Study) -> Mirror:
        name, uri = self._paths.root.name, tracking_uri(self._cfg.tracking.uri)
        mirror = Mirror(uri, self._outputs, self._paths, first)
        if mirror.experiment != name:
            self._tell(f"MLflow: the sweep {name!r} is the experiment {mirror.experiment!r} there")
        return mirror

    def _tell(self, text: str) -> None:
        """Say what is new."""
        if text != self._told:
            self._view.say(text)
        self._told = text
