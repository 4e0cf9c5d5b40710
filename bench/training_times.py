"""Reads from the studies of a sweep when each of its trials trained, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from siren_sweep.config.parameters import WINDOW
from siren_sweep.field import cut
from siren_sweep.study.records import Trial
from siren_sweep.study.stored import read_block
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import read_folder
from siren_sweep.train.report import Report


@dataclass(frozen=True)
class Run:
    """A trial, with the name of its study. `whole`: it trained the whole field, and not a sample of the windows."""

    study: str
    trial: Trial
    whole: bool

    @property
    def again(self) -> bool:
        """Whether it trains the best config of a block again, after the last batch."""
        return self.study.endswith("validation")


@dataclass(frozen=True)
class Interval:
    """A period in which a trial trained, in seconds since 1970. It had trained `before_s` seconds before it."""

    begin: float
    end: float
    before_s: float

    def at(self, report: Report) -> float:
        """When a report of this period was made, in seconds since 1970."""
        return self.begin + report.elapsed_s - self.before_s


def read_runs(sweep: Path) -> list[Run]:
    """All trials of a sweep, and the runs that train a best config again. Raises OutputError without a sweep."""
    found = []
    with read_folder(sweep) as (_, blocks, validations):
        for number, study in blocks.items():
            block = read_block(study)
            n_sampled = int(block.settings.get("claude.search_windows") or 0)
            for own in [study, *([validations[number]] if number in validations else [])]:
                for trial in read_trials(own):
                    n_windows = len(cut(block.n_training_frames, trial.plan.config[WINDOW]))
                    whole = trial.plan.whole_of is not None or not 0 < n_sampled < n_windows
                    found.append(Run(own.study_name, trial, whole))
    return found


def trained_s(trial: Trial) -> float:
    """Seconds that a trial has trained so far."""
    minutes = trial.metrics.get("training_time_min")
    if minutes is not None and trial.current is not None:
        return float(minutes) * 60
    return trial.reports[-1].elapsed_s if trial.reports else 0.0


def training_intervals(trial: Trial) -> Iterator[Interval]:
    """The periods in which a trial trained, in order. One that still goes on ends at the trial's last report.

    The last period of a trial that has ended is placed by its end, which is stored after the weights are saved. So its
    times may be too late, and never too early.
    """
    outcome = trial.outcome
    if outcome is not None and outcome.began_s is not None:
        begins = [outcome.began_s]
    else:
        begins = [trial.began.timestamp()] if trial.began else []
    begins += [stint.began for stint in trial.stints]
    pauses = [_elapsed(trial, stint.fraction) for stint in trial.stints]
    ends = [0.0, *pauses, trained_s(trial)]
    for index, begin in enumerate(begins):
        length = ends[index + 1] - ends[index]
        if index == len(begins) - 1 and trial.current is not None and trial.current.ended_s is not None:
            begin = trial.current.ended_s - length
        yield Interval(begin, begin + length, ends[index])


def _elapsed(trial: Trial, fraction: float) -> float:
    """Seconds that a trial had trained when it had done a fraction of its steps."""
    return max((report.elapsed_s for report in trial.reports if report.fraction <= fraction), default=0.0)


def step_share(trial: Trial) -> float:
    """The share of a trial's training time that it spent on steps, not on evaluation, reports and checkpoints."""
    steps, before = 0.0, 0
    for report in trial.reports:
        steps += (report.step - before) / report.steps_per_s if report.steps_per_s else 0.0
        before = report.step
    return min(1.0, steps / trained_s(trial)) if trained_s(trial) else 0.0
