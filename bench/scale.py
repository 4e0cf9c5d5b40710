"""Measures a sweep with many workers on one database, or with many trials in one study.

    python bench/scale.py workers --url postgresql://me@host/db     trials a minute of 4 workers and of 64
    OMP_NUM_THREADS=1 python bench/scale.py trials               the time of each step, up to 10,000 trials in one study

With `workers`, trials sleep in place of training. As in a sweep they make twenty reports, ask the pruner at each, and
write their outcome; they are planned, enqueued and told as in a sweep with `cluster.n_batches`. So the measured limits
are those of a sweep. Lost reports are counted at the end, in the study. With `trials`, times are CPU seconds of one
core, on which other work on the machine has little effect.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import hashlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from hydra import compose, initialize_config_dir
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import TrialState, create_trial

from siren_sweep.config.compose import conf_dir, typed
from siren_sweep.config.schema import N_REPORTS, Block, Config
from siren_sweep.paths import OutputPaths, SweepPaths, sqlite_url
from siren_sweep.search.policies import make_proposer, make_pruner
from siren_sweep.search.strategy import plan_batch
from siren_sweep.study import records
from siren_sweep.study.storage import engine_settings, with_driver
from siren_sweep.study.stored import read_plan
from siren_sweep.study.stored_trials import read_trials, trial_values
from siren_sweep.study.studies import STORAGE_URL_VARIABLE, create, load, open_batch, open_batches, open_storage
from siren_sweep.sweep.batch import run_batch
from siren_sweep.sweep.block import BlockStart, start_block
from siren_sweep.sweep.instructions import Instructions
from siren_sweep.sweep.open_trials import OpenTrials
from siren_sweep.sweep.planning import Planner
from siren_sweep.sweep.progress import ProgressView
from siren_sweep.sweep.worker import Worker
from siren_sweep.train.provenance import cpu_name
from siren_sweep.train.report import Report
from siren_sweep.views.record.writer import write_record
from siren_sweep.views.report.page import write_report

STEPS = 1000  # training steps of a trial
TABLES = {
    "trial_params": "param_name, param_value, distribution_json",
    "trial_values": "objective, value, value_type",
    "trial_user_attributes": "key, value_json",
    "trial_intermediate_values": "step, intermediate_value, intermediate_value_type",
}
METRICS = {"training_time_min": 1.0, "total_params": 1000, "final_mse": 1e-3, "rank_90": 3, "rank_99": 9}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["workers", "trials"])
    parser.add_argument("--url", help="of a database server with an empty database (default: sqlite)")
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 64])
    parser.add_argument("--trials", type=int, nargs="+", help="in each line (default: 120 2000, or 1000 3000 10000)")
    parser.add_argument("--spare", type=int, default=0, help="batches open beside one for four workers (%(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long a trial takes (%(default)s)")
    options = parser.parse_args()
    if options.url:
        os.environ[STORAGE_URL_VARIABLE] = options.url
    print(f"{cpu_name()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        paths = OutputPaths(Path(folder)).sweep("scale")
        paths.root.mkdir()
        if options.what == "workers":
            measure_workers(paths, options.workers, options.trials or [120, 2000], options.seconds, options.spare)
        else:
            measure_trials(paths, options.trials or [1000, 3000, 10_000])


def composed(n_trials: int, n_batches: int = 1) -> Config:
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        overrides = [f"claude.n_iter_block={n_trials}", f"cluster.n_batches={n_batches}", "pauses_at=[]"]
        cfg = typed(compose("config", [*overrides, "dataset.path=unused"]))
    cfg.blocks.schedule = [Block(100, STEPS)]
    cfg.sweep.name = "scale"
    return cfg


def begun(
    cfg: Config, paths: SweepPaths, name: str, storage: BaseStorage
) -> tuple[Study, BlockStart, Planner, OpenTrials]:
    """A block's study, which is made where there is none, and the objects that plan and run its batches."""
    settings = {"claude.ucb_c": 1.414, "claude.n_iter_block": cfg.claude.n_iter_block, "claude.solved_r2": 0.9999}
    own = records.Block(1, 100, settings=settings, dataset={"path": "unused", "n_input_neurons": 1736})
    study = create(storage, name, own)
    start = start_block(cfg, 1, cfg.search_space.params, {}, None)
    planner = Planner(cfg, storage, paths, Instructions(storage, paths, cfg.claude.n_iter_block))
    return study, start, planner, OpenTrials(storage, study, paths, [])


# Many workers


