"""Runs one trial in a worker: it trains, writes the reports, asks the pruner, and writes the outcome.

A worker writes only to the study and to its own folder. It never talks to MLflow, so that an outage of MLflow cannot
affect training. Only the current attempt at a trial may write.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial

from siren_sweep.config.schema import Config
from siren_sweep.errors import DataError, SweepError
from siren_sweep.field.dataset import field_of
from siren_sweep.paths import OutputPaths, SweepPaths, TrialPaths
from siren_sweep.search.policies import make_pruner
from siren_sweep.search.proposal import ASKED_FOR, is_start
from siren_sweep.study.dashboard import write_values
from siren_sweep.study.records import Outcome, Stop, Trial
from siren_sweep.study.snapshots import ReadOnce, Told
from siren_sweep.study.storage import STORAGE_ERRORS, storage_errors
from siren_sweep.study.stored import solved_r2
from siren_sweep.study.stored_trials import TrialWriter, read_trial
from siren_sweep.study.studies import load, open_storage, trial_id
from siren_sweep.sweep import memory, program_files
from siren_sweep.sweep.lock import training
from siren_sweep.train.engine.checkpoint import discard
from siren_sweep.train.machine import n_gpus, resolve_device
from siren_sweep.train.provenance import provenance
from siren_sweep.train.report import Report, shown_r2, told_apart
from siren_sweep.train.run import run_training

PAUSE_S = 1.0  # shortest time between two writes of reports: short trials would spend a fifth of their time on these

log = logging.getLogger(__name__)


class Interrupted(BaseException):
    """A signal, such as SIGTERM, asked the run to stop. It writes its checkpoint and ends."""


class Superseded(BaseException):
    """Another attempt at this trial has begun, so this one must not write."""


_interrupt = threading.Event()


def interrupt(*_: object) -> None:
    """A signal handler that makes the running trial stop at its next step."""
    _interrupt.set()


_place: int | None = None


def take_place(place: int) -> None:
    """Say which of a machine's places this process has: on several GPUs each trial takes the one of its place."""
    global _place
    _place = place


def check_interrupt(_step: int = 0) -> None:
    """Raises Interrupted where a signal has come."""
    if _interrupt.is_set():
        raise Interrupted


def run_trial(cfg: Config, outputs: OutputPaths, sweep: SweepPaths) -> str:
    """Run the trial of a sweep that `cfg.trial` names, and write its outcome; returns the outcome's status.

    Raises SweepError or OSError, and writes no outcome, for a fault that no config caused: of the data, the disk, the
    storage or a changed program. Raises Interrupted and Superseded.
    """
    program_files.check()
    assert cfg.trial.study is not None
    assert cfg.trial.number is not None
    with storage_errors():
        storage = open_storage(cfg.storage.url, sweep, existing=True)
        study = load(storage, cfg.trial.study, sampler=optuna.samplers.RandomSampler())
        assert study is not None
        worker = Worker(storage, study, cfg.trial.number, cfg.trial.attempt, cfg.cluster.n_batches)
        worker.check_attempt()
        plan = worker.plan
        again = plan.whole_of is not None or plan.validation_of is not None
        may_pause = not is_start(plan.strategy, plan.parent)
        study.pruner = optuna.pruners.NopPruner() if again else make_pruner(cfg, may_pause)  # its final R2 is wanted
        try:
            with training(TrialPaths(sweep.root / cfg.trial.folder).lock, cfg.trial.attempt):
                return _train_and_write(cfg, outputs, sweep, worker)
        except Exception as error:  # this program's fault, or this config's: only this trial fails
            if _is_the_machines(error):
                raise
            memory.lift_limit()
            log.exception("trial %d of %s failed", cfg.trial.number, cfg.trial.study)
            return worker.write_failure(failure_reason(error))


def _train_and_write(cfg: Config, outputs: OutputPaths, sweep: SweepPaths, worker: Worker) -> str:
    field = field_of(cfg, outputs)
    expected = worker.plan.data_hash
    if field.data_hash != expected:
        raise DataError(
            f"the data changed under the sweep {cfg.sweep.name!r}: the first {field.n_frames} frames at "
            f"{cfg.dataset.path} have hash {field.data_hash}, and had {expected}"
        )
    # Not the planned slot: with fewer slots than trials two of them could share a GPU while another has nothing to do.
    slot = cfg.trial.slot if _place is None else _place
    device = resolve_device(cfg.training.device, slot)
    n_sharing = math.ceil(cfg.claude.n_parallel / max(1, n_gpus(cfg.training.device)))
    if cfg.cluster.scheduler is not None:  # a job has its GPU for itself
        n_sharing = 1
        if device == "cpu":
            memory.limit_process(int(memory.SHARE * cfg.cluster.memory_gb * memory.GIB))
    elif cfg.trial.alone:
        n_sharing = 1
        memory.widen_limit()
    memory.limit_gpu(device, n_sharing)
    memory.refuse_greedy(cfg, device, n_sharing)
    paths = TrialPaths(sweep.root / cfg.trial.folder)
    result, metrics = run_training(
        cfg,
        field,
        paths,
        slot=slot,
        on_report=worker.on_report,
        on_step=check_interrupt,
        on_resume=worker.on_resume,
        n_windows=cfg.claude.search_windows,
    )
    worker.write(result.status.value, result.reason, metrics, result.stop_step, provenance(cfg, device))
    discard(paths.checkpoint, result.status)
    return result.status.value


