"""A sweep's progress in the terminal, as a view over the studies."""

from __future__ import annotations

from collections.abc import Mapping

from optuna.study import Study
from optuna.trial import FrozenTrial
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from siren_sweep.config import Config
from siren_sweep.studies import (
    best_trial,
    finished,
    instructions,
    is_sample,
    metrics_of,
    n_trials_of,
    objective,
    sample_words,
)


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
            for trial in study.get_trials(deepcopy=False)
            if "outcome" in trial.user_attrs
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
        running = [trial for trial in study.get_trials(deepcopy=False) if not trial.state.is_finished()]
        batch = (block, max(trial.user_attrs["batch"] for trial in running)) if running else None
        if batch and batch != self._announced:
            self._announced = batch
            frames = study.user_attrs["n_training_frames"]
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
        head = f"block {block} of {len(self._cfg.blocks.schedule)}, {study.user_attrs['n_training_frames']} frames, "
        head += f"{len(finished(study))} of {total} trials"
        if best:
            part = sample_words(metrics_of(best))
            head += f", best R2 {best.value:.4f}{f' {part}' if part else ''} (trial {best.number})"
        table = Table.grid(padding=(0, 2))
        for trial in study.get_trials(deepcopy=False):
            if not trial.state.is_finished() and trial.user_attrs.get("attempt"):
                table.add_row(*_slot_row(trial))
        return Group(Text(head), table)


def _slot_row(trial: FrozenTrial) -> tuple[str | ProgressBar, ...]:
    reports = trial.user_attrs.get("reports", [])
    last = reports[-1] if reports else None
    fraction = last["fraction"] if last else 0.0
    left_s = last["elapsed_s"] * (1 - fraction) / fraction if last else None
    return (
        f"slot {trial.user_attrs['slot']}",
        f"trial {trial.number}",
        ProgressBar(total=1.0, completed=fraction, width=24),
        f"R2 {last['r2']:.4f}" if last else "starting",
        f"{left_s:.0f} s left" if left_s is not None else "",
        trial.user_attrs["mutation"] or "root",
    )


def _ended_line(block: int, trial: FrozenTrial) -> str:
    outcome, attributes = trial.user_attrs["outcome"], trial.user_attrs
    head = f"block {block}  batch {attributes['batch']}  slot {attributes['slot']}  trial {trial.number:3d}  "
    change = f"  [{attributes['mutation']}]" if attributes["mutation"] else ""
    if outcome["status"] in ("finished", "truncated"):
        metrics = outcome["metrics"]
        flag = f"  {outcome['reason']}" if outcome["reason"] else ""
        part = f" {sample_words(metrics)}" if is_sample(metrics) else ""
        return f"{head}R2 {objective(metrics):.4f}{part}  {metrics['training_time_min']:.2f} min{flag}{change}"
    ending = "" if outcome["status"] == "stopped" else f"{outcome['status']}: "
    return f"{head}{ending}{outcome['reason']}{change}"
