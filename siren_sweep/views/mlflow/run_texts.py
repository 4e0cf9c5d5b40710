"""What MLflow stores of a run beside its metrics: name, parameters, tags, its data, and a description."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from optuna.study import Study
from optuna.trial import TrialState

from siren_sweep.config.parameters import leaf
from siren_sweep.errors import OutputError
from siren_sweep.search.proposal import shown
from siren_sweep.study.records import Block, Trial
from siren_sweep.study.stored import read_block
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import Winner
from siren_sweep.train.report import shown_r2
from siren_sweep.views.mlflow.address import TRAINING

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

MOST_COMPARED = 100  # runs in one link: a description has at most 8000 characters, and a run takes 44 of them
NOTE, COMMIT = "mlflow.note.content", "mlflow.source.git.commit"


@dataclass(frozen=True)
class Shown:
    """A run as MLflow shows it. It begins with the first of `trials`; its data are those of `block`."""

    name: str
    block: Block
    trials: Sequence[Trial]
    params: Mapping[str, Any]
    tags: Mapping[str, Any]

    @property
    def began_ms(self) -> int | None:
        return min((milliseconds(trial.began) for trial in self.trials if trial.began), default=None)


def shown_sweep(sweep: str, block: Block, trials: Sequence[Trial]) -> Shown:
    """The run of a sweep, such as `demo`, with the settings of its first block, which all blocks share."""
    return Shown(sweep, block, trials, _settings(block), {})


def shown_block(sweep: str, block: Block, trials: Sequence[Trial]) -> Shown:
    """The run of a block, such as `demo, block 1`, with the block's own settings and those of the search."""
    own = {"block": block.number, "n_training_frames": block.n_training_frames}
    search = {name: value for name, value in _settings(block).items() if name.startswith(("claude.", "search_space."))}
    return Shown(f"{sweep}, block {block.number}", block, trials, own | search, own | {"data_hash": block.data_hash})


def shown_trial(sweep: str, block: Block, trial: Trial) -> Shown:
    """The run of a trial, such as `demo, block 1, trial 4`, with its explorable parameters and place in the sweep."""
    plan = trial.plan
    kind = "validation" if plan.validation_of is not None else "whole" if plan.whole_of is not None else "trial"
    keys = ("block", "slot", "batch", "iteration", "parent", "mutation", "strategy", "seed")
    return Shown(
        f"{sweep}, block {block.number}, {kind} {trial.number}",
        block,
        [trial],
        {**plan.config, "training.n_training_frames": plan.n_training_frames},
        {key: getattr(plan, key) for key in keys} | {"trial": trial.number, "state": "RUNNING"},
    )


def _settings(block: Block) -> dict[str, Any]:
    own = {**block.settings, **{f"dataset.{name}": value for name, value in block.dataset.items()}}
    return {re.sub(r"\[(\d+)\]", r".\1", name): value for name, value in own.items()}  # MLflow refuses brackets


def milliseconds(when: datetime.datetime) -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return int(when.timestamp() * 1000)


def provenance_tags(weights: Path) -> dict[str, Any]:
    """The provenance in a weights file: versions, commit, machine, precision. Empty where there is no such file."""
    from siren_sweep.train.weights_file import read_description

    try:
        found = read_description(weights) if weights.exists() else None
    except OutputError:  # a damaged file
        found = None
    own = dict(found.provenance) if found else {}
    return own | ({COMMIT: own["commit"]} if "commit" in own else {})


