"""Processes of a sweep killed, stopped and starved: it still finds what an undisturbed one finds."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState
from processes import Home, Table, ended, kill, trial_of, until, workers

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

N_PARENT_KILLS, N_WORKER_KILLS = 7, 12  # a sweep
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def many_trials(long_command: list[str]) -> list[str]:
    return [*long_command, "claude.n_iter_block=48", "claude.n_validation_seeds=1", "tracking=none"]


@pytest.fixture(scope="module")
def undisturbed_many(many_trials: list[str], tmp_path_factory: pytest.TempPathFactory) -> Table:
    home = Home(tmp_path_factory.mktemp("undisturbed"), many_trials)
    home.finish()
    return home.table()


@pytest.fixture
def many(many_trials: list[str], tmp_path: Path) -> Iterator[Home]:
    with ended(Home(tmp_path, many_trials)) as own:
        yield own


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_at_random_moments_lose_nothing(seed: int, many: Home, undisturbed_many: Table) -> None:
    home, rng = many, random.Random(seed)
    struck: set[str] = set()  # trials that lost a worker: a second one would fail them, by the rule
    n_parents = 0
    while True:
        before = home.table() if home.paths.study_db.exists() else []
        with home.start() as sweep:
            last = n_parents == N_PARENT_KILLS
            anywhere = rng.random() < 0.3  # also while it starts
            if not anywhere and not last:
                until(lambda: workers(sweep) or sweep.poll() is not None, "workers")
            deadline = time.monotonic() + (600 if last else rng.uniform(0.0, 8.0 if anywhere else 4.0))
            while time.monotonic() < deadline and sweep.poll() is None:
                time.sleep(rng.uniform(0.05, 0.5))
                _strike_a_worker(sweep, struck, rng)
            if sweep.poll() is not None:
                assert sweep.returncode == 0, sweep.communicate()[1]
                break
            sweep.kill()
        n_parents += 1
        _assert_kept(before, home)
    home.assert_as(undisturbed_many)
    deaths = [len(trial.user_attrs.get("deaths", [])) for study in home.studies().values() for trial in study.trials]
    assert max(deaths) <= 1
    print(f"\nseed {seed}: {n_parents} parents and {len(struck)} workers killed")
    assert n_parents + len(struck) >= 17  # of the 50 that three seeds have together


def _strike_a_worker(sweep: subprocess.Popen[str], struck: set[str], rng: random.Random) -> None:
    if len(struck) >= N_WORKER_KILLS:
        return
    for worker in rng.sample(running := workers(sweep), len(running)):
        trial = trial_of(worker)
        if trial is not None and trial not in struck:
            struck.add(trial)
            kill(worker)
            return


def _assert_kept(before: Table, home: Home) -> None:
    """What was finished before a kill stands as it was."""
    if before:  # none before the first start
        finished = {row for row in before if row[2] in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)}
        assert finished <= set(home.table())


def test_a_worker_that_hangs_is_killed_at_its_limit_and_the_batch_goes_on(home: Home, undisturbed: Table) -> None:
    limits = (
        "import siren_sweep.sweep.hydra_jobs as jobs, siren_sweep.sweep.slots as launch; jobs.HARD_LIMIT_EXTRA_S = 60.0"
    )
    limits += "; jobs.HARD_LIMIT_FACTOR = 0.0; launch.GRACE_S = 1.0"
    home.program = ("-c", f"{limits}; from siren_sweep.cli.main import main; main()")
    with home.start("tracking=none") as sweep:
        until(home.reporting, "a report")
        until(lambda: workers(sweep), "workers")
        kill(workers(sweep)[0], signal.SIGSTOP)
        _, err = sweep.communicate(timeout=300)
    assert sweep.returncode == 0, err
    home.assert_as(undisturbed)
    deaths = [trial.user_attrs.get("deaths") for study in home.studies().values() for trial in study.trials]
    assert ["the worker was stopped at its hard limit of 1.0 minutes"] in deaths


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interrupt_stops_at_once(how: signal.Signals, home: Home, undisturbed: Table) -> None:
    with home.start("tracking=none") as sweep:
        until(home.reporting, "a report")
        until(lambda: workers(sweep), "workers")
        for worker in workers(sweep):  # so that none can end of itself, and the first signal waits for it
            kill(worker, signal.SIGSTOP)
        kill(sweep, how)
        time.sleep(2)
        assert sweep.poll() is None
        asked = time.monotonic()
        kill(sweep, how)
        _, err = sweep.communicate(timeout=60)
        assert time.monotonic() - asked < 10  # of the 20 s that workers are given
    assert sweep.returncode == 130, err
    assert "the same command goes on from here" in err
    assert "Traceback" not in err
    until(lambda: not home.processes(), "the end of all processes")
    home.finish("tracking=none")
    home.assert_as(undisturbed)


def test_a_config_that_takes_too_much_memory_fails_alone(home: Home) -> None:
    failed = _failed_of_two_widths(home, 0.75, n_layers=2)
    assert failed
    for trial in failed:
        assert trial.user_attrs["outcome"]["reason"].startswith("out of memory: the weights, their gradient")
        assert "deaths" not in trial.user_attrs


def test_an_allocation_that_fails_in_mid_training_fails_its_trial_alone(home: Home) -> None:
    """Weights, gradient and moments fit, and what else a run takes does not."""
    failed = _failed_of_two_widths(home, 1.2, n_layers=1)
    assert failed
    for trial in failed:
        assert trial.user_attrs["outcome"]["reason"].startswith("out of memory: ")
        assert "the weights, their gradient" not in trial.user_attrs["outcome"]["reason"]
        assert "deaths" not in trial.user_attrs


def _failed_of_two_widths(home: Home, gib: float, n_layers: int) -> list[FrozenTrial]:
    """Run the space of two configs, one of them huge, with so much memory a slot; the trials of that one.

    The small one must have run as if nothing had been.
    """
    seems = f"import siren_sweep.sweep.hydra_jobs as jobs; jobs.machine_bytes = lambda: int({gib} * 2 * 2**30)"
    home.program = ("-c", f"{seems}; from siren_sweep.cli.main import main; main()")
    pinned = {
        "graph_model.n_layers_nnr_f": n_layers,
        "graph_model.omega_f": 20,
        "graph_model.nnr_f_T_period": 8,
        "graph_model.nnr_f_xy_period": 16,
        "training.learning_rate_NNR_f": 1e-3,
        "training.inr_batch_size": 2,
        "claude.total_steps": 40,
    }
    space = ["graph_model.hidden_dim_nnr_f=choice(16,8192)", *(f"{name}={value}" for name, value in pinned.items())]
    home.finish(*space, "tracking=none")
    failed = []
    for study in home.studies().values():
        for trial in study.trials:
            if trial.user_attrs["config"]["graph_model.hidden_dim_nnr_f"] == 8192:
                assert trial.state is TrialState.FAIL
                failed.append(trial)
            else:
                assert trial.state is TrialState.COMPLETE
    return failed
