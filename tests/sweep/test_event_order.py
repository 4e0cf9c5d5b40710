"""A sweep cut off at any write, and going on, finds what an undisturbed one finds: over drawn orders of events."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.utils import JobReturn, JobStatus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from optuna.study import Study
from optuna.trial import Trial, TrialState

from siren_sweep.cli.main import conf_dir, typed
from siren_sweep.config.schema import Block, Config
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.search.proposal import Proposal
from siren_sweep.search.proposer import OneByOne
from siren_sweep.study.stored import mark_shown, read_block
from siren_sweep.study.stored_trials import read_trials
from siren_sweep.study.studies import (
    all_blocks,
    all_studies,
    load,
    n_left,
    open_batches,
    paused_trials,
    trial_id,
    winner,
)
from siren_sweep.sweep import batch, checks
from siren_sweep.sweep import loop as sweep
from siren_sweep.sweep.block import BlockStart
from siren_sweep.sweep.launcher_trainer import LauncherTrainer
from siren_sweep.sweep.open_trials import OpenTrials
from siren_sweep.sweep.planning import Planner
from siren_sweep.train.report import Report

WRITES = (
    "create_new_study",
    "create_new_trial",
    "set_study_user_attr",
    "set_trial_user_attr",
    "set_trial_state_values",
    "set_trial_intermediate_value",
)
SWEEP = [
    "blocks=tiny",
    "sampler=random",
    "asked_by=test_event_order.TakesUp",
    "claude.n_iter_block=6",
    "claude.n_validation_seeds=2",
    "tracking=none",
]
Table = list[tuple[object, ...]]


class Crash(BaseException):
    """The process ends here."""


class FragileStorage(InMemoryStorage):
    """Counts writes, and ends the process at a chosen one: before it, or after it and before the answer comes."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None  # writes until the crash; None: no crash
        self.after = False
        self.n_writes = 0


def _fragile(name: str) -> Any:
    def write(self: FragileStorage, *args: Any, **kwargs: Any) -> Any:
        self.n_writes += 1
        if self.left is not None:
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Crash
        result = getattr(InMemoryStorage, name)(self, *args, **kwargs)
        if self.left == 0:
            raise Crash
        return result

    return write


for _name in WRITES:
    setattr(FragileStorage, _name, _fragile(_name))


class TakesUp(OneByOne):
    """Takes up a paused trial in each batch, but for every third, which never go on."""

    def propose(self, study: Study, distributions: Mapping[str, Any], n: int, **more: Any) -> list[Proposal]:
        paused = [trial for trial in paused_trials(study) if trial.number % 3][:1]
        again = [Proposal(dict(one.params), "again", goes_on=one.number) for one in paused]
        return again + super().propose(study, distributions, n - len(again), **more)


