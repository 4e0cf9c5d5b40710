"""Trains trials by one of Hydra's launchers, by default the `slots` launcher."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.plugins.launcher import Launcher

from siren_sweep.errors import SweepError, SweepStateError
from siren_sweep.sweep.hydra_jobs import job_error
from siren_sweep.sweep.lock import wait_for_end
from siren_sweep.sweep.open_trials import OpenTrials


class _NotBegun(Exception):
    """The job was never started, so no worker died of it."""


class LauncherTrainer:
    """A `Trainer` that launches the trials of a batch, and launches again those that end without an outcome."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def take_up(self, trials: OpenTrials) -> None:
        """Do nothing: workers end with their parent, so an earlier start has left none."""

    def train(self, trials: OpenTrials, numbers: Sequence[int], later: Sequence[int], n_threads: int) -> None:
        """As `batch.Trainer.train`. `later` trials wait, since a launcher returns when all its jobs have ended."""
        while missing := trials.missing(numbers):
            self._launch_once(trials, missing, n_threads)

    def stop(self) -> None:
        """Do nothing: a launcher does not return before its jobs have ended."""

    def _launch_once(self, trials: OpenTrials, numbers: Sequence[int], n_threads: int) -> None:
        begun = [trials.begin_attempt(number) for number in numbers]
        jobs, first = [trials.overrides(trial, n_threads) for trial in begun], begun[0].plan.iteration - 1
        try:
            errors = [job_error(result) for result in self._launcher.launch(jobs, first)]
        except SweepError:
            raise
        except Exception as error:  # some launchers give up a whole batch when one job's process dies
            errors = _given_up(trials, numbers, error)
        faults = []  # not caused by a trial: it runs again when the sweep goes on
        missing = trials.missing(numbers)
        for number, met in zip(numbers, errors, strict=True):
            if number in missing:
                if isinstance(met, SweepError):
                    faults.append(met)
                elif not isinstance(met, _NotBegun):
                    trials.count_death(number, str(met or "the worker left no outcome") or type(met).__name__)
        if faults:
            raise faults[0]


def _given_up(trials: OpenTrials, numbers: Sequence[int], error: Exception) -> list[Exception | None]:
    """How the jobs of a launcher that gave up have ended. It waits for those that still train.

    Raises SweepStateError where no job had begun.
    """
    why = RuntimeError(f"the launcher gave up: {type(error).__name__}: {error}")
    ends: list[Exception | None] = []
    for number in numbers:
        began = wait_for_end(trials.folder(number).lock) == trials.trial(number).attempt
        ends.append(why if began else _NotBegun())
    if all(isinstance(end, _NotBegun) for end in ends):
        raise SweepStateError(f"{why}; no trial had begun") from error
    return ends
