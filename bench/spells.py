"""When the trials of a sweep trained, from its studies: what a profile of its wall time is made of."""

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
    """A trial, the name of its study, and whether its network is of the whole field, and not of a sample of windows."""

    study: str
    trial: Trial
    whole: bool

    @property
    def again(self) -> bool:
        """Whether it trains a block's best again, after the block's last batch."""
        return self.study.endswith("validation")


@dataclass(frozen=True)
class Spell:
    """A stretch in which a trial trained, in seconds since 1970; `before_s` of training lay before it."""

    begin: float
    end: float
    before_s: float

    def at(self, report: Report) -> float:
        """When a report of this spell came."""
        return self.begin + report.elapsed_s - self.before_s


def runs(sweep: Path) -> list[Run]:
    """All trials that began, those that train a block's best again too. Raises OutputError where there is no sweep."""
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
    """Seconds of training so far."""
    minutes = trial.metrics.get("training_time_min")
    if minutes is not None and trial.current is not None:
        return float(minutes) * 60
    return trial.reports[-1].elapsed_s if trial.reports else 0.0


def spells(trial: Trial) -> Iterator[Spell]:
    """Each time that it trained, in order. One that still trains ends with its last report.

    The last one is known by its end where it has one, which comes after its weights are saved: what is read from it
    may be later than it was, and not sooner.
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
        yield Spell(begin, begin + length, ends[index])


def _elapsed(trial: Trial, fraction: float) -> float:
    """Seconds that it had trained at a fraction of its steps."""
    return max((report.elapsed_s for report in trial.reports if report.fraction <= fraction), default=0.0)


def step_share(trial: Trial) -> float:
    """The part of its training time that went into steps: not into evaluation, reports and checkpoints."""
    steps, before = 0.0, 0
    for report in trial.reports:
        steps += (report.step - before) / report.steps_per_s if report.steps_per_s else 0.0
        before = report.step
    return min(1.0, steps / trained_s(trial)) if trained_s(trial) else 0.0
