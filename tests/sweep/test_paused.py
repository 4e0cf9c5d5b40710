"""A paused trial may go on, and is then what it would have been; one that never does ends with its block."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from hydra import compose, initialize_config_dir
from mlflow import MlflowClient
from optuna.trial import TrialState, create_trial
from pausing import PAUSED_AT
from planted import PlantedSweep, paused, ran
from processes import Home, ended, kill, until
from safetensors.torch import load_file
from torch import Tensor, equal

from siren_sweep.config.choices import Strategy
from siren_sweep.config.compose import conf_dir, typed
from siren_sweep.config.config_file import read_config
from siren_sweep.config.parameters import defaults
from siren_sweep.config.schema import N_REPORTS
from siren_sweep.field.dataset import field_of
from siren_sweep.paths import OutputPaths, SweepPaths, sqlite_url
from siren_sweep.search.proposal import ASKED_FOR, Proposal
from siren_sweep.study.records import Block, PlannedTrial, Stint, Trial, TrialPlan
from siren_sweep.study.stored import write_plan
from siren_sweep.study.stored_trials import read_trials, trial_values
from siren_sweep.study.studies import create, n_left, one_trial, open_storage, paused_trials
from siren_sweep.sweep import worker as sweep_worker
from siren_sweep.sweep.batch import run_batch
from siren_sweep.sweep.open_trials import OpenTrials
from siren_sweep.sweep.paused import give_up_beyond
from siren_sweep.sweep.planning import affordable, renumbered
from siren_sweep.sweep.worker import Interrupted, Worker, interrupt, run_trial
from siren_sweep.train.loop import train
from siren_sweep.views.blocks import read_blocks
from siren_sweep.views.report import figures
from siren_sweep.views.report.trial_facts import training_intervals

PRUNED, RUNNING = TrialState.PRUNED, TrialState.RUNNING
HERE = {"PYTHONPATH": str(Path(__file__).parents[1])}


@pytest.fixture(scope="module")
def command(own_data: list[str]) -> list[str]:
    """Batches of two; trial 1 pauses and goes on in the next batch, trials 3, 5 and so on pause for good."""
    schedule = "blocks.schedule=[{n_training_frames:8,total_steps:400}]"
    policies = ["pruner=none", "pruner._target_=pausing.OddOnes", "sampler=random", "asked_by=pausing.FirstAgain"]
    return ["-m", "blocks=tiny", *own_data, schedule, *policies, "claude.n_parallel=2"]


@pytest.fixture(scope="module")
def sweep(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with ended(Home(tmp_path_factory.mktemp("paused"), command, env=HERE)) as home:
        home.finish()
        yield home


def trials_of(home: Home) -> list[Trial]:
    (study,) = home.studies().values()
    return read_trials(study)


def weights_of(home: Home, number: int) -> dict[str, Tensor]:
    return load_file(home.paths.trial("block_01", number).weights)


def test_a_trial_that_paused_and_went_on_is_bit_equal_to_one_that_was_left_alone(sweep: Home, tmp_path: Path) -> None:
    trial = trials_of(sweep)[1]
    (stint,) = trial.stints
    assert (trial.plan.batch, stint.batch, stint.attempt, stint.fraction) == (1, 2, 1, PAUSED_AT / N_REPORTS)
    assert (trial.state, trial.attempt, trial.stop) == (TrialState.COMPLETE, 2, None)
    assert [report.index for report in trial.reports] == list(range(1, N_REPORTS + 1))
    cfg = read_config(sweep.paths.trial("block_01", 1).config)
    alone = train(field_of(cfg, OutputPaths(tmp_path)), cfg)
    assert trial.value == alone.final_r2
    assert [report.r2 for report in trial.reports] == [report.r2 for report in alone.reports]
    weights = weights_of(sweep, 1)
    assert weights.keys() == alone.state_dict.keys()
    assert all(equal(weights[name], alone.state_dict[name]) for name in weights)


def test_those_that_never_go_on_end_with_the_block_as_pruned_with_their_curve(sweep: Home) -> None:
    paused = [trial for trial in trials_of(sweep) if trial.state is TrialState.PRUNED]
    assert paused
    for trial in paused:
        assert trial.number % 2 == 1
        assert [report.index for report in trial.reports] == list(range(1, PAUSED_AT + 1))
        assert trial.value == trial.reports[-1].r2
        assert trial.outcome is not None
        assert trial.outcome.reason == f"stopped at 35% of its steps, R2 {trial.value:.4f}"
    assert not list(sweep.paths.root.rglob("checkpoint"))


def test_steps_that_paused_trials_have_not_run_go_to_more_configs(sweep: Home) -> None:
    trials = trials_of(sweep)
    (study,) = sweep.studies().values()
    assert len(trials) > 4
    assert len({tuple(trial.params.items()) for trial in trials}) == len(trials)
    assert sorted(trial.plan.iteration for trial in trials) == list(range(1, len(trials) + 1))
    assert sum(trial.spent for trial in trials) == pytest.approx(4, abs=0.5)
    assert n_left(read_trials(study), 4) == 0
    batches = [[trial for trial in trials if batch in (trial.plan.batch, trial.batch)] for batch in (1, 2)]
    assert [[trial.number for trial in batch] for batch in batches] == [[0, 1], [1, 2]]


def test_mlflow_has_one_run_and_one_curve_of_a_trial_that_paused(sweep: Home) -> None:
    client = MlflowClient(sqlite_url(OutputPaths(sweep.root / "out").mlflow_db))
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    known = {run.data.tags["key"]: run for run in runs}
    assert len(known) == len(runs) == 2 + len(trials_of(sweep))
    for trial in trials_of(sweep):
        run = known[f"block_01/trial_{trial.number:04d}"]
        assert run.info.status == ("KILLED" if trial.state is TrialState.PRUNED else "FINISHED")
        curve = client.get_metric_history(run.info.run_id, "r2")
        assert [point.step for point in curve] == [report.step for report in trial.reports]
        assert [point.timestamp for point in curve] == sorted(point.timestamp for point in curve)


def test_the_report_shows_where_a_curve_paused_and_went_on_and_when_each_slot_trained(sweep: Home) -> None:
    (block,) = read_blocks(sweep.studies(), {})
    trial = block.trials[1]
    (line,) = [one for one in figures.learning_curves(block).data if "trial 1:" in one.hovertemplate]
    (where,) = [at for at, size in enumerate(line.marker.size[:-1]) if size]
    assert where == PAUSED_AT - 1
    (first, second) = training_intervals(trial)
    assert first[2] < second[1] < second[2] == trial.told
    assert sum(len(trace.base) for trace in figures.timeline(block).data) == len(block.trials) + 1


@pytest.mark.slow
def test_a_sweep_killed_while_a_paused_trial_goes_on_finds_the_same(
    sweep: Home, command: list[str], tmp_path: Path
) -> None:
    longer = [*command, "training.checkpoint_every_s=0.2"]
    with ended(Home(tmp_path, longer, env=HERE)) as home:
        with home.start("tracking=none") as running:
            until(lambda: home.paths.study_db.exists() and _goes_on(home), "the second stint")
            kill(running)
            running.communicate()
        until(lambda: not home.processes(), "the workers' end")
        home.finish("tracking=none")
        home.assert_as(sweep.table())
        assert all(equal(value, weights_of(sweep, 1)[name]) for name, value in weights_of(home, 1).items())


def _goes_on(home: Home) -> bool:
    """Whether trial 1 has reported in its second stint."""
    try:
        trials = trials_of(home)
    except (ValueError, optuna.exceptions.StorageInternalError):  # the sweep makes its tables
        return False
    return len(trials) > 1 and bool(trials[1].stints) and len(trials[1].reports) > PAUSED_AT


def test_a_parent_of_the_same_batch_is_found_beside_those_that_go_on() -> None:
    def proposal(parent: int | None, goes_on: int | None = None) -> Proposal:
        return Proposal({}, "", parent, goes_on=goes_on)

    batch = [proposal(None, goes_on=3), proposal(2), proposal(None, goes_on=5), proposal(11), proposal(10)]
    assert [one.parent for one in renumbered(batch, 10)] == [None, 2, None, 10, 3]


def test_a_stint_begins_when_its_worker_does_and_not_when_it_was_planned(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path)
    study = sweep.begin(1)
    sweep.batch(1, [paused(attempt=2, stints=[vars(Stint(batch=2, slot=0, attempt=1, fraction=0.25, began=1.0))])])
    Worker(sweep.storage, study, 0, attempt=1)  # an old one, which comes late
    assert [stint.began for stint in read_trials(study)[0].stints] == [1.0]
    before = time.time()
    Worker(sweep.storage, study, 0, attempt=2)
    (stint,) = read_trials(study)[0].stints
    assert before <= stint.began <= time.time()
    assert (stint.batch, stint.attempt, stint.fraction) == (2, 1, 0.25)


def test_what_is_left_of_a_budget_is_used_up_and_a_child_follows_its_parent(tmp_path: Path) -> None:
    study = PlantedSweep(tmp_path / "s").begin(1)
    new = [Proposal({}, "tree", parent) for parent in (None, 0, 1, 0)]
    long, short = [1, 4], []
    assert affordable(study, new, 1, [long, long, short, long]) == [new[0], new[1], replace(new[3], parent=0)]
    assert affordable(study, new, 2, [short, short, long, long]) == new[:2]
    wanted = replace(new[0], strategy=ASKED_FOR)  # by a person, and run without a pause
    assert affordable(study, [wanted, new[0]], 1, [long, long]) == [wanted]


def test_checkpoints_of_paused_trials_are_bounded_and_the_most_promising_stay(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path)
    study = sweep.begin(1)
    bounds = {0: 0.9, 1: 0.99, 2: None, 3: 0.95}
    sweep.batch(1, [paused(bound) for bound in bounds.values()])
    for number in bounds:
        file = sweep.paths.trial(study.study_name, number).checkpoint
        file.parent.mkdir(parents=True)
        file.write_bytes(bytes(100))
    give_up_beyond(sweep.storage, study, sweep.paths, most_bytes=250)
    assert [trial.number for trial in paused_trials(study)] == [1, 2], "of those with a bound none ever goes on"
    assert [trial.state for trial in study.trials] == [PRUNED, RUNNING, RUNNING, PRUNED]
    assert [trial.value for trial in study.trials if trial.state is PRUNED] == [0.5, 0.5]
    left = sorted(file.parent.name for file in sweep.paths.root.rglob("checkpoint"))
    assert left == ["trial_0001", "trial_0002"]


def test_after_a_signal_results_are_written_and_failures_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_worker, "_interrupt", threading.Event())
    sweep = PlantedSweep(tmp_path)
    study = sweep.begin(1)
    sweep.batch(1, [{"state": RUNNING, "attempt": 1, "outcome": None}] * 2)
    ended, failed = (Worker(sweep.storage, study, number, attempt=1) for number in (0, 1))
    interrupt()
    ended.write("finished", None, {"final_r2": 0.9}, 20)
    outcome = one_trial(sweep.storage, study, 0).current
    assert outcome is not None
    assert outcome.r2 == 0.9
    with pytest.raises(Interrupted):
        ended.check_attempt()
    with pytest.raises(Interrupted):
        failed.write_failure("a process that trained windows has died")
    assert one_trial(sweep.storage, study, 1).current is None


def test_a_checkpoint_of_a_trial_that_ended_in_an_earlier_start_is_deleted(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path)
    study = sweep.begin(1)
    sweep.batch(1, [{"state": RUNNING, "attempt": 1, "outcome": ran(2.0)}, paused()])
    write_plan(study, [PlannedTrial({}, trial.plan) for trial in read_trials(study)])
    for trial in read_trials(study):
        file = sweep.paths.trial(study.study_name, trial.number).checkpoint
        file.parent.mkdir(parents=True)
        file.touch()
    run_batch(study, OpenTrials(sweep.storage, study, sweep.paths, []), Untrained(), 1)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, RUNNING]
    assert [file.parent.name for file in sweep.paths.root.rglob("checkpoint")] == ["trial_0001"]


def test_the_trial_with_the_most_work_begins_first_and_the_study_is_told_slot_by_slot(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path)
    study = sweep.begin(1)
    sweep.batch(1, [{"state": RUNNING, "attempt": 1, "outcome": ran(2.0)}] * 4)
    write_plan(study, [PlannedTrial({}, trial.plan) for trial in read_trials(study)])
    begun = list[int]()

    class Noted(Untrained):
        def train(self, trials: OpenTrials, numbers: Sequence[int], later: Sequence[int], n_threads: int) -> None:
            begun.extend(numbers)

    work = {0: 2.0, 1: 5.0, 2: 2.0, 3: 7.0}
    run_batch(
        study, OpenTrials(sweep.storage, study, sweep.paths, []), Noted(), 1, work=lambda trial: work[trial.number]
    )
    assert begun == [3, 1, 0, 2]
    ends = [trial.datetime_complete for trial in study.trials]
    assert ends == sorted(ends)


class Untrained:
    """Has nothing to train."""

    def take_up(self, trials: OpenTrials) -> None: ...

    def train(self, trials: OpenTrials, numbers: Sequence[int], later: Sequence[int], n_threads: int) -> None:
        assert not trials.missing(numbers)


@pytest.mark.parametrize(("parent", "n_reports"), [(None, N_REPORTS), (0, 1)])
def test_what_a_block_starts_from_runs_without_a_pause_and_its_variations_wait(
    parent: int | None, n_reports: int, own_data: list[str], tmp_path: Path
) -> None:
    outputs, paths = OutputPaths(tmp_path), SweepPaths(tmp_path / "s")
    paths.root.mkdir()
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        of_trial = [
            "trial.study=block_01",
            "trial.number=0",
            "trial.attempt=1",
            "trial.folder=t",
            "training.device=cpu",
        ]
        sizes = ["graph_model.hidden_dim_nnr_f=64", "graph_model.n_layers_nnr_f=1", "claude.total_steps=30000"]
        cfg = typed(compose("config", [*own_data, *of_trial, *sizes, "training.n_training_frames=8"]))
    storage = open_storage(None, paths)
    study = create(storage, "block_01", Block(1, 8))
    plan = TrialPlan(
        1, defaults(), strategy=Strategy.focused, parent=parent, data_hash=field_of(cfg, outputs).data_hash
    )
    study.add_trial(create_trial(state=RUNNING, user_attrs=trial_values(plan, attempt=1)))
    run_trial(cfg, outputs, paths)
    (trial,) = read_trials(study)
    assert len(trial.reports) == n_reports
