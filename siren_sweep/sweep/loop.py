"""The loop of a sweep: block after block, batch after batch. The same call resumes an interrupted sweep."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from optuna.study import Study
from rich.console import Console

from siren_sweep.config.compose import typed
from siren_sweep.config.parameters import PARAMETERS
from siren_sweep.config.schema import Config
from siren_sweep.errors import ConfigError, DataError, SweepError, SweepStateError, redacted
from siren_sweep.field.dataset import ensure_data, field_of
from siren_sweep.paths import OutputPaths, SweepPaths, make_writable
from siren_sweep.search.policies import work_ahead
from siren_sweep.study.records import Block, Trial
from siren_sweep.study.storage import check_server, restore, save_copy, storage_errors
from siren_sweep.study.stored import has_settings, mark_ended, read_block, write_tracked_to
from siren_sweep.study.studies import (
    STORAGE_URL_VARIABLE,
    all_blocks,
    all_studies,
    best_trial,
    complete,
    create,
    load,
    open_batches,
    open_storage,
    study_name,
    told_trials,
    validation_name,
    winner,
)
from siren_sweep.sweep import changes, checks, program_files, warm_start
from siren_sweep.sweep.batch import Trainer, run_batch, stopped
from siren_sweep.sweep.block import BlockStart, start_block
from siren_sweep.sweep.instructions import Instructions
from siren_sweep.sweep.interrupts import interrupts
from siren_sweep.sweep.launcher_trainer import LauncherTrainer
from siren_sweep.sweep.lock import locked
from siren_sweep.sweep.monitor import Monitor
from siren_sweep.sweep.mps import shared_gpus
from siren_sweep.sweep.open_trials import OpenTrials
from siren_sweep.sweep.paused import give_up_all
from siren_sweep.sweep.planning import Planner
from siren_sweep.sweep.slots import slots, warm_up
from siren_sweep.sweep.validation import Validation
from siren_sweep.train.machine import n_gpus
from siren_sweep.train.report import where_to_look
from siren_sweep.views.mlflow.address import shown, tracked_to, tracking_uri


def run_sweep(config: DictConfig, arguments: Sequence[str], make_launcher: Callable[[], Launcher]) -> None:
    """Run, or resume, the sweep of a composed config. `arguments` are its overrides.

    Raises ConfigError, with every fault, before anything trains, and other kinds of SweepError at any time. The
    launcher is made after all checks, since one may start processes.
    """
    cfg = typed(config)
    program_files.remember()
    if cfg.storage.url is not None:  # workers read it here; it is in no file
        os.environ[STORAGE_URL_VARIABLE] = cfg.storage.url
    overrides = checks.sort_overrides(arguments)
    overrides.faults += checks.folder_faults(config)
    outputs = OutputPaths(Path(cfg.outputs_dir))
    gpus = n_gpus(cfg.training.device) if cfg.cluster.scheduler is None else 0
    with contextlib.ExitStack() as held:
        with _jobs_go_on(cfg):
            paths, data_hashes = _prepare(cfg, overrides, outputs, early=gpus == 0)
            shared = shared_gpus(cfg.claude.n_parallel, gpus)
            for one in (locked(paths), interrupts(), storage_errors(), shared):
                held.enter_context(one)
            if notice := restore(paths):
                print(notice, file=sys.stderr)
            sweep = Sweep(cfg, overrides, _trainer(cfg, config, make_launcher), outputs, paths, data_hashes)
        sweep.run()


@contextlib.contextmanager
def _jobs_go_on(cfg: Config) -> Iterator[None]:
    """Where Ctrl-C comes before the jobs of an earlier start are taken over, print that they go on."""
    try:
        yield
    except KeyboardInterrupt:
        if cfg.cluster.scheduler is not None:
            print("jobs that an earlier start submitted go on; the next start takes them up", file=sys.stderr)
        raise


def _trainer(cfg: Config, config: DictConfig, make_launcher: Callable[[], Launcher]) -> Trainer:
    if cfg.cluster.scheduler is None:
        return LauncherTrainer(make_launcher())
    from siren_sweep.sweep.cluster.job_trainer import JobTrainer
    from siren_sweep.sweep.cluster.jobs import Jobs

    return JobTrainer(Jobs(config, cfg.cluster, cfg.claude.time_budget_min), cfg.cluster.cores)


def _prepare(
    cfg: Config, overrides: checks.SweepOverrides, outputs: OutputPaths, early: bool
) -> tuple[SweepPaths, dict[int, str]]:
    """Check the whole sweep; returns its paths, and the data's hash by block number. Raises ConfigError.

    With `early` the server for workers starts before the data are read. With GPUs it must start later, when NVIDIA's
    Multi-Process Service runs.
    """
    checks.fit_blocks(cfg, overrides)
    wrong = checks.all_faults(cfg, overrides)
    if STORAGE_URL_VARIABLE in os.environ and not wrong:
        check_server(os.environ[STORAGE_URL_VARIABLE])
    if early and not wrong:
        warm_up()
    paths, hashes = None, {}
    try:
        paths = outputs.sweep(cfg.sweep.name)
        wrong += filter(None, [warm_start.fault(cfg, paths)])
    except SweepError as error:
        wrong.append(str(error))
    if cfg.dataset.path is not None and not (wrong and cfg.dataset.generate):
        try:
            make_writable(outputs.root)
            ensure_data(cfg)
            hashes = _data_hashes(cfg, outputs)
        except SweepError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError(wrong)
    assert paths is not None
    return paths, hashes


def _data_hashes(cfg: Config, outputs: OutputPaths) -> dict[int, str]:
    """Read the data of each block, the largest first, so that all faults of the data are found before the sweep starts.

    Returns the data's hash by block number. Raises DataError and OutputError.
    """
    hashes = {}
    blocks = enumerate(cfg.blocks.schedule, 1)
    print(f"reading the data at {cfg.dataset.path}", file=sys.stderr)
    with Console(stderr=True).status("reading the data"):
        for number, block in sorted(blocks, key=lambda pair: -pair[1].n_training_frames):
            cfg.training.n_training_frames = block.n_training_frames
            hashes[number] = field_of(cfg, outputs).data_hash
    return hashes


class Sweep:
    """One start of a sweep: it runs all that is left of it."""

    def __init__(
        self,
        cfg: Config,
        overrides: checks.SweepOverrides,
        trainer: Trainer,
        outputs: OutputPaths,
        paths: SweepPaths,
        data_hashes: dict[int, str],
    ) -> None:
        self._cfg, self._overrides, self._trainer = cfg, overrides, trainer
        self._outputs, self._paths, self._data_hashes = outputs, paths, data_hashes
        self._settings = checks.settings(cfg, overrides)
        if STORAGE_URL_VARIABLE in os.environ:  # another sweep could use the same storage
            self._settings["sweep.name"] = cfg.sweep.name
        self._pinned = {name: PARAMETERS[name].value_in(cfg) for name in overrides.pinned}
        self._storage = open_storage(cfg.storage.url, paths)
        self._instructions = Instructions(self._storage, paths, cfg.claude.n_iter_block)
        self._planner = Planner(cfg, self._storage, paths, self._instructions)
        self._slots = slots(cfg.claude.n_parallel, cfg.training.device)

    def run(self) -> None:
        """Run all blocks that have not ended. Raises SweepError where the sweep cannot go on."""
        with contextlib.ExitStack() as held, stopped(self._trainer):
            self._begin()
            monitor = Monitor(self._cfg, self._outputs, self._paths, self._storage)
            self._views = held.enter_context(monitor)
            best: Mapping[str, Any] | None = None
            for number, block in enumerate(self._cfg.blocks.schedule, 1):
                texts = checks.sweep_texts(self._cfg, self._overrides, block)
                start = start_block(self._cfg, number, texts, self._pinned, best)
                study = self._study(start)
                if number == 1 and self._cfg.tracking.enabled:
                    self._track(study)
                if not read_block(study).ended:
                    self._run_block(study, start)
                    if self._instructions.end_sweep(number):
                        print(f"the sweep ends at block {number}, as asked; the same command goes on", file=sys.stderr)
                        return
                elif not read_block(study).shown:
                    self._views.show(number)
                best = self._winner(study, number).plan.config
            self._instructions.close(study)

    def _begin(self) -> None:
        """Take over what earlier starts left, and copy the trials of `sweep.learn_from`."""
        blocks, validations = all_studies(self._storage)
        for study in (*blocks.values(), *validations.values()):
            self._trainer.take_up(OpenTrials(self._storage, study, self._paths, []))
        first = load(self._storage, study_name(1))
        if first is not None and has_settings(first):  # a crash may have come before they were stored
            self._take_up_changes(first)
        if self._cfg.sweep.learn_from is not None:
            warm_start.adopt(self._storage, Path(self._cfg.sweep.learn_from))

    def _take_up_changes(self, first: Study) -> None:
        """Store settings that have changed. Raises SweepStateError where a change is not allowed."""
        name = self._cfg.sweep.name
        if lines := changes.accepted(read_block(first).settings, self._settings, name):
            print(f"the sweep {name!r} goes on with {'; '.join(lines)}", file=sys.stderr)
            changes.take_up(all_blocks(self._storage), self._settings, self._instructions)

    def _track(self, first: Study) -> None:
        """Print and store the address of the MLflow that gets the sweep's runs."""
        uri = tracking_uri(self._cfg.tracking.uri)
        write_tracked_to(first, tracked_to(uri))
        print(f"MLflow: {shown(uri, self._outputs)}", file=sys.stderr)

    def _run_block(self, study: Study, start: BlockStart) -> None:
        self._planner.resume(study, start)
        while self._goes_on(study, start):
            self._views.record()
            trials = OpenTrials(self._storage, study, self._paths, self._overrides.inherited)
            run_batch(study, trials, self._trainer, self._slots.n_threads, functools.partial(work_ahead, self._cfg))
            if STORAGE_URL_VARIABLE not in os.environ:  # a server has backups of its own
                save_copy(self._paths)
        if best_trial(study) is None and self._instructions.end_sweep(start.number):
            return  # the block has no result; the next start goes on with it
        give_up_all(self._storage, study, self._paths)
        inherited, n_threads = self._overrides.inherited, self._slots.n_threads
        again = Validation(self._storage, study, self._paths, self._trainer, inherited, n_threads)
        again.train_whole()
        self._views.export(start.number)  # while the other seeds train; the winner may still change
        again.train_seeds(self._cfg.claude.n_validation_seeds)
        best = best_trial(study)
        if best is not None and (hint := where_to_look(best.value or 0.0, best.reports)):
            print(f"block {start.number}, at every config: {hint}", file=sys.stderr)
        self._planner.close(study, start)
        mark_ended(study)
        self._views.show(start.number)

    def _goes_on(self, study: Study, start: BlockStart) -> bool:
        """Plan as many batches as may be open; returns whether one is open. Instructions are read before each plan.

        Raises SweepStateError where the program was changed.
        """
        program_files.check()
        while len(open_ := open_batches(study)) < self._cfg.cluster.n_batches:
            self._instructions.take(start, study)
            if self._instructions.stop_block(start.number) or not self._planner.plan(study, start):
                break
        return bool(open_)

    def _study(self, start: BlockStart) -> Study:
        block = Block(
            start.number,
            start.n_training_frames,
            self._data_hashes[start.number],
            self._settings,
            {"path": self._cfg.dataset.path, "n_input_neurons": self._cfg.dataset.n_input_neurons},
            command=redacted(shlex.join(sys.orig_argv)),
        )
        study = create(self._storage, study_name(start.number), block)
        known = read_block(study)
        if known.data_hash != block.data_hash:
            raise DataError(
                f"the data of block {start.number} changed under the sweep {self._cfg.sweep.name!r}: the first "
                f"{start.n_training_frames} frames at {self._cfg.dataset.path} have hash {block.data_hash}, "
                f"and had {known.data_hash}"
            )
        return study

    def _winner(self, study: Study, number: int) -> Trial:
        """The trial whose config is carried into the next block.

        Raises SweepStateError where no config was trained in all windows.
        """
        validation = load(self._storage, validation_name(number))
        best = winner(study, validation)
        if best is None:
            ended = [*told_trials(study), *(told_trials(validation) if validation else [])]
            what = f"no trial of block {number} has finished"
            if complete(study):
                what = f"no config of block {number} could be trained in all windows"
            raise SweepStateError(
                f"{what}: {how_ended(ended)}; the same command with a higher claude.n_iter_block tries more configs"
            )
        return best.searched


def how_ended(trials: Sequence[Trial]) -> str:
    """How trials ended, as text: the number of each status, with the reason of its last trial."""
    ends = [trial.outcome for trial in trials if trial.outcome]
    last = {outcome.status: outcome.reason for outcome in ends}
    counts = Counter(outcome.status for outcome in ends).most_common()
    return "; ".join(f"{n} {status}" + (f" ({last[status]})" if last[status] else "") for status, n in counts)