def data_input(block: Block) -> DatasetInput:
    """The data of a block as an input of a run in MLflow."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    path = str(block.dataset.get("path"))
    own = Dataset(
        name=f"{Path(path).name}, {block.n_training_frames} frames",
        digest=block.data_hash[:32],  # MLflow takes 36 characters
        source_type="local",
        source=path,
    )
    return DatasetInput(own, [InputTag("mlflow.data.context", "training"), InputTag("data_hash", block.data_hash)])


def best_so_far(trials: Sequence[Trial]) -> list[tuple[int, float, int]]:
    """The curve of a block's best R2: for each told trial (the number of told trials, the best R2, when it ended).

    The time is in milliseconds since 1970. Trials come in the order in which they are told, so that later calls only
    add points at the end. A paused trial that was given up is left out, since it is told at the block's end.
    """
    points, best = [], None
    told = [trial for trial in trials if trial.state.is_finished() and trial.given_up is None and trial.told]
    for place, trial in enumerate(sorted(told, key=lambda trial: (trial.batch, trial.number)), 1):
        if trial.state is TrialState.COMPLETE and trial.value is not None:
            best = trial.value if best is None else max(best, trial.value)
        if best is not None and trial.told is not None:
            points.append((place, best, milliseconds(trial.told)))
    return points


class Links:
    """Links within MLflow's pages, for one experiment, given by its id."""

    def __init__(self, experiment: str) -> None:
        self._experiment = experiment

    def run(self, run_id: str) -> str:
        """A link to a run's page."""
        return f"{self._page(run_id)}?{TRAINING}"

    def artifact(self, run_id: str, path: str) -> str:
        return f"{self._page(run_id)}/artifacts/{quote(path)}?{TRAINING}"

    def compared(self, run_ids: Sequence[str]) -> str:
        """A link to the page that compares runs."""
        runs, experiments = (quote(json.dumps(ids)) for ids in (list(run_ids), [self._experiment]))
        return f"#/compare-runs?runs={runs}&experiments={experiments}&{TRAINING}"

    def _page(self, run_id: str) -> str:
        return f"#/experiments/{self._experiment}/runs/{run_id}"


def block_note(
    study: Study, best: Winner | None, links: Links, run_id: str, run_ids: Sequence[str], with_report: bool
) -> str:
    """The description of a block's run, in Markdown."""
    block, trials = read_block(study), read_trials(study)
    ended = [trial for trial in trials if trial.state.is_finished()]
    states = {state: sum(trial.state is state for trial in ended) for state in (TrialState.PRUNED, TrialState.FAIL)}
    lines = [
        f"**Block {block.number}: {block.n_training_frames} frames.** {len(ended)} trials, "
        f"{states[TrialState.PRUNED]} stopped early, {states[TrialState.FAIL]} failed."
    ]
    if best is not None:
        lines += ["", f"The best is trial {best.searched.number}, final R2 {shown_r2(best.final_r2)}:", ""]
        lines += ["| parameter | value |", "| --- | --- |"]
        lines += [f"| {leaf(name)} | {shown(value)} |" for name, value in best.run.plan.config.items()]
    which = "its trials" if len(run_ids) <= MOST_COMPARED else f"its last {MOST_COMPARED} trials"
    lines += ["", f"- [{which} beside each other]({links.compared(run_ids[-MOST_COMPARED:])})"]
    if with_report:
        name = f"block_{block.number:02d}"
        lines += [
            f"- [the best config]({links.artifact(run_id, f'{name}.yaml')})",
            f"- [the report]({links.artifact(run_id, 'report/report.html')})",
        ]
    return "\n".join(lines)


def sweep_note(sweep: str, blocks: Mapping[int, tuple[Block, float | None, str]], links: Links) -> str:
    """The description of a sweep's run, in Markdown; `blocks` has each block, its best final R2 and its run's id."""
    lines = [f"**The sweep {sweep}.** It has a run for each block, and below it one for each trial.", ""]
    lines += ["| block | frames | best final R2 | |", "| --- | --- | --- | --- |"]
    for number, (block, r2, run_id) in blocks.items():
        files = {"report": "report/report.html", "best config": f"block_{number:02d}.yaml"}
        pages = files if r2 is not None and run_id else {}  # a run that was deleted for good has no page
        more = ", ".join(f"[{name}]({links.artifact(run_id, file)})" for name, file in pages.items())
        told = shown_r2(r2) if r2 is not None else "still open"
        own = f"[{number}]({links.run(run_id)})" if run_id else str(number)
        lines.append(f"| {own} | {block.n_training_frames} | {told} | {more} |")
    return "\n".join(lines)
