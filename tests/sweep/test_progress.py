"""What a sweep shows in the terminal: at every width each word whole, what waits as waiting, and times that add up."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from siren_sweep.config import schema
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.study.records import Block, Outcome, Stop, Trial, TrialPlan
from siren_sweep.study.stored_trials import trial_values
from siren_sweep.study.studies import create, study_name
from siren_sweep.sweep import monitor, progress, time_left
from siren_sweep.sweep.interrupts import AtOnce
from siren_sweep.sweep.lock import training
from siren_sweep.sweep.loop import how_ended
from siren_sweep.sweep.worker import why_stopped
from siren_sweep.train.report import Report, shown_r2, told_apart

CHANGE = "learning_rate_NNR_f: 0.001 -> 0.00056"


def report(index: int, r2: float) -> dict[str, float]:
    values = {"index": index, "fraction": index / 20, "step": 100 * index, "elapsed_s": 2.0 * index}
    return values | {"r2": r2, "mse": 0.1, "learning_rate": 1e-4, "steps_per_s": 9.0}


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    """A block with a finished trial, one that trains, and one that waits."""
    study = create(optuna.storages.InMemoryStorage(), study_name(1), Block(1, 10, "0"))
    config = {"claude.total_steps": 2000}
    for number in range(3):
        plan = TrialPlan(number + 1, config, n_training_frames=10, slot=number, mutation=CHANGE)
        trial = study.ask()
        metrics = {"final_r2": 1 - 4e-6, "training_time_min": 0.5}
        own = {0: Outcome(1, "finished", metrics=metrics)}.get(number)
        reports = [report(index, 1 - 3.8e-4) for index in range(1, 6)] if number < 2 else []
        for name, value in {**trial_values(plan, own, attempt=1), "reports": reports}.items():
            trial.set_user_attr(name, value)
        if number < 2:
            with training(tmp_path / f"block_01/trial_{number:04d}/trial.lock", 1):
                pass
    study.tell(0, 1 - 4e-6)
    return study


@pytest.mark.parametrize("width", [60, 80, 120])
def test_each_word_is_whole_and_what_waits_is_queued(
    width: int, study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    monkeypatch.setattr(progress, "Console", lambda stderr: console)
    cfg = schema.Config(claude=schema.Claude(n_parallel=2))
    cfg.blocks.schedule = [schema.Block(10, 2000), schema.Block(100, 2000)]
    view = progress.ProgressView(cfg, SweepPaths(tmp_path), study._storage)
    reads = 0

    def read(*of: object) -> dict[str, object]:
        nonlocal reads
        reads += 1
        return original(*of)

    original = study._storage.get_study_user_attrs
    monkeypatch.setattr(study._storage, "get_study_user_attrs", read)
    view.update({1: study}, {}, beside="the record")
    assert reads <= 2  # each takes 50 ms where two thousand trials were planned
    view.close()
    console.file = io.StringIO()
    assert view._live is not None
    console.print(view._live.renderable)
    lines = console.file.getvalue().splitlines()
    text = " ".join(" ".join(line.split()) for line in lines)
    assert max(map(len, lines)) <= width
    assert "block 1 of 2, 10 frames, 3 configs, 1.2 of 12 full trials, best R2 1 - 4.0e-06 (trial 0)" in text
    assert "left: 35 s in the batch, 4 min in the block, 8 min in the sweep" in text
    assert all(word in text for word in ("trial 1", "R2 1 - 3.8e-04", "30 s left", "trial 2", "queued", "the record"))
    assert "trial 0 " not in text.replace("(trial 0)", "")
    assert "starts" not in text
    assert ("learning_rate_NNR_f: 0.001" in text) == (width > 60)


def test_a_trial_that_ends_before_the_first_second_is_told_as_one_that_ended(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=out, width=80))
    monkeypatch.setattr(monitor, "INTERVAL_S", 60.0)
    ended = study.trials[1]

    def interrupted() -> None:
        with monitor.Monitor(schema.Config(), OutputPaths(tmp_path), SweepPaths(tmp_path), study._storage) as own:
            outcome = Outcome(1, "finished", metrics={"final_r2": 0.5, "training_time_min": 0.1})
            study._storage.set_trial_user_attr(ended._trial_id, "outcome", vars(outcome))
            study.tell(ended.number, 0.5)
            own._look()
            raise AtOnce

    with pytest.raises(AtOnce):
        interrupted()
    assert "going on: 1 trial has run before" in out.getvalue()
    assert "block 1  trial 1  R2 0.5000" in out.getvalue()


def test_an_interrupt_at_the_first_look_leaves_no_live_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=out, width=80, force_terminal=True))
    own = monitor.Monitor(
        schema.Config(), OutputPaths(tmp_path), SweepPaths(tmp_path), optuna.storages.InMemoryStorage()
    )

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(monitor, "all_studies", interrupted)
    with pytest.raises(KeyboardInterrupt):
        own.__enter__()
    assert "\x1b[?25h" in out.getvalue(), "the cursor is there again"


def test_what_a_paused_trial_took_is_foreseen_from_its_reports_and_not_taken_for_the_whole() -> None:
    reports = tuple(Report(index, index / 20, index, 0.5, 0.1, 1e-3, 1.0, 6.0 * index) for index in (1, 2))
    stopped = Outcome(1, "stopped", metrics={"training_time_min": 0.2})
    plan = TrialPlan(1, {"claude.total_steps": 20})
    paused = Trial(0, TrialState.RUNNING, None, {}, plan, attempt=1, reports=reports, outcome=stopped)
    assert time_left.took_s(paused) == pytest.approx(120)
    ended = dataclasses.replace(paused, outcome=Outcome(1, "finished", metrics={"training_time_min": 0.2}))
    assert time_left.took_s(ended) == pytest.approx(12)
    assert time_left.typical_s([paused], 40) == pytest.approx(240)


def test_a_message_is_cut_between_words_and_a_command_in_it_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(file=out, width=40, force_terminal=True))
    view = progress.ProgressView(schema.Config(), SweepPaths(tmp_path), optuna.storages.InMemoryStorage())
    command = "  siren-sweep sync '/a folder/with a long name/outputs/demo'"
    view.say(f"MLflow could not be reached; what is missing is sent by the next start, or by\n{command}")
    view.close()
    assert command in out.getvalue()
    assert "MLflow could not be reached; what is\r\n" in out.getvalue().replace("\n", "\r\n")


def test_a_solved_block_s_best_is_said_to_be_that_or_more() -> None:
    solved, stop = 0.9999, Stop(0.25, -0.05, bound=0.373, best=0.9999)
    said = (
        "stopped at 25% of its steps, R2 -0.0500: its final R2 is at most 0.3730, and the block's best is 1 - 1.0e-04"
    )
    assert why_stopped(stop, solved).endswith(said + " or more")
    assert why_stopped(stop, None).endswith(said)


def test_a_block_without_a_result_says_how_many_trials_ended_how() -> None:
    ends = [("stopped", f"stopped at {5 * n}% of its steps") for n in range(1, 9)] + [("failed", "out of memory")]
    trials = [
        Trial(n, TrialState.PRUNED, None, {}, TrialPlan(n, {}), outcome=Outcome(1, *end)) for n, end in enumerate(ends)
    ]
    assert how_ended(trials) == "8 stopped (stopped at 40% of its steps); 1 failed (out of memory)"


def test_slots_take_what_is_queued_as_they_become_free() -> None:
    assert time_left.queue_s([3, 1], [2, 2], 2) == 5
    assert time_left.queue_s([], [4, 4, 4], 2) == 8
    assert time_left.queue_s([], [], 2) == 0
    assert [time_left.duration(seconds) for seconds in (99, 100, 6000)] == ["99 s", "2 min", "1.7 h"]


def test_r2_near_1_is_told_by_its_distance_and_different_ones_differently() -> None:
    assert [shown_r2(value) for value in (-0.5, 0.98765, 0.99999, 1.0)] == ["-0.5000", "0.9877", "1 - 1.0e-05", "1"]
    now, bound, best = told_apart(0.9998, 1 - 2.04e-6, 1 - 1.96e-6)
    assert bound != best
    assert float(bound.removeprefix("1 - ")) > float(best.removeprefix("1 - "))
    assert now == "1 - 2.00e-04"
