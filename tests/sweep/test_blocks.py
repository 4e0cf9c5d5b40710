"""What a block starts from, and when it ends."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from siren_sweep.config.parameters import T_PERIOD, TOTAL_STEPS
from siren_sweep.config.schema import Block, Blocks, Config, Dataset, SearchSpace
from siren_sweep.study.records import Outcome, TrialPlan
from siren_sweep.study.stored_trials import read_trials, trial_values
from siren_sweep.study.studies import n_left
from siren_sweep.sweep.block import filled, start_block, start_config
from siren_sweep.sweep.checks import SweepOverrides, all_faults, fit_blocks, sort_overrides, sweep_texts
from siren_sweep.train.report import Report

TEXTS = {"graph_model.omega_f": "tag(log,interval(5,500))", "T_period_ratio": "tag(log,interval(1,300))"}
START = {"graph_model.omega_f": 20.0, "training.learning_rate_NNR_f": 2e-4}
START_FROM = {
    1000: {"graph_model.omega_f": 30, "total_steps_ratio": 2},
    100: {"graph_model.omega_f": 25, "T_period_ratio": 4},
}


def config() -> Config:
    schedule = [Block(10, 500), Block(100, 700)]
    return Config(blocks=Blocks(schedule=schedule), search_space=SearchSpace(start=START, start_from=START_FROM))


def test_the_first_block_starts_where_the_search_space_says() -> None:
    start = start_block(config(), 1, TEXTS, {}, None)
    assert start.base == {"graph_model.omega_f": 20.0, "T_period_ratio": 1.0}
    assert start.carried == []
    assert start.space.config(start.base)[T_PERIOD] == 10.0
    assert start.space.config(start.base)[TOTAL_STEPS] == 500


@pytest.mark.parametrize(
    ("n_frames", "frames"), [(64000, [10, 100]), (100, [10, 100]), (68, [10, 68]), (10, [10]), (7, [7])]
)
def test_data_fill_the_blocks_as_far_as_they_go(n_frames: int, frames: list[int]) -> None:
    blocks = filled(config().blocks.schedule, n_frames)
    assert [block.n_training_frames for block in blocks] == frames
    assert [block.total_steps for block in blocks] == [500, 700][: len(frames)]


@pytest.mark.parametrize(
    ("typed", "frames"), [([], [10, 16]), (["blocks=demo"], [10, 16]), (["blocks.schedule=[]"], [10, 100])]
)
def test_a_schedule_that_was_typed_stands_whatever_the_data(
    typed: list[str], frames: list[int], field_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = config()
    cfg.dataset = Dataset(path=str(field_folder))
    fit_blocks(cfg, sort_overrides(typed))
    assert [block.n_training_frames for block in cfg.blocks.schedule] == frames
    assert capsys.readouterr().err == ("the data have 16 frames: blocks of 10, 16\n" if frames[-1] == 16 else "")


def test_a_value_that_the_config_sets_counts_more_than_the_start() -> None:
    cfg = config()
    cfg.graph_model.omega_f = 30.0
    assert start_config(cfg, Block(10, 500))["graph_model.omega_f"] == 30.0


def test_a_start_for_more_frames_adds_to_those_for_fewer() -> None:
    at = {frames: start_config(config(), Block(frames, 500)) for frames in (99, 100, 64000)}
    assert [at[frames]["graph_model.omega_f"] for frames in at] == [20.0, 25.0, 30.0]
    assert [at[frames][T_PERIOD] for frames in at] == [99.0, 25.0, 16000.0]
    assert [at[frames][TOTAL_STEPS] for frames in at] == [500, 500, 1000]
    assert {start["training.learning_rate_NNR_f"] for start in at.values()} == {2e-4}


def test_a_space_may_be_another_from_a_number_of_frames_on() -> None:
    cfg = config()
    cfg.search_space.params = {"graph_model.omega_f": "choice(1,2)", "T_period_ratio": "choice(3,4)"}
    cfg.search_space.params_from = {100: {"graph_model.omega_f": "choice(5,6)"}}
    overrides = SweepOverrides(swept={"T_period_ratio": "choice(7,8)"})
    first, second = (sweep_texts(cfg, overrides, block) for block in cfg.blocks.schedule)
    assert first == {"graph_model.omega_f": "choice(1,2)", "T_period_ratio": "choice(7,8)"}
    assert second == {"graph_model.omega_f": "choice(5,6)", "T_period_ratio": "choice(7,8)"}
    assert not [fault for fault in all_faults(cfg, overrides) if "search_space" in fault]
    cfg.search_space.params_from[1000] = {"graph_model.width": "choice(1)", "graph_model.omega_f": "choice("}
    cfg.search_space.start_from[1000] = {"graph_model.omega_f": "fast", "T_period_ratio": 0}
    rules = ["params_from.1000 may hold only", "params_from.1000.graph_model.omega_f must be a sweep"]
    rules += ["start_from.1000.graph_model.omega_f must be a number, got 'fast'"]
    rules += ["start_from.1000.T_period_ratio must be greater than 0, got 0"]
    for rule in rules:
        assert sum(f"search_space.{rule}" in fault for fault in all_faults(cfg, overrides)) == 1


def test_a_later_block_carries_the_best_with_both_periods() -> None:
    first = start_block(config(), 1, TEXTS, {}, None)
    best = first.space.config({"graph_model.omega_f": 44.0, "T_period_ratio": 2.5})
    second = start_block(config(), 2, TEXTS, {}, best)
    assert second.carried == [
        {"graph_model.omega_f": 44.0, "T_period_ratio": 1.0},
        {"graph_model.omega_f": 44.0, "T_period_ratio": 25.0},
        {"graph_model.omega_f": 25.0, "T_period_ratio": 4.0},
    ]
    assert second.base == second.carried[0]
    assert [second.space.config(params)[T_PERIOD] for params in second.carried] == [100.0, 4.0, 25.0]
    assert second.space.config(second.base)[TOTAL_STEPS] == 700


def test_the_best_of_a_block_takes_the_same_share_of_the_next_one_s_steps() -> None:
    texts = TEXTS | {"total_steps_ratio": "choice(0.25, 0.5, 1.0)"}
    first = start_block(config(), 1, texts, {}, None)
    best = first.space.config(first.base | {"total_steps_ratio": 0.5})
    second = start_block(config(), 2, texts, {}, best)
    assert [second.space.config(params)[TOTAL_STEPS] for params in second.carried] == [350, 350, 700]
    pinned = start_block(config(), 2, TEXTS, {TOTAL_STEPS: 400}, best)
    assert pinned.space.config(pinned.base)[TOTAL_STEPS] == 400


def test_a_pinned_period_stays_what_the_person_said() -> None:
    start = start_block(config(), 2, TEXTS, {T_PERIOD: 300.0}, None)
    assert start.space.config(start.base)[T_PERIOD] == 300.0


def test_a_block_s_budget_is_used_up_whatever_becomes_of_its_trials() -> None:
    left = []
    study = optuna.create_study(direction="maximize")
    for number, (status, state) in enumerate((("finished", "COMPLETE"), ("failed", "FAIL"), ("stopped", "PRUNED"))):
        reports = [vars(Report(at, at / 20, at, 0.5, 0.1, 1e-3, 9.0, 1.0)) for at in range(1, 16)]
        values = trial_values(TrialPlan(number + 1, {}, slot=number), Outcome(1, status), attempt=1)
        own = values | ({"reports": reports} if status == "stopped" else {})
        study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs=own))
        value = 0.5 if status == "finished" else None
        study.tell(number, value, state=optuna.trial.TrialState[state])
        left.append(n_left(read_trials(study), 3))
    assert left == [2, 1, 0]