class Workers:
    """A launcher whose jobs report three times and write what follows from their config; some die, once each.

    One that stops does so at its first report, and goes on for two more.
    """

    def __init__(self, storage: FragileStorage, deaths: set[int]) -> None:
        self._storage, self._deaths = storage, set(deaths)

    def launch(self, jobs: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
        return [self._run(dict(text.split("=", 1) for text in job)) for job in jobs]

    def _run(self, own: dict[str, str]) -> JobReturn:
        study = load(self._storage, own["trial.study"])
        assert study is not None
        number, attempt = int(own["trial.number"]), int(own["trial.attempt"])
        frozen = study.trials[number]
        trial = Trial(study, trial_id(self._storage, study, number))
        attributes = frozen.user_attrs
        digest = hashlib.sha256(json.dumps([attributes["config"], attributes["seed"]]).encode()).digest()
        value = digest[0] / 256
        place = (
            frozen.user_attrs["iteration"] + 100 * ("validation_of" in frozen.user_attrs) + frozen.user_attrs["slot"]
        )
        status = ("finished", "stopped", "failed", "stopped", "truncated")[digest[1] % 5]
        if status == "stopped" and "validation_of" in attributes:
            status = "finished"  # no pruner is asked there
        stints = attributes.get("stints") or []
        last = 1 if status == "stopped" and not stints else 3
        for index in range(1, last + 1):
            reports = [Report(at, at / 3, at, value, 0.1, 1e-3, 9.0, 1.0) for at in range(1, index + 1)]
            trial.set_user_attr("reports", [dataclasses.asdict(report) for report in reports])
            if index > (frozen.last_step or 0):
                trial.report(value * index / 3, step=index)
            if place in self._deaths and attempt == 1 and index == min(2, last):
                self._deaths.discard(place)
                return JobReturn(_return_value=RuntimeError("killed"), status=JobStatus.FAILED)
        if status == "stopped":
            status = "finished" if stints else status
            assert attempt > max((stint["attempt"] for stint in stints), default=0)
        metrics = {"final_r2": value} if status in ("finished", "truncated") else {}
        outcome = {"attempt": attempt, "status": status, "reason": "why", "metrics": metrics, "stop_step": last}
        trial.set_user_attr("outcome", outcome)
        return JobReturn(_return_value=None, status=JobStatus.COMPLETED)


class AnyOrder:
    """A trainer of a cluster: trials of all open batches end in any order, also those of later ones first."""

    def __init__(self, workers: Workers, seed: int) -> None:
        self._workers, self._rng = workers, random.Random(seed)

    def take_up(self, trials: OpenTrials) -> None: ...

    def train(self, trials: OpenTrials, numbers: Sequence[int], later: Sequence[int], n_threads: int) -> None:
        while trials.missing(numbers):
            missing = trials.missing([*numbers, *later])
            number = self._rng.choice(missing)
            self._workers.launch([trials.overrides(trials.begin_attempt(number), n_threads)], 0)
            if trials.trial(number).current is None:
                trials.count_death(number, "killed")

    def stop(self) -> None: ...


class ViewsOff(contextlib.nullcontext):  # type: ignore[type-arg]
    """A monitor that shows nothing: a block's views are made at once."""

    def __init__(self, cfg: Config, outputs: OutputPaths, paths: SweepPaths, storage: FragileStorage) -> None:
        super().__init__(self)
        self._storage = storage

    def record(self) -> None: ...

    def export(self, block: int) -> None: ...

    def show(self, block: int) -> None:
        mark_shown(all_blocks(self._storage)[block])


@pytest.fixture(scope="module")
def config() -> Config:
    with initialize_config_dir(conf_dir(), version_base="1.3"):
        return typed(compose("config", [*SWEEP, "dataset.path=unused"]))


@pytest.fixture(scope="module")
def views_off() -> Iterator[None]:
    """What only looks at the studies, and writes files, is not of interest here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "Monitor", ViewsOff)
        patch.setattr(sweep, "save_copy", lambda *_: None)
        yield


def run(config: Config, storage: FragileStorage, deaths: set[int], order: int | None = None) -> None:
    outputs = OutputPaths(Path("/nowhere"))
    overrides = checks.SweepOverrides()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "open_storage", lambda *_: storage)
        workers: Any = Workers(storage, deaths)
        trainer = LauncherTrainer(workers) if order is None else AnyOrder(workers, order)
        hashes = {1: "first", 2: "second", 3: "third"}
        sweep.Sweep(config, overrides, trainer, outputs, outputs.sweep("s"), hashes).run()


def table(storage: FragileStorage) -> Table:
    studies = [study for found in all_studies(storage) for study in found.values()]
    return [
        (study.study_name, trial.number, trial.state, json.dumps(trial.params, sort_keys=True), trial.value)
        for study in studies
        for trial in study.trials
    ]


@pytest.fixture(scope="module")
def undisturbed(config: Config, views_off: None) -> tuple[Table, int]:
    storage = FragileStorage()
    run(config, storage, set())
    gone_on = [trial for study in all_blocks(storage).values() for trial in read_trials(study) if trial.stints]
    assert len(gone_on) > 1
    assert {trial.state for trial in gone_on} == {TrialState.COMPLETE}
    return table(storage), storage.n_writes


def test_the_undisturbed_sweep_has_every_ending(undisturbed: tuple[Table, int]) -> None:
    states = [row[2] for row in undisturbed[0]]
    assert len(states) > 2 * (6 + 2), "what the paused ones have not run is there for others"
    assert {*states} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    crashes=st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=8),
    deaths=st.sets(st.integers(1, 12), max_size=4),
)
def test_any_order_of_crashes_and_deaths_leads_to_the_same_table(
    crashes: list[tuple[int, bool]], deaths: set[int], config: Config, undisturbed: tuple[Table, int]
) -> None:
    assert interrupted(config, crashes, deaths) == undisturbed[0]


def test_a_crash_at_each_single_write_leads_to_the_same_table(config: Config, undisturbed: tuple[Table, int]) -> None:
    expected, n_writes = undisturbed
    assert n_writes > 150
    for left in range(1, n_writes + 1, 5):
        for after in (False, True):
            assert interrupted(config, [(left, after)], set()) == expected


def test_a_sweep_that_is_extended_leads_to_the_same_table_wherever_it_is_cut_off(config: Config) -> None:
    longer = copy.deepcopy(config)
    longer.claude.n_iter_block += 5
    longer.blocks.schedule.append(Block(16, 40))
    storage = FragileStorage()
    run(config, storage, set())
    before, n_before = table(storage), storage.n_writes
    run(longer, storage, set())
    expected = table(storage)
    assert {*before} <= {*expected}
    blocks = all_blocks(storage)
    assert [n_left(read_trials(study), 11) for study in blocks.values()] == [0, 0, 0]
    assert all(read_block(study).ended and read_block(study).shown for study in blocks.values())
    assert {read_block(study).settings["claude.n_iter_block"] for study in blocks.values()} == {11}
    for number, study in all_studies(storage)[1].items():
        best = winner(blocks[number], study)
        assert best is not None
        assert sum(run.plan.validation_of == best.searched.number for run in read_trials(study)) == 2
    for left in range(1, storage.n_writes - n_before, 11):
        cut = FragileStorage()
        run(config, cut, set())
        cut.left, cut.after = left, left % 2 == 0
        with contextlib.suppress(Crash):
            run(longer, cut, set())
        cut.left = None
        run(longer, cut, set())
        assert table(cut) == expected


def test_with_several_batches_open_the_table_follows_from_no_order_of_ends_crashes_and_deaths(
    config: Config, views_off: None
) -> None:
    wide = copy.deepcopy(config)
    wide.claude.n_iter_block, wide.cluster.n_batches = 14, 3
    storage = FragileStorage()
    run(wide, storage, set(), order=0)
    expected, narrow = table(storage), copy.deepcopy(wide)
    narrow.cluster.n_batches = 1
    one_by_one = FragileStorage()
    run(narrow, one_by_one, set(), order=0)
    assert table(one_by_one) != expected, "what a batch is planned from differs"
    for study in all_blocks(storage).values():
        assert open_batches(study) == []
        assert any(trial.stints for trial in read_trials(study))
    for left in range(1, storage.n_writes, 45):
        crashes = [(left, left % 2 == 0), (left // 3 + 1, left % 2 == 1)]
        assert interrupted(wide, crashes, {left % 12, 7}, order=left) == expected


def test_a_batch_is_planned_from_one_reading_of_its_block_s_trials(
    config: Config, views_off: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many batches open it is their trials, which the storage reads anew each time, that take long."""
    read, asked, plan = FragileStorage.get_all_trials, list[int](), Planner.plan
    counts: list[int] = []

    def reading(storage: FragileStorage, study_id: int, *args: Any, **kwargs: Any) -> Any:
        asked.append(study_id)
        return read(storage, study_id, *args, **kwargs)

    def planning(planner: Planner, study: Study, start: BlockStart) -> bool:
        asked.clear()
        planned = plan(planner, study, start)
        if planned:
            counts.append(asked.count(storage.get_study_id_from_name(study.study_name)))
        return planned

    monkeypatch.setattr(FragileStorage, "get_all_trials", reading)
    monkeypatch.setattr(Planner, "plan", planning)
    storage, wide = FragileStorage(), copy.deepcopy(config)
    wide.cluster.n_batches = 3
    run(wide, storage, set(), order=0)
    assert counts == [1] * len(counts)
    assert len(counts) > 3


@pytest.mark.parametrize("within", [(Planner, "plan"), (OpenTrials, "begin_attempt"), (batch, "_tell")])
def test_ctrl_c_has_the_trainer_stop_wherever_it_comes(
    config: Config, views_off: None, within: tuple[Any, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[Any] = []

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(AnyOrder, "stop", lambda trainer: stopped.append(trainer))
    monkeypatch.setattr(*within, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(config, FragileStorage(), set(), order=0)
    assert len(stopped) == 1


def interrupted(config: Config, crashes: list[tuple[int, bool]], deaths: set[int], order: int | None = None) -> Table:
    """The table of a sweep that is cut off at each of `crashes` (at a write, before or after it), and goes on."""
    storage = FragileStorage()
    for left, after in [*crashes, (None, False)]:
        storage.left, storage.after = left, after
        with contextlib.suppress(Crash):
            run(config, storage, deaths, order)
    return table(storage)