def measure_workers(
    paths: SweepPaths, numbers: Sequence[int], trials: Sequence[int], seconds: float, n_spare: int
) -> None:
    """Run a sweep with each number of workers, and print a line for it."""
    heads = ("workers", "trials", "minutes", "trials/min", "lost reports", "errors", "asking, s")
    print(" ".join(f"{head:>12}" for head in heads))
    for n_workers, n_trials in zip(numbers, trials, strict=True):
        cfg, storage = composed(n_trials, n_batches=max(1, n_workers // 4) + n_spare), open_storage(None, paths)
        study, start, planner, open_trials = begun(cfg, paths, "block_01", storage)
        pool = Pool(cfg, paths, n_workers, seconds)
        began, asked = time.monotonic(), list[float]()
        while True:
            while len(open_batches(study)) < cfg.cluster.n_batches:
                before = time.monotonic()
                if not planner.plan(study, start):
                    break
                asked.append(time.monotonic() - before)
            if open_batch(study) is None:
                break
            run_batch(study, open_trials, pool, 1)
        minutes = (time.monotonic() - began) / 60
        pool.close()
        known = read_trials(study)
        lost = sum(N_REPORTS - len(trial.reports) for trial in known if trial.current and trial.current.succeeded)
        rate, each = len(known) / minutes, sum(asked) / len(asked)
        row = (n_workers, len(known), f"{minutes:.1f}", f"{rate:.1f}", lost, pool.n_errors, f"{each:.2f}")
        print(" ".join(f"{value:>12}" for value in row), flush=True)
        optuna.delete_study(study_name=study.study_name, storage=storage)


class Pool:
    """A `Trainer` whose worker processes take trials from one queue, as a cluster's slots do.

    So a slot that is free needs no answer of the sweep's process, as long as a batch waits in the queue.
    """

    def __init__(self, cfg: Config, paths: SweepPaths, n_workers: int, seconds: float) -> None:
        context = multiprocessing.get_context("fork")
        self.n_errors = 0
        self._submitted: set[int] = set()
        self._queue, self._ended = context.SimpleQueue(), context.SimpleQueue()
        args = (cfg, paths, seconds, self._queue, self._ended)
        self._processes = [context.Process(target=_serve, args=args, daemon=True) for _ in range(n_workers)]
        for process in self._processes:
            process.start()

    def take_up(self, trials: OpenTrials) -> None:
        """Do nothing, since nothing trains yet."""

    def train(self, trials: OpenTrials, numbers: Sequence[int], later: Sequence[int], n_threads: int) -> None:
        missing = trials.missing([*numbers, *later])
        for number in missing:
            if number not in self._submitted:
                self._submitted.add(number)
                self._queue.put((number, trials.begin_attempt(number).attempt))
        left = {*missing} & {*numbers}
        while left:
            number, error = self._ended.get()
            self.n_errors += error is not None
            left.discard(number)

    def stop(self) -> None:
        """Do nothing: the processes are daemons, and end with this one."""

    def close(self) -> None:
        for _ in self._processes:
            self._queue.put(None)
        for process in self._processes:
            process.join()


def _serve(cfg: Config, paths: SweepPaths, seconds: float, queue: Any, ended: Any) -> None:
    """The main function of a worker process: run one trial of the queue after the other."""
    storage = open_storage(None, paths, existing=True)
    while (asked := queue.get()) is not None:
        number, attempt = asked
        try:
            study = load(storage, "block_01", pruner=make_pruner(cfg), sampler=optuna.samplers.RandomSampler())
            assert study is not None
            run(Worker(storage, study, number, attempt, cfg.cluster.n_batches), seconds)
            ended.put((number, None))
        except Exception as error:
            print(f"{type(error).__name__}: {error}"[:300], flush=True)
            ended.put((number, str(error)))


def run(worker: Worker, seconds: float) -> None:
    """Run one trial as a worker does, but sleep in place of training, and ignore what the pruner says.

    So all trials take equally long.
    """
    final = final_r2(worker.plan.config)
    for index in range(1, N_REPORTS + 1):
        time.sleep(seconds / N_REPORTS)
        worker.on_report(report(index, final))
    worker.write("finished", None, {"final_r2": final, **METRICS}, STEPS)


def final_r2(config: Any) -> float:
    """A made-up final R2, which depends on the config alone."""
    digest = hashlib.sha256(repr(sorted(config.items())).encode()).digest()
    return 0.5 + digest[0] / 520


def report(index: int, final: float) -> Report:
    r2 = final * (1 - 2.0 ** (-index))
    return Report(index, index / N_REPORTS, index * STEPS // N_REPORTS, r2, 1 - r2, 1e-3, 1.0, 60.0 * index / N_REPORTS)


# Many trials


def measure_trials(paths: SweepPaths, sizes: Sequence[int]) -> None:
    """Measure each step of a sweep with each number of trials in one study, and print a line for each number."""
    steps = ["asking", "record", "record again", "report", "refresh", "refresh again", "resume"]
    steps += ["worker's first", "worker's next"]
    print(f"{'trials':>6} " + " ".join(f"{name + ', s':>17}" for name in steps))
    cfg = composed(10 * max(sizes))
    first = sizes[0]
    plant(cfg, paths, first)
    for size in sizes:
        replicate(paths, first, size)
        shown = " ".join(f"{value:17.2f}" for value in step_times(cfg, paths))
        print(f"{size:6d} {shown}", flush=True)


def plant(cfg: Config, paths: SweepPaths, n_trials: int) -> None:
    """Fill the study with told trials of random configs, each with twenty reports."""
    study, start, *_ = begun(cfg, paths, "block_01", open_storage(None, paths))
    params = start.space.dimensions
    for number in range(n_trials):
        rng = optuna.samplers.RandomSampler(seed=number)
        ask = optuna.create_study(sampler=rng)
        point = ask.ask(dict(params)).params
        config = start.space.config(point)
        final = final_r2(config)
        plan = records.TrialPlan(
            number + 1, config, batch=number // 4 + 1, slot=number % 4, n_training_frames=100, seed=42, strategy="tree"
        )
        if number:
            plan = dataclasses.replace(plan, parent=(number - 1) // 3, mutation="several")
        outcome = records.Outcome(1, "finished", None, {"final_r2": final, **METRICS}, STEPS, 1e9, 1e9 + 60)
        curve = [report(index, final) for index in range(1, N_REPORTS + 1)]
        values = trial_values(plan, outcome, attempt=1) | {"reports": [vars(one) for one in curve]}
        reached = {one.index: one.r2 for one in curve}
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=final,
                params=point,
                distributions=dict(params),
                user_attrs=values,
                intermediate_values=reached,
            )
        )


def replicate(paths: SweepPaths, n_first: int, n_wanted: int) -> None:
    """Copy the rows of the first `n_first` trials, with new numbers, until there are `n_wanted` trials."""
    with statements(paths) as do:
        n_now = do("SELECT count(*) FROM trials").scalar()
        low, high = do("SELECT min(trial_id), max(trial_id) FROM trials").one()
        when = "datetime_start, datetime_complete"
        assert high - low + 1 == n_now
        for copied in range(n_now, n_wanted, n_first):
            some = f"trial_id < {low + min(n_first, n_wanted - copied)}"
            do(
                f"INSERT INTO trials (trial_id, number, study_id, state, {when}) "
                f"SELECT trial_id + {copied}, number + {copied}, study_id, state, {when} FROM trials WHERE {some}"
            )
            for table, columns in TABLES.items():
                into = f"INSERT INTO {table} (trial_id, {columns})"
                do(f"{into} SELECT trial_id + {copied}, {columns} FROM {table} WHERE {some}")
            for key, more in (("iteration", copied), ("batch", copied // 4)):
                do(
                    "UPDATE trial_user_attributes "
                    f"SET value_json = CAST(CAST(value_json AS INTEGER) + {more} AS VARCHAR) "
                    f"WHERE key = '{key}' AND trial_id >= {low + copied}"
                )


@contextlib.contextmanager
def statements(paths: SweepPaths) -> Iterator[Callable[[str], Any]]:
    """A function that runs SQL statements on the tables of the sweep's storage, in one transaction."""
    address = with_driver(os.environ.get(STORAGE_URL_VARIABLE) or sqlite_url(paths.study_db))
    engine = sqlalchemy.create_engine(address, **engine_settings(address))
    with engine.begin() as connection:
        yield lambda statement: connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def step_times(cfg: Config, paths: SweepPaths) -> list[float]:
    """The CPU seconds of each step of a sweep on the study as it is."""
    storage = open_storage(None, paths)
    study, start, *_ = begun(cfg, paths, "block_01", storage)
    studies, view = {1: study}, ProgressView(cfg, paths, storage)
    resumed = took(lambda: begun(cfg, paths, "block_01", open_storage(None, paths))[2].resume(study, start))
    batch = 1 + max(trial.batch for trial in read_trials(study))
    ask = functools.partial(plan_batch, study, start.space.dimensions, make_proposer(cfg), 4, base=start.base, left=12)
    asking = took(lambda: ask(strategy=cfg.claude.strategy))
    assert not read_plan(study, batch)
    return [
        asking,
        *(took(lambda: write_record(paths, studies, {})) for _ in range(2)),
        took(lambda: write_report(paths, OutputPaths(paths.root.parent), studies, {})),
        *(took(lambda: view.update(studies, {})) for _ in range(2)),
        resumed,
        *report_times(cfg, paths, study, batch),
    ]


def report_times(cfg: Config, paths: SweepPaths, study: Study, batch: int) -> list[float]:
    """The CPU seconds of a trial's first report, at which its worker reads the study, and of the next one."""
    config = read_trials(study)[0].plan.config
    plan = records.TrialPlan(1, config, batch=batch, slot=0, n_training_frames=100, seed=42, strategy="tree")
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=trial_values(plan, attempt=1)))
    number = len(study.get_trials(deepcopy=False)) - 1
    storage = open_storage(None, paths, existing=True)
    own = load(storage, "block_01", pruner=make_pruner(cfg, may_pause=False), sampler=optuna.samplers.RandomSampler())
    assert own is not None
    worker = Worker(storage, own, number, 1)
    times = [took(functools.partial(worker.on_report, report(index, 0.9))) for index in (1, 2)]
    with statements(paths) as do:
        for table in (*TABLES, "trials"):
            do(f"DELETE FROM {table} WHERE trial_id = (SELECT max(trial_id) FROM trials)")
    return times


def took(act: Callable[[], object]) -> float:
    """The CPU seconds that a call takes."""
    before = time.process_time()
    act()
    return time.process_time() - before


if __name__ == "__main__":
    main()
