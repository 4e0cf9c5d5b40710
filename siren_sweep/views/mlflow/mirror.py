"""Copies the studies to MLflow as nested runs: sweep > block > trial.

Workers never talk to MLflow. The mirror reads the studies, asks MLflow what it has, and sends the rest. So an outage
does not affect training, and a later mirror sends what is missing, in order and once. A run that a person deletes there
stays deleted, with all below it, also when MLflow has forgotten it (`mlflow gc`): the study has the keys of what was
sent. Two copies of a sweep have an experiment each. Whoever sends leaves a mark in the experiment, and a sweep that
finds a mark which it never left is a copy.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.study import Study
from optuna.trial import TrialState

from siren_sweep.paths import OutputPaths, SweepPaths, create_once, sqlite_url, trial_folder
from siren_sweep.study.records import Block, Mirrored, Trial
from siren_sweep.study.stored import new_sweep_id, read_block, read_mirrored, sweep_id, write_mirrored
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import Winner, winner
from siren_sweep.views.mlflow import run_texts
from siren_sweep.views.mlflow.client import all_runs, client_of
from siren_sweep.views.mlflow.experiment import MADE, MARK, SweepIdentity, experiment_of, find_artifacts
from siren_sweep.views.mlflow.registry import register

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_STATUS = {TrialState.COMPLETE: "FINISHED", TrialState.PRUNED: "KILLED", TrialState.FAIL: "FAILED"}
MOST_MARKS = 1000  # marks that a sweep remembers: far more than it leaves between two checks of its experiment
MAX_TEXT = 5000  # characters of a parameter or a tag; MLflow takes 6000 and 8000
CURVES = {"r2": "r2", "mse": "mse", "learning_rate": "learning_rate", "steps_per_s": "steps_per_second"}


@dataclass
class _Sent:
    """What of one run MLflow has."""

    run_id: str
    n_reports: int = 0
    n_best: int = 0  # points of a block's best R2
    last_ms: int = 0  # the time of the last report
    ended: bool = False
    deleted: bool = False  # by a person
    described: bool = True  # whether its parameters and its data were sent


class CopiedError(Exception):
    """Another copy of the sweep sends to the same experiment. A new mirror gets an experiment of its own."""


class Mirror:
    """Sends the studies of one sweep, of which `first` is the first block's, to MLflow.

    Every method may raise whatever MLflow raises, and OutputError where a person has deleted the sweep's experiment.
    """

    def __init__(self, uri: str | None, outputs: OutputPaths, paths: SweepPaths, first: Study) -> None:
        self._paths, self._first = paths, first
        self._sweep = SweepIdentity(paths.root.name, sweep_id(first))
        own = uri in (None, sqlite_url(outputs.mlflow_db))
        if own:
            create_once(outputs.mlflow_db, _make_tables)
            find_artifacts(outputs)
        self._over = set[int]()  # blocks that were sent whole; only a new start of the sweep opens them again
        self._looked = False  # whether this update has checked that the experiment is still this sweep's
        self._asked = client_of(uri or sqlite_url(outputs.mlflow_db))
        artifacts = outputs.mlartifacts.absolute().as_uri() if own else None
        found = experiment_of(self._asked, self._sweep, artifacts)
        self._known = read_mirrored(first)
        self.copied = found.tags.get(MARK, "") not in ("", *self._known.marks)
        if self.copied:
            self._sweep, self._known = SweepIdentity(paths.root.name, new_sweep_id(first)), Mirrored()
            found = experiment_of(self._asked, self._sweep, artifacts)
        self._experiment_id, self.experiment = str(found.experiment_id), str(found.name)
        self._links = run_texts.Links(self._experiment_id)
        self._sent = self._known_runs()
        if (made := found.tags.get(MADE, "")) == self._known.experiment:
            gone = {*self._known.keys} - self._sent.keys()
            self._sent |= {key: _Sent("", ended=True, deleted=True) for key in gone}
        self._known = dataclasses.replace(self._known, experiment=made)
        self._mark()

    @property
    def _client(self) -> MlflowClient:
        """The client for writing. Once in each update it checks that the experiment is still this sweep's.

        Raises CopiedError.
        """
        if not self._looked:
            mark = self._asked.get_experiment(self._experiment_id).tags.get(MARK)
            if mark != self._known.marks[-1]:
                raise CopiedError
            self._looked = True
        return self._asked

    def _mark(self) -> None:
        """Leave a new mark in the experiment, and store the keys of the runs that were sent."""
        marks = (*self._known.marks, uuid.uuid4().hex[:8])[-MOST_MARKS:]
        self._known = dataclasses.replace(self._known, keys=tuple(sorted(self._sent)), marks=marks)
        write_mirrored(self._first, self._known)  # before MLflow has it, else the mark would seem a copy's
        self._asked.set_experiment_tag(self._experiment_id, MARK, marks[-1])
        self._looked = True

    @property
    def sweep_run(self) -> str | None:
        """The id of the sweep's own run; None where there is none, or a person has deleted it."""
        sent = self._sent.get("sweep")
        return sent.run_id if sent and not sent.deleted else None

    def update(self, blocks: Mapping[int, Study], validations: Mapping[int, Study], over: bool) -> None:
        """Send what is new in the blocks that have begun; `over` says whether the sweep has ended."""
        self._looked = False
        self._send(blocks, validations, over)
        if self._sent.keys() - {*self._known.keys}:
            self._mark()

    def _send(self, blocks: Mapping[int, Study], validations: Mapping[int, Study], over: bool) -> None:
        first = read_block(blocks[min(blocks)])
        news, n_sent = False, len(self._sent)
        of_first = read_trials(blocks[min(blocks)])
        sweep = self._run("sweep", None, run_texts.shown_sweep(self._sweep.name, first, of_first))
        for number, study in blocks.items():
            if number in self._over:
                continue
            known = read_block(study)
            studies = [study] + ([validations[number]] if number in validations else [])
            trials = [(own.study_name, trial) for own in studies for trial in read_trials(own)]
            shown = run_texts.shown_block(self._sweep.name, known, [trial for _, trial in trials])
            block = self._run(study.study_name, sweep, shown)
            begun = [(name, trial) for name, trial in trials if trial.state is not TrialState.WAITING]
            if block.ended and not block.deleted:
                if all(trial_folder(own, trial.number) in self._sent for own, trial in begun):
                    if known.ended:
                        self._over.add(number)
                    continue
                self._client.update_run(block.run_id, status="RUNNING")  # it was over, and has more trials now
                block.ended = False
            for own, trial in begun:
                self._send_trial(own, trial, block, known)
            if not block.deleted:
                points = run_texts.best_so_far(read_trials(study))[block.n_best :]
                self._log(block, [("best_r2", value, when, step) for step, value, when in points])
                block.n_best += len(points)
                if known.ended and (known.shown or over):
                    self._end_block(study, winner(study, validations.get(number)), number, block, sweep)
                    news = True
        if news and not sweep.deleted:
            self._describe_sweep(blocks, validations, sweep)
        if len(self._sent) > n_sent and sweep.ended and not sweep.deleted:  # it was over, and goes on
            self._client.update_run(sweep.run_id, status="RUNNING")
            sweep.ended = False
        if over and not sweep.ended and not sweep.deleted:
            self._client.set_terminated(sweep.run_id)
            sweep.ended = True

    def _describe_sweep(self, blocks: Mapping[int, Study], validations: Mapping[int, Study], sweep: _Sent) -> None:
        own = {}
        for number, study in blocks.items():
            best, known = winner(study, validations.get(number)), read_block(study)
            own[number] = (known, best.final_r2 if best and known.ended else None, self._sent[study.study_name].run_id)
        note = run_texts.sweep_note(self._sweep.name, own, self._links)
        self._client.set_tag(sweep.run_id, run_texts.NOTE, note)

    def _send_trial(self, study: str, trial: Trial, parent: _Sent, block: Block) -> None:
        shown = run_texts.shown_trial(self._sweep.name, block, trial)
        run = self._run(trial_folder(study, trial.number), parent, shown)
        if run.ended or run.deleted:
            return
        self._send_reports(trial, run)
        if not trial.state.is_finished():
            return
        outcome = trial.outcome
        assert outcome is not None
        self._log_result(run, trial)
        saved = self._paths.trial(study, trial.number)
        ending = {"state": trial.state.name, "status": outcome.status, "stop_step": outcome.stop_step}
        ending |= {"reason": outcome.reason} if outcome.reason else {}
        self._log(run, tags=ending | run_texts.provenance_tags(saved.weights))
        self._log_files(run, [saved.config, saved.weights])
        self._client.set_terminated(run.run_id, RUN_STATUS[trial.state], _end_ms(trial))
        run.ended = True

    def _send_reports(self, trial: Trial, run: _Sent) -> None:
        new = [report for report in trial.reports if report.index > run.n_reports]
        if not new:
            return
        assert trial.began is not None
        start_ms = run_texts.milliseconds(trial.began)
        points = []
        for report in new:
            # A second attempt goes on from the first one's reports, and may be faster: times must not go back.
            run.last_ms = max(run.last_ms + 1, start_ms + int(report.elapsed_s * 1000))
            points += [(name, getattr(report, field), run.last_ms, report.step) for field, name in CURVES.items()]
        self._log(run, points)
        run.n_reports = new[-1].index

    def _end_block(self, study: Study, best: Winner | None, number: int, block: _Sent, sweep: _Sent) -> None:
        if best is not None:
            saved = self._paths.trial(best.study, best.run.number)
            origin = run_texts.provenance_tags(saved.weights)
            self._log_result(block, best.run)
            self._log(block, tags=origin | {"best_trial": best.searched.number})
            if not sweep.deleted:
                self._log(sweep, [("best_r2", best.final_r2, _end_ms(best.run), number)], tags=origin)
            self._log_files(block, [self._paths.best_file(number, ending) for ending in (".yaml", ".png")])
            if saved.config.is_file() and saved.weights.is_file():  # else an imported log, or a folder that was tidied
                register(self._client, block.run_id, self._sweep, study, best, saved)
        self._send_views(number, block)
        keys = [trial_folder(study.study_name, trial.number) for trial in read_trials(study)]
        of_trials = [self._sent[key].run_id for key in keys if key in self._sent and not self._sent[key].deleted]
        note = run_texts.block_note(study, best, self._links, block.run_id, of_trials, self._paths.report.exists())
        self._client.set_tag(block.run_id, run_texts.NOTE, note)
        self._client.set_terminated(block.run_id, "FINISHED" if best else "FAILED")
        block.ended = True

    def _send_views(self, number: int, block: _Sent) -> None:
        """Send the report with its table, the record, and an agent's logs, as they are at the block's end."""
        paths, name = self._paths, self._paths.root.name
        record = [paths.record / f"{name}_{kind}" for kind in ("analysis.md", "memory.md", "ucb_scores.txt")]
        agent = sorted(paths.agent.glob(f"block_{number:02d}_*.log"))
        views = (("report", [paths.report, paths.trials_csv]), ("record", record), ("agent", agent))
        for folder, files in views:
            self._log_files(block, files, folder)

    def _run(self, key: str, parent: _Sent | None, shown: run_texts.Shown) -> _Sent:
        """The run of a sweep, block or trial, which is made where MLflow has none.

        Where the parent was deleted, nothing is made below it, and the parent is returned.
        """
        if key not in self._sent and parent is not None and parent.deleted:
            return parent
        if key not in self._sent:
            own = {"key": key, "mlflow.runName": shown.name} | ({"mlflow.parentRunId": parent.run_id} if parent else {})
            own |= {tag: str(value)[:MAX_TEXT] for tag, value in shown.tags.items()}
            run = self._client.create_run(self._experiment_id, shown.began_ms, own, shown.name)
            self._sent[key] = _Sent(run.info.run_id, described=False)
        sent = self._sent[key]
        if not (sent.described or sent.ended or sent.deleted):  # made just now, or by a mirror that was cut off here
            self._log(sent, params=shown.params)
            self._client.log_inputs(sent.run_id, datasets=[run_texts.data_input(shown.block)])
            sent.described = True
        return sent

    def _known_runs(self) -> dict[str, _Sent]:
        """The runs that an earlier mirror has sent, by key, those that a person has deleted included."""
        known: dict[str, _Sent] = {}
        for run in all_runs(self._asked, self._experiment_id, deleted_too=True):
            ended, deleted = run.info.status != "RUNNING", run.info.lifecycle_stage == "deleted"
            own_id, still = run.info.run_id, not (ended or deleted)
            sent = self._asked.get_metric_history(own_id, "r2") if still else []
            last_ms = max((point.timestamp for point in sent), default=0)
            n_best = len(self._asked.get_metric_history(own_id, "best_r2")) if still else 0
            whole = bool(run.inputs and run.inputs.dataset_inputs)  # they are the last that a new run is sent
            key = run.data.tags.get("key", "")
            known[key] = _Sent(own_id, len(sent), n_best, last_ms, ended, deleted, described=whole)
        return known

    def _log_result(self, run: _Sent, trial: Trial) -> None:
        """Send the final metrics of a trial."""
        known = {name: value for name, value in trial.metrics.items() if value is not None}
        self._log(run, [(name, value, _end_ms(trial), 0) for name, value in known.items()])

    def _log(
        self,
        run: _Sent,
        points: Sequence[tuple[str, float, int, int]] = (),
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Send to a run. Points are (metric, value, milliseconds since 1970, step)."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(name, float(value), when, step) for name, value, when, step in points]
        own = [Param(name, str(value)[:MAX_TEXT]) for name, value in (params or {}).items()]
        said = [RunTag(name, str(value)[:MAX_TEXT]) for name, value in (tags or {}).items()]
        for start in range(0, max(len(metrics), len(own), len(said)), 100):  # MLflow takes no more of each in one call
            part = slice(start, start + 100)
            self._client.log_batch(run.run_id, metrics[part], own[part], said[part])

    def _log_files(self, run: _Sent, files: Sequence[Path], folder: str | None = None) -> None:
        """Send those of the files that exist."""
        for file in files:
            if file.exists():
                self._client.log_artifact(run.run_id, str(file), folder)


def _make_tables(database: Path) -> None:
    """Make a database with MLflow's tables. This runs a hundred migrations, and takes seconds."""
    client_of(sqlite_url(database)).search_experiments(max_results=1)


def _end_ms(trial: Trial) -> int:
    assert trial.told is not None
    return run_texts.milliseconds(trial.told)
