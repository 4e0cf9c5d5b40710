"""Shows a sweep's progress in the terminal, as a view of the studies."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from optuna.storages import BaseStorage
from optuna.study import Study
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.status import Status as Spinner
from rich.table import Table
from rich.text import Text

from siren_sweep.config.schema import Config
from siren_sweep.paths import SweepPaths
from siren_sweep.study.records import Trial
from siren_sweep.study.snapshots import ReadOnce
from siren_sweep.study.stored import read_block, read_plan
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import best_trial, instructions, n_left, n_trials_of, open_batches
from siren_sweep.sweep import time_left
from siren_sweep.sweep.lock import last_attempt
from siren_sweep.sweep.slots import slots
from siren_sweep.text import wrapped
from siren_sweep.train.report import Status, shown_r2

_Trials = dict[str, list[Trial]]  # the trials of a block, and of the runs beside it, by the study's name


class ProgressView:
    """On a terminal, a live table of running and queued trials; elsewhere a line for each trial that ends."""

    def __init__(self, cfg: Config, paths: SweepPaths, storage: BaseStorage) -> None:
        self._cfg, self._paths, self._storage = cfg, paths, storage
        self._console = Console(stderr=True)
        terminal = self._console.is_terminal
        self._live = Live(console=self._console, transient=True, auto_refresh=False) if terminal else None
        self._over: set[int] = set()  # blocks that had ended at the last update
        self._told: set[tuple[int, str, int, int]] | None = None  # (block, study, trial, attempt); None at first
        self._announced: tuple[str, int] | None = None  # the study and batch announced last
        self._clock = time_left.Clock()
        self._n_slots = (
            slots(cfg.claude.n_parallel, cfg.training.device).concurrency
            if cfg.cluster.scheduler is None
            else cfg.claude.n_parallel * cfg.cluster.n_batches
        )
        if self._live:
            self._live.start()

    def update(self, blocks: Mapping[int, Study], validations: Mapping[int, Study], beside: str = "") -> None:
        """Print the trials that ended since the last update, and show those that run.

        `blocks` and `validations` are the studies by block number; `beside` is the view that is being written.
        """
        over = {number for number, study in blocks.items() if number in self._over or read_block(study).ended}
        trials: dict[int, _Trials] = {}
        for number in sorted(set(blocks) - self._over):  # ended blocks have nothing new
            own = [blocks[number]] + ([validations[number]] if number in validations else [])
            trials[number] = {one.study_name: read_trials(one) for one in own}
        self._over = over
        ended = {
            (number, name, trial.number, trial.outcome.attempt): trial
            for number, of_block in trials.items()
            for name, some in of_block.items()
            for trial in some
            if trial.outcome is not None
        }
        if self._told is None:
            self._told = set(ended)
            if ended:
                self.say(f"going on: {len(ended)} trial{'s have' if len(ended) > 1 else ' has'} run before")
        for key in sorted(set(ended) - self._told):
            self.say(_ended_line(key[0], ended[key]))
        self._told |= set(ended)
        if not trials:
            return
        number = min(set(trials) - over, default=max(trials))
        study = ReadOnce(self._storage, blocks[number], still=True)  # read after the trials: it has their plans
        self._say_batch(number, study, trials[number])
        if self._live:
            total = n_trials_of(instructions({**blocks, number: study}), number, self._cfg.claude.n_iter_block)
            self._live.update(self._table(number, study, trials[number], total, beside), refresh=True)

    def say(self, text: str) -> None:
        """Print lines above the live table, wrapped to the terminal.

        An indented line, which a person may paste, is not.
        """
        for line in text.splitlines():
            whole = self._console.is_terminal is False or line.startswith("  ")
            for part in [line] if whole else wrapped(line, self._console.width):
                self._console.print(part, highlight=False, markup=False, soft_wrap=True)

    def busy(self, with_what: str) -> Spinner:
        """A spinner for a time in which the sweep waits and no table is live."""
        return self._console.status(with_what)

    def close(self) -> None:
        """Remove the live table."""
        if self._live:
            self._live.stop()

    def _say_batch(self, number: int, study: Study, trials: _Trials) -> None:
        for name, some in trials.items():
            running = [trial for trial in some if not trial.state.is_finished() and not trial.paused]
            batch = (name, max(trial.batch for trial in running)) if running else None
            if batch is None or batch == self._announced:
                continue
            self._announced = batch
            head = f"block {number} of {len(self._cfg.blocks.schedule)}, {read_block(study).n_training_frames} frames: "
            if name == study.study_name:
                n = len(read_plan(study, batch[1]))
                self.say(f"{head}batch {batch[1]}, {n} trial{'s' if n > 1 else ''}")
            else:
                how = "with other seeds" if running[0].plan.whole_of is None else "in all windows"
                self.say(f"{head}its best is trained again, {how}")

    def _table(self, number: int, study: Study, trials: _Trials, total: int, beside: str) -> Group:
        own, width = trials[study.study_name], self._console.width
        best = best_trial(study, own)
        head = f"block {number} of {len(self._cfg.blocks.schedule)}, {read_block(study).n_training_frames} frames, "
        head += f"{len(own)} configs, {sum(trial.spent for trial in own):.1f} of {total} full trials"
        if best:
            part = f" {best.part}" if best.part else ""
            head += f", best R2 {shown_r2(best.value or 0.0)}{part} (trial {best.number})"
        widths = (9, max(6, min(24, width // 8)), 14, 10)
        table = Table.grid(padding=(0, 2))
        for column in widths:
            table.add_column(no_wrap=True, min_width=column, max_width=column)
        room = width - sum(widths) - 2 * len(widths)  # for the mutation, where it is wide enough
        open_now = open_batches(study)
        open_ones = [
            (name, one)
            for name, some in trials.items()
            for one in some
            if not one.state.is_finished() and (not one.paused or one.batch in open_now)
        ]
        for name, trial in open_ones:
            if trial.attempt:
                change = textwrap.shorten(trial.plan.mutation or "root", room, placeholder=" …") if room > 20 else ""
                table.add_row(*self._row(name, trial), change)
        lines = wrapped(head, width)
        if left := self._left(number, study, open_ones, own, total):
            lines += wrapped(time_left.words(left), width)
        below = [Text(part) for part in wrapped(f"being written: {beside}", width)] if beside else []
        return Group(*map(Text, lines), table, *below)

    def _row(self, study: str, trial: Trial) -> tuple[str | ProgressBar, ...]:
        name, last = _name(trial), trial.reports[-1] if trial.reports else None
        begun = last_attempt(self._paths.trial(study, trial.number).lock) == trial.attempt
        done = trial.current is not None and not trial.paused  # solved or stopped, it may be so early
        bar = ProgressBar(total=1.0, completed=1.0 if done else last.fraction if last else 0.0)
        if trial.current is not None:
            return name, bar, "done" if done else "paused", ""
        if not begun or last is None:  # a resumed trial has reports of an earlier attempt
            return name, bar, "starts" if begun else "queued", ""
        left = time_left.duration(self._clock.left_s(study, trial) or 0.0)
        return name, bar, f"R2 {shown_r2(last.r2)}", f"{left} left"

    def _left(
        self, number: int, study: Study, open_ones: Sequence[tuple[str, Trial]], of_block: Sequence[Trial], total: int
    ) -> dict[str, float]:
        """The seconds that batch, block and sweep may still take, by name; empty where no trial has reported yet."""
        schedule, n_slots = self._cfg.blocks.schedule, self._n_slots
        steps = schedule[number - 1].total_steps
        typical = time_left.typical_s(of_block, steps)
        if typical is None:
            return {}
        running = [self._clock.left_s(name, trial) for name, trial in open_ones if trial.current is None]
        left = [seconds for seconds in running if seconds is not None]
        batch = time_left.queue_s(left, [typical] * (len(running) - len(left)), n_slots)
        validating = any(name != study.study_name for name, _ in open_ones)
        waiting = sum(trial.current is None for _, trial in open_ones)
        planned = 0 if validating else max(0, n_left(of_block, total) - waiting)
        seeds = 0 if validating else self._cfg.claude.n_validation_seeds
        block = batch + time_left.queue_s([], [typical] * planned, n_slots) + -(-seeds // n_slots) * typical
        n_trials = self._cfg.claude.n_iter_block + self._cfg.claude.n_validation_seeds
        sweep = block + time_left.later_s(typical, steps, schedule[number:], n_trials, n_slots)
        return {"batch": batch, "block": block} | ({"sweep": sweep} if len(schedule) > 1 else {})


def _name(trial: Trial) -> str:
    plan = trial.plan
    if plan.validation_of is not None:
        return f"seed {plan.seed}"
    return f"trial {trial.number}" if plan.whole_of is None else f"whole {plan.whole_of}"


def _ended_line(block: int, trial: Trial) -> str:
    outcome, plan = trial.outcome, trial.plan
    assert outcome is not None
    head = f"block {block}  {_name(trial)}  "
    change = f"  {plan.mutation}" if plan.mutation and plan.validation_of is None else ""
    if outcome.succeeded:
        flag = f"  {outcome.reason}" if outcome.reason else ""
        part = f" {outcome.part}" if outcome.part else ""
        return f"{head}R2 {shown_r2(outcome.r2)}{part}  {outcome.metrics['training_time_min']:.2f} min{flag}{change}"
    ending = "" if outcome.status == Status.stopped else f"{outcome.status}: "
    return f"{head}{ending}{outcome.reason}{change}"
