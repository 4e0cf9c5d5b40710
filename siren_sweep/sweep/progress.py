"""A sweep's progress in the terminal, as a view over the studies."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.study import Study
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from siren_sweep.config.schema import Config
from siren_sweep.study.records import Trial
from siren_sweep.study.stored import read_block, read_trials
from siren_sweep.study.studies import best_trial, finished, instructions, n_trials_of
from siren_sweep.train.report import Status


class ProgressView:
    """A live table of the running slots on a terminal; elsewhere one plain line for each trial that ends."""

    def __init__(self, cfg: Config) -> None:
        self._cfg = cfg
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, transient=True) if self._console.is_terminal else None
        self._told: set[tuple[int, int]] | None = None  # (block, trial) that were told; None before the first look
        self._announced: tuple[int, int] | None = None  # block and batch that were announced last
        if self._live:
            self._live.start()

    def update(self, studies: Mapping[int, Study]) -> None:
        """Say what ended since the last look, and show what runs."""
        ended = {
            (block, trial.number): trial
            for block, study in studies.items()
            for trial in read_trials(study)
            if trial.outcome is not None
        }
        if self._told is None:
            self._told = set(ended)
            if ended:
                self.say(f"going on: {len(ended)} trials have run before")
        if studies:
            self._say_batch(max(studies), studies[max(studies)])
        for key in sorted(set(ended) - self._told):
            self.say(_ended_line(key[0], ended[key]))
        self._told |= set(ended)
        if self._live and studies:
            block = max(studies)
            n_trials = n_trials_of(instructions(studies), block, self._cfg.claude.n_iter_block)
            self._live.update(self._table(block, studies[block], n_trials))

    def _say_batch(self, block: int, study: Study) -> None:
        running = [trial for trial in read_trials(study) if not trial.state.is_finished()]
        batch = (block, max(trial.plan.batch for trial in running)) if running else None
        if batch and batch != self._announced:
            self._announced = batch
            frames = read_block(study).n_training_frames
            self.say(f"block {block} of {len(self._cfg.blocks.schedule)}, {frames} frames: batch {batch[1]} runs")

    def say(self, text: str) -> None:
        """One line, above what is live."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live:
            self._live.stop()

    def _table(self, block: int, study: Study, total: int) -> Group:
        best = best_trial(study)
        head = f"block {block} of {len(self._cfg.blocks.schedule)}, {read_block(study).n_training_frames} frames, "
        head += f"{len(finished(study))} of {total} trials"
        if best:
            head += f", best R2 {best.value:.4f}{f' {best.part}' if best.part else ''} (trial {best.number})"
        table = Table.grid(padding=(0, 2))
        for trial in read_trials(study):
            if not trial.state.is_finished() and trial.attempt:
                table.add_row(*_slot_row(trial))
        return Group(Text(head), table)


def _slot_row(trial: Trial) -> tuple[str | ProgressBar, ...]:
    last = trial.reports[-1] if trial.reports else None
    return (
        f"slot {trial.plan.slot}",
        f"trial {trial.number}",
        ProgressBar(total=1.0, completed=last.fraction if last else 0.0, width=24),
        f"R2 {last.r2:.4f}" if last else "starting",
        f"{last.left_s:.0f} s left" if last else "",
        trial.plan.mutation or "root",
    )


def _ended_line(block: int, trial: Trial) -> str:
    outcome, plan = trial.outcome, trial.plan
    assert outcome is not None
    head = f"block {block}  batch {plan.batch}  slot {plan.slot}  trial {trial.number:3d}  "
    change = f"  [{plan.mutation}]" if plan.mutation else ""
    if outcome.succeeded:
        flag = f"  {outcome.reason}" if outcome.reason else ""
        part = f" {outcome.part}" if outcome.part else ""
        return f"{head}R2 {outcome.r2:.4f}{part}  {outcome.metrics['training_time_min']:.2f} min{flag}{change}"
    ending = "" if outcome.status == Status.stopped else f"{outcome.status}: "
    return f"{head}{ending}{outcome.reason}{change}"
