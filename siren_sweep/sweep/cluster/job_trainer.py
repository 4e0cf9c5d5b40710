"""Trains trials by jobs of a cluster. A lost job costs its trial only the time since the last checkpoint."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from siren_sweep.errors import SweepError, SweepStateError
from siren_sweep.study.records import ClusterJob, Trial
from siren_sweep.sweep import interrupts
from siren_sweep.sweep.cluster.jobs import Jobs, Refused
from siren_sweep.sweep.lock import last_attempt
from siren_sweep.sweep.open_trials import OpenTrials

FAULT, INTERRUPTED = 2, 3  # exit codes of a job: a fault that no trial caused; ended by a signal or another attempt
PAUSE_S = 1.0  # between two checks of the trials
POLL_S = 10.0  # between two queries of the scheduler
PATIENCE_S = 600.0  # longest time for which a scheduler may refuse jobs
MOST_FALSE_STARTS = 2  # of a trial's jobs that end before the trial has begun

_Key = tuple[str, int]  # study and number of a trial


@dataclass
class _Known:
    """What is known of the submitted jobs, by trial."""

    running: dict[_Key, ClusterJob] = field(default_factory=dict)
    unsent: set[_Key] = field(default_factory=set)  # their attempt has begun, and no job was accepted for it
    false_starts: dict[_Key, int] = field(default_factory=dict)


class JobTrainer:
    """A `Trainer` that keeps one job for each open trial of all open batches. One object serves the whole sweep."""

    def __init__(self, jobs: Jobs, n_threads: int) -> None:
        self._jobs, self._n_threads, self._known = jobs, n_threads, _Known()
        self._asked_at, self._alive = -POLL_S, set[str]()
        self._refused: tuple[float, float] | None = None  # when the scheduler first took no job, and last

    def take_up(self, trials: OpenTrials) -> None:
        """Take over the jobs that an earlier start of the sweep submitted."""
        for trial in trials.open():
            before = trial.stints[-1].attempt if trial.stints else 0
            if trial.job is not None and before < trial.job.attempt == trial.attempt:
                self._known.running[trials.study_name, trial.number] = trial.job
                self._jobs.adopt(trial.job.id)

    def train(self, trials: OpenTrials, numbers: Sequence[int], later: Sequence[int], n_threads: int) -> None:
        """As `batch.Trainer.train`. `n_threads` is not used: a trial has the cores of its job."""
        while True:
            interrupts.check()
            for number in trials.missing([*numbers, *later]):
                self._look(trials, number)
            if not trials.missing(numbers):  # checked last, so that later batches get their jobs
                break
            time.sleep(PAUSE_S)
        for number in numbers:  # their jobs have ended; a paused trial gets a new one
            if (job := self._known.running.pop((trials.study_name, number), None)) is not None:
                self._jobs.forget(job.id)

    def stop(self) -> None:
        """Cancel the jobs after Ctrl-C. After another signal they go on, and the sweep's next start takes them over."""
        if interrupts.last_signal() == signal.SIGINT and (left := self._jobs.cancel()):
            _tell(f"jobs that could not be cancelled: {', '.join(left)}; the next start takes up those that go on")

    def _look(self, trials: OpenTrials, number: int) -> None:
        """Check one trial without an outcome: submit its job where it has none, and handle a job that has ended."""
        key = (trials.study_name, number)
        job = self._known.running.get(key)
        if job is None:
            self._submit(trials, number)
            return
        code = _exit_code(trials.folder(number).job_end(job.attempt))
        if code is None and self._is_alive(job):
            return
        self._jobs.forget(job.id)
        del self._known.running[key]
        if trials.trial(number).current is None:  # it may have come meanwhile
            self._lost(trials, number, job, code)

    def _is_alive(self, job: ClusterJob) -> bool:
        if time.monotonic() - self._asked_at >= POLL_S:
            self._alive, self._asked_at = self._jobs.alive(), time.monotonic()
        return job.id in self._alive

    def _submit(self, trials: OpenTrials, number: int) -> None:
        key = (trials.study_name, number)
        if self._refused is not None and time.monotonic() - self._refused[1] < POLL_S:
            return
        trial = trials.trial(number) if key in self._known.unsent else trials.begin_attempt(number)
        self._known.unsent.discard(key)  # if it may have been accepted, the next attempt bars it
        try:
            job = self._jobs.submit(trials.folder(number), trial.attempt, trials.overrides(trial, self._n_threads))
        except Refused as refused:
            self._wait_or_raise(refused)
            if not refused.unsure:
                self._known.unsent.add(key)
            return
        self._refused = None
        if job is not None:
            self._known.running[key] = ClusterJob(trial.attempt, job)
            self._alive.add(job)
            trials.writer(number).job(self._known.running[key])

    def _wait_or_raise(self, refused: Refused) -> None:
        now = time.monotonic()
        first = self._refused[0] if self._refused is not None else now
        self._refused = first, now
        if now - first > PATIENCE_S or not (refused.later or self._known.running):
            raise refused

    def _lost(self, trials: OpenTrials, number: int, job: ClusterJob, code: int | None) -> None:
        """Handle a job that ended without an outcome: its trial runs again, unless it has killed its job too often.

        Raises SweepError where the job ended by a fault that no trial caused.
        """
        trial = trials.begin_attempt(number)  # first, so that no later start handles this job again
        self._known.unsent.add((trials.study_name, number))
        log = trials.folder(number).job_log(job.attempt)
        own = max(log.parent.glob(f"*_{job.attempt}.*stderr"), key=lambda file: file.stat().st_mtime, default=None)
        said = _last_line(log, "error: ") if code == FAULT else _last_line(own)
        if code == FAULT:
            raise SweepError(said or f"a trial's job ended by a fault that is not the trial's: {log}")
        if code is None or code == INTERRUPTED:
            _tell(f"{_name(trials, trial)}: job {job.id} was ended, and the trial goes on in another one", said)
        elif last_attempt(trials.folder(number).lock) == job.attempt:
            trials.count_death(number, _why(code, said))
        else:
            self._count_false_start(
                trials, trial, f"job {job.id} ended before its trial began ({_why(code, '')}): {log}"
            )

    def _count_false_start(self, trials: OpenTrials, trial: Trial, text: str) -> None:
        key = (trials.study_name, trial.number)
        self._known.false_starts[key] = self._known.false_starts.get(key, 0) + 1
        if self._known.false_starts[key] >= MOST_FALSE_STARTS:
            raise SweepStateError(text)
        _tell(f"{_name(trials, trial)}: {text}")


def _exit_code(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _last_line(file: Path | None, start: str = "") -> str:
    """The last line of a file that begins with `start`, without it; empty where there is none."""
    if file is None or not file.exists():
        return ""
    lines = file.read_text(errors="replace").splitlines()
    found = (line for line in reversed(lines) if line.strip() and line.startswith(start))
    return next(found, "").removeprefix(start).strip()


def _why(code: int, said: str) -> str:
    if code > 128 and code - 128 in [*signal.Signals]:
        name = signal.Signals(code - 128).name
        if any(words in said.lower() for words in ("oom_kill", "oom-kill", "out of memory")):
            return f"out of memory: the job's program was killed by {name}"
        return f"the job's program was killed by {name}"
    return f"the job's program ended with code {code} and left no outcome"


def _name(trials: OpenTrials, trial: Trial) -> str:
    return f"{trials.study_name.replace('_', ' ')}, trial {trial.number}"


def _tell(text: str, why: str = "") -> None:
    print(text + (f" ({why})" if why else ""), file=sys.stderr)