class Worker:
    """A trial as its worker sees it: it stores the reports, and returns the pruner's reason to stop.

    Reports are stored about once a second, and those that are left with the trial's end. Where the process dies before,
    they come again: a checkpoint has all reports before it.

    The pruner compares the trial with the batches that were told before the trial's own was planned, and no later ones.
    """

    def __init__(self, storage: BaseStorage, study: Study, number: int, attempt: int, n_batches: int = 1) -> None:
        self._storage, self._study, self._number, self._attempt = storage, study, number, attempt
        self._id = trial_id(storage, study, number)
        self._writer, frozen = TrialWriter(storage, self._id), self._frozen()
        trial = _planned(frozen)
        self.plan, self._reports = trial.plan, list(trial.reports)
        # Reports up to the last of an earlier attempt are decided: training is deterministic, so they come again with
        # the same values, and the pruner is not asked about them again.
        self._decided = self._stored = frozen.last_step or 0
        self._unstored, self._stored_at = False, -math.inf  # so that the first report is stored at once
        before, stints = trial.outcome, trial.stints
        self._began_s = before.began_s if before and before.began_s is not None else time.time()  # before a pause
        self._gone_on_from = stints[-1].fraction if stints else 0.0  # up to there the pruner is not asked again
        if stints and trial.attempt == attempt:  # it was resumed before a slot was free
            self._writer.stints([*stints[:-1], dataclasses.replace(stints[-1], began=time.time())])
        told = Told(storage, study, trial.batch - n_batches) if n_batches > 1 else study
        self._known = ReadOnce(storage, told)
        self._asked_for = trial.plan.strategy == ASKED_FOR  # by a person, who wants to know how it ends

    def on_resume(self, reports: Sequence[Report]) -> None:
        """Take over the reports of a checkpoint, the last of which may not be stored."""
        if len(reports) > len(self._reports):
            self._reports, self._unstored = list(reports), True

    def on_report(self, report: Report) -> str | None:
        """Take a report; returns the reason to stop, or None. Raises Interrupted and Superseded."""
        own = self.check_attempt()  # read each time, since Optuna's halving pruners store their state with the trial
        self._reports = [known for known in self._reports if known.index < report.index]
        self._reports.append(report)
        self._unstored = True
        if time.monotonic() - self._stored_at >= PAUSE_S:
            self._store_reports()
        decided = report.index < self._decided or report.fraction <= self._gone_on_from or report.fraction == 1
        if decided or self._asked_for or report.solved:
            return None
        own.intermediate_values |= {known.index: known.r2 for known in self._reports if known.index > self._decided}
        if not self._study.pruner.prune(self._known, own):
            return None
        why = own.user_attrs  # a pruner that gives reasons stores them here
        stop = Stop(report.fraction, report.r2, why.get("bound"), why.get("best"))
        self._store_reports()
        self._writer.stop(stop)
        return why_stopped(stop, solved_r2(self._study))

    def _store_reports(self) -> None:
        """Store the reports, and the values by which Optuna's pruners compare trials, as far as these are not there."""
        if not self._unstored:
            return
        self._writer.reports(self._reports)
        write_values(self._storage, self._id, {one.index: one.r2 for one in self._reports if one.index > self._stored})
        self._stored = max(self._stored, self._reports[-1].index)
        self._unstored, self._stored_at = False, time.monotonic()

    def write(
        self,
        status: str,
        reason: str | None,
        metrics: dict[str, Any],
        stop_step: int,
        ran_on: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the trial's outcome, in one write, also after a signal. The parent tells the study from it.

        `ran_on` is its provenance. Raises Superseded where another attempt has begun.
        """
        self._refuse_superseded()
        self._store_reports()
        when = self._began_s, time.time()
        self._writer.outcome(Outcome(self._attempt, status, reason, metrics, stop_step, *when, ran_on or {}))

    def write_failure(self, reason: str) -> str:
        """Write a failed outcome. Raises Interrupted where a signal has come, since that may be the cause."""
        check_interrupt()
        self.write("failed", reason, {}, 0)
        return "failed"

    def _frozen(self) -> FrozenTrial:
        return self._storage.get_trial(self._id)

    def check_attempt(self) -> FrozenTrial:
        """The trial as the storage has it now.

        Raises Superseded where another attempt has begun, and Interrupted where a signal has come.
        """
        check_interrupt()
        return self._refuse_superseded()

    def _refuse_superseded(self) -> FrozenTrial:
        frozen = self._frozen()
        if frozen.state.is_finished() or _planned(frozen).attempt != self._attempt:
            raise Superseded(f"attempt {self._attempt} at trial {self._number} is not the current one")
        return frozen


def _planned(frozen: FrozenTrial) -> Trial:
    found = read_trial(frozen)
    assert found is not None
    return found


def why_stopped(stop: Stop, solved: float | None) -> str:
    """Why the pruner stopped a trial, as text. A block's best R2 of `solved` is shown as that or more."""
    text = f"stopped at {stop.fraction:.0%} of its steps, R2 "
    if stop.bound is None or stop.best is None:
        return text + shown_r2(stop.r2)
    now, bound, best = told_apart(stop.r2, stop.bound, stop.best)
    more = " or more" if stop.best == solved else ""
    return f"{text}{now}: its final R2 is at most {bound}, and the block's best is {best}{more}"


def _is_the_machines(error: Exception) -> bool:
    """Whether an error is of the data, the disk or the storage, so that any config would meet it. Memory is not."""
    if isinstance(error, OSError):
        return error.errno != errno.ENOMEM
    return isinstance(error, (SweepError, *STORAGE_ERRORS))


def failure_reason(error: Exception) -> str:
    """The reason of a failed trial, in one line; "out of memory" for every failed allocation."""
    import torch

    line = next(iter(str(error).strip().splitlines()), "")
    if isinstance(error, (MemoryError, OSError, torch.OutOfMemoryError)) or "can't allocate memory" in line:
        return f"out of memory: {line or 'an allocation failed'}"
    return f"{type(error).__name__}: {line}"
