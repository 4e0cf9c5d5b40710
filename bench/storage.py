"""Measures a storage to which several workers report at once: reports a second, their latency, and errors.

    python bench/storage.py                                             sqlite, in a temporary folder
    python bench/storage.py --url postgresql+psycopg://user@host/db     a server

Each worker makes the twenty reports of a trial, as `Worker.on_report` does, but back to back, each of them stored, with
the default pruner.
The trials that are in the study before make every report look at that many curves.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np
import optuna
from optuna.trial import TrialState, create_trial

from siren_sweep.config.schema import N_REPORTS
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.search.pruner import UCBPruner
from siren_sweep.study.records import TrialPlan
from siren_sweep.study.stored_trials import trial_values
from siren_sweep.study.studies import create, load, open_storage
from siren_sweep.sweep import worker as worker_module
from siren_sweep.sweep.worker import Worker
from siren_sweep.train.provenance import cpu_name
from siren_sweep.train.report import Report


def main() -> None:
    """Print a table with a line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="of a database server (default: sqlite)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--finished", type=int, default=50, help="finished trials in the study (%(default)s)")
    options = parser.parse_args()
    print(f"{cpu_name()}, {os.cpu_count()} cores, {options.finished} finished trials")
    print(f"{'storage':12} {'workers':>7} {'reports/s':>9} {'median s':>9} {'99% s':>9} {'worst s':>9} {'errors':>6}")
    with tempfile.TemporaryDirectory() as folder:
        paths = OutputPaths(Path(folder)).sweep("bench")
        for n_workers in options.workers:
            seconds, latencies, n_errors = measure(options.url, paths, n_workers, options.finished)
            name = options.url.split(":")[0].split("+")[0] if options.url else "sqlite"
            rate = len(latencies) / seconds
            shown = " ".join(f"{value:9.3f}" for value in np.quantile(latencies, [0.5, 0.99, 1.0]))
            print(f"{name:12} {n_workers:7d} {rate:9.1f} {shown} {n_errors:6d}", flush=True)


def measure(url: str | None, paths: SweepPaths, n_workers: int, n_finished: int) -> tuple[float, list[float], int]:
    """The wall time in seconds, the latency of each report in seconds, and the number of reports that failed."""
    name = f"bench_{uuid.uuid4().hex}"
    study = create(open_storage(url, paths), name)
    curve = {index: index / N_REPORTS for index in range(1, N_REPORTS + 1)}
    for _ in range(n_finished):
        study.add_trial(create_trial(value=1.0, intermediate_values=curve))
    for _ in range(n_workers):
        study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=trial_values(TrialPlan(1, {}), attempt=1)))
    context = multiprocessing.get_context("fork")
    results: multiprocessing.queues.Queue[tuple[list[float], int]] = context.Queue()
    barrier = context.Barrier(n_workers + 1)
    processes = [
        context.Process(target=report_all, args=(url, paths, name, n_finished + index, barrier, results))
        for index in range(n_workers)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    before = time.monotonic()
    parts = [results.get() for _ in processes]
    seconds = time.monotonic() - before
    for process in processes:
        process.join()
    return seconds, [value for latencies, _ in parts for value in latencies], sum(errors for _, errors in parts)


def report_all(url, paths, name, number, barrier, results) -> None:  # type: ignore[no-untyped-def]
    """The main function of a worker process: make the reports of one trial."""
    storage = open_storage(url, paths, existing=True)
    study = load(storage, name, pruner=UCBPruner(), sampler=optuna.samplers.RandomSampler())
    assert study is not None
    worker_module.PAUSE_S = 0.0
    worker, latencies, n_errors = Worker(storage, study, number, 1), [], 0
    barrier.wait()
    for index in range(1, N_REPORTS + 1):
        report = Report(index, index / N_REPORTS, index, index / N_REPORTS, 0.0, 0.0, 1.0, float(index))
        before = time.monotonic()
        try:
            worker.on_report(report)
        except Exception as error:
            n_errors += 1
            print(f"{type(error).__name__}: {error}"[:200])
        latencies.append(time.monotonic() - before)
    results.put((latencies, n_errors))


if __name__ == "__main__":
    main()
