"""What a person writes into a running sweep's file is done once, answered, and never in the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from planted import config_of
from untrained import pend, run

from siren_sweep.config import parameters
from siren_sweep.config.schema import Block
from siren_sweep.paths import SweepPaths
from siren_sweep.search.proposal import ASKED_FOR
from siren_sweep.search.space import make_space
from siren_sweep.study import records
from siren_sweep.study.stored import write_plan
from siren_sweep.study.stored_trials import trial_values
from siren_sweep.study.studies import all_blocks, create, instructions, open_storage, study_name
from siren_sweep.sweep import user_input
from siren_sweep.sweep.block import BlockStart
from siren_sweep.sweep.instructions import Instructions, _Block
from siren_sweep.sweep.worker import Worker
from siren_sweep.train.report import Report
from siren_sweep.views.blocks import read_blocks
from siren_sweep.views.record.writer import record_files

WIDTH, DEPTH, OMEGA = parameters.HIDDEN_DIM, parameters.N_LAYERS, parameters.OMEGA
T_PERIOD, XY_PERIOD, WINDOW = parameters.T_PERIOD, parameters.XY_PERIOD, parameters.WINDOW
RATE, BATCH, STEPS = parameters.RATE, parameters.BATCH_SIZE, parameters.TOTAL_STEPS
BASE = config_of(
    hidden_dim=16, n_layers=1, omega=30.0, T_period=4.0, xy_period=16.0, lr=3e-4, batch_size=4, total_steps=40
)
TEXTS = {WIDTH: "choice(8, 16)", OMEGA: "tag(log, interval(5, 4096))", "T_period_ratio": "tag(log, interval(1, 300))"}
N_ITER = 8


class Sweep:
    """A sweep's storage, file and first block, without its training."""

    def __init__(self, folder: Path) -> None:
        self.paths = SweepPaths(folder)
        folder.mkdir()
        self.space = make_space(Block(4, 40), TEXTS, BASE, set())
        self.start = BlockStart(1, self.space, self.space.nearest(BASE), [])
        self.restart()
        self.instructions.take(self.start, self.study)

    def restart(self) -> None:
        """A new process."""
        self.storage = open_storage(None, self.paths)
        settings = {"claude.n_iter_block": N_ITER}
        self.study = create(self.storage, study_name(1), records.Block(1, 4, settings=settings))
        self.instructions = Instructions(self.storage, self.paths, N_ITER)

    def ask(self, *lines: str) -> None:
        """Write instructions, and let the sweep come to its next batch."""
        pend(self.paths.user_input, *lines)
        self.instructions.take(self.start, self.study)

    def finish(self, omega: float = 30.0) -> None:
        """A trial that has run."""
        params = self.start.base | {OMEGA: omega}
        self.study.add_trial(
            create_trial(
                value=0.5 + 0.01 * len(self.study.trials),
                params=params,
                distributions=self.space.dimensions,
                user_attrs=trial_values(records.TrialPlan(1, self.space.config(params))),
            )
        )

    def answers(self) -> list[str]:
        text = self.paths.user_input.read_text().partition("## Acknowledged")[2]
        return [line.partition(" -> ")[2] for line in text.splitlines() if " -> " in line]

    def pending(self) -> list[str]:
        return user_input.pending_lines(self.paths.user_input.read_text())


@pytest.mark.parametrize(("strategy", "goes_on"), [(ASKED_FOR, True), ("ucb_tree", False)])
def test_a_config_that_was_asked_for_is_run_to_its_end(sweep: Sweep, strategy: str, goes_on: bool) -> None:
    plan = records.TrialPlan(1, sweep.space.config(sweep.start.base), strategy=strategy)
    sweep.study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=trial_values(plan, attempt=1)))
    sweep.study.pruner = optuna.pruners.ThresholdPruner(lower=2.0)  # which stops whatever reports
    worker = Worker(sweep.storage, sweep.study, 0, 1)
    assert (worker.on_report(Report(1, 0.05, 2, 0.5, 0.1, 1e-3, 9.0, 1.0)) is None) == goes_on


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path / "s")


def test_the_file_is_there_from_the_start(sweep: Sweep) -> None:
    assert "bound learning_rate_NNR_f" in sweep.paths.user_input.read_text()
    assert instructions(all_blocks(sweep.storage)) == []


def test_every_line_is_answered_in_its_order_with_what_was_done_or_why_not(sweep: Sweep) -> None:
    sweep.finish()
    sweep.ask("more 3", "make it better", "fix omega_f = 2", "bound omega_f 1 .. 50", "fix xy = 3", "fix omega_f = 30")
    when = "before the first batch of block 1"
    assert sweep.answers() == [
        f"block 1 has the steps of 11 full trials (no. 1, {when})",
        "not done: must begin with fix, bound, try or more, or be 'stop block' or 'end sweep' " + f"(no. 2, {when})",
        f"not done: omega_f must lie in 5 .. 4096 in this block, got 2 (no. 3, {when})",
        f"from now on omega_f is 5 .. 50 (no. 4, {when})",
        sweep.answers()[4],
        f"from now on omega_f is 30 (no. 6, {when})",
    ]
    assert "the parameters are" in sweep.answers()[4]
    assert sweep.pending() == []
    assert sweep.instructions.n_trials(1) == N_ITER + 3
    assert sweep.instructions.part_of(sweep.space).dimensions[OMEGA].single()


def test_a_limit_holds_in_later_blocks_and_in_later_processes(sweep: Sweep) -> None:
    sweep.ask("bound nnr_f_T_period 2 .. 4")
    sweep.restart()
    later = make_space(Block(100, 40), TEXTS, BASE, set())
    distribution = sweep.instructions.part_of(later).dimensions["T_period_ratio"]
    assert (distribution.low, distribution.high) == (25.0, 50.0)


def test_a_config_is_tried_beside_what_is_asked_of_the_others(sweep: Sweep) -> None:
    sweep.finish()
    sweep.ask("fix omega_f = 50", "try omega_f = 100, hidden_dim_nnr_f = 8", "try hidden_dim_nnr_f = 8")
    assert sweep.instructions.wanted(1) == [
        sweep.start.base | {OMEGA: 100.0, WIDTH: 8},
        sweep.start.base | {OMEGA: 50.0, WIDTH: 8},
    ]
    assert sweep.instructions.wanted(2) == []
    assert sweep.instructions.n_trials(1) == N_ITER


def test_a_config_that_ran_or_waits_or_cannot_be_is_not_tried(sweep: Sweep) -> None:
    sweep.finish()
    sweep.ask("try omega_f = 30", "try omega_f = 40", "try omega_f = 40", "try omega_f = 1, hidden_dim_nnr_f = 9")
    first, _, third, fourth = sweep.answers()
    assert "trial 0 of this block has this config" in first
    assert "it was asked for already" in third
    assert "omega_f must lie in 5 .. 4096" in fourth
    assert "hidden_dim_nnr_f must be one of 8, 16" in fourth
    assert len(sweep.instructions.wanted(1)) == 1


def test_a_full_block_gets_a_trial_more_for_what_is_to_be_tried(sweep: Sweep) -> None:
    for omega in range(10, 10 + N_ITER):
        sweep.finish(omega=float(omega))
    sweep.ask("try omega_f = 40", "try omega_f = 41")
    assert sweep.instructions.n_trials(1) == N_ITER + 2
    assert all("one trial more" in answer for answer in sweep.answers())


def test_open_trials_count_whole_where_a_block_is_asked_whether_it_is_full(sweep: Sweep) -> None:
    """As the planner counts them: a trial that is under way leaves no steps for another one."""
    for omega in range(10, 10 + N_ITER - 2):
        sweep.finish(omega=float(omega))
    opened = []
    for slot, omega in enumerate((30.0, 31.0)):
        params = sweep.start.base | {OMEGA: omega}
        plan = records.TrialPlan(8, sweep.space.config(params), batch=2, slot=slot)
        reports = [vars(Report(1, 0.05, 2, 0.5, 0.1, 1e-3, 9.0, 1.0))]
        own = {**trial_values(plan, attempt=1), "reports": reports}
        sweep.study.add_trial(
            create_trial(state=TrialState.RUNNING, params=params, distributions=sweep.space.dimensions, user_attrs=own)
        )
        opened.append(records.PlannedTrial(params, plan))
    write_plan(sweep.study, opened)
    sweep.ask("try omega_f = 40")
    assert sweep.instructions.n_trials(1) == N_ITER + 1
    assert "one trial more" in sweep.answers()[0]


def test_a_block_without_a_result_is_not_stopped(sweep: Sweep) -> None:
    sweep.ask("stop block", "more 1")
    assert "once a trial of it has finished" in sweep.answers()[0]
    assert not sweep.instructions.stop_block(1)
    assert sweep.instructions.n_trials(1) == N_ITER + 1


def test_what_cannot_be_done_any_more_beside_a_stop_is_refused(sweep: Sweep) -> None:
    sweep.finish()
    sweep.ask("try omega_f = 40", "stop block", "more 1")
    assert ["not done: the block ends now, by 'stop block'" in one for one in sweep.answers()] == [True, False, True]
    assert sweep.instructions.stop_block(1)
    assert not sweep.instructions.stop_block(2)
    assert not sweep.instructions.end_sweep(1)


def test_the_end_of_the_sweep_ends_the_block_too_and_survives_a_crash(sweep: Sweep) -> None:
    sweep.finish()
    sweep.ask("end sweep")
    for _ in range(2):
        assert sweep.instructions.stop_block(1)
        assert sweep.instructions.end_sweep(1)
        assert not sweep.instructions.end_sweep(2)
        sweep.restart()
        sweep.instructions.take(sweep.start, sweep.study)


def test_an_end_before_a_block_has_a_result_concerns_one_process(sweep: Sweep) -> None:
    sweep.ask("end sweep")
    assert sweep.instructions.end_sweep(1)
    sweep.restart()
    assert not sweep.instructions.stop_block(1)  # asked where settings change, before the file is read
    sweep.instructions.take(sweep.start, sweep.study)
    assert not sweep.instructions.end_sweep(1)
    assert not sweep.instructions.stop_block(1)


def test_a_crash_before_the_answer_is_written_neither_loses_nor_doubles(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    pend(sweep.paths.user_input, "more 8", "nonsense", "nonsense")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(user_input, "replacing", crash)
        with pytest.raises(KeyboardInterrupt):
            sweep.ask()
    assert sweep.pending() == ["more 8", "nonsense", "nonsense"]
    sweep.restart()
    sweep.ask()
    assert sweep.pending() == []
    assert len(sweep.answers()) == 3
    assert sweep.instructions.n_trials(1) == N_ITER + 8


def test_a_crash_after_the_answer_is_written_neither_loses_nor_doubles(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = optuna.Study.set_user_attr

    def crash(study: optuna.Study, key: str, value: Any) -> None:
        if key == "instructions_answered":
            raise KeyboardInterrupt
        write(study, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "set_user_attr", crash)
        with pytest.raises(KeyboardInterrupt):
            sweep.ask("more 8")
    sweep.restart()
    sweep.ask("more 8")  # again, by the person
    assert [answer.partition(" (")[0] for answer in sweep.answers()] == [
        "block 1 has the steps of 16 full trials",
        "block 1 has the steps of 24 full trials",
    ]
    assert sweep.instructions.n_trials(1) == N_ITER + 16


def test_a_file_that_cannot_be_written_is_told_once_and_acted_on_once(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: Path) -> None:
        raise user_input.OutputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(user_input, "replacing", full)
        for _ in range(3):
            sweep.instructions.take(sweep.start, sweep.study)
        sweep.ask("more 8")
        sweep.ask()
        sweep.restart()
        capsys.readouterr()
        sweep.ask()
        sweep.ask()
        assert capsys.readouterr().err.count("the disk is full") == 1
    assert sweep.instructions.n_trials(1) == N_ITER + 8
    sweep.ask()
    assert sweep.pending() == []
    assert len(sweep.answers()) == 1


@pytest.mark.parametrize("content", [b"\0\1", b"## Pending\n\xff", b"stop block\n"])
def test_a_broken_file_is_told_once_and_left_as_it_is(
    content: bytes, sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.finish()
    sweep.paths.user_input.write_bytes(content)
    for _ in range(3):
        sweep.instructions.take(sweep.start, sweep.study)
    assert capsys.readouterr().err.count("user_input.md") == 1
    assert sweep.paths.user_input.read_bytes() == content
    assert not sweep.instructions.stop_block(1)


def test_a_folder_in_place_of_the_file_or_a_missing_file_does_not_stop_the_sweep(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.paths.user_input.unlink()
    sweep.paths.user_input.mkdir()
    sweep.instructions.take(sweep.start, sweep.study)
    sweep.paths.user_input.rmdir()
    sweep.instructions.take(sweep.start, sweep.study)
    told = capsys.readouterr().err
    assert "cannot be read" in told
    assert "user_input.md was gone; a new one is there" in told
    assert sweep.paths.user_input.is_file()


def test_an_instruction_after_the_end_is_answered_too(sweep: Sweep) -> None:
    pend(sweep.paths.user_input, "more 8")
    sweep.instructions.close(sweep.study)
    assert sweep.answers() == ["not done: the sweep is over (no. 1, after the last block)"]
    assert sweep.instructions.n_trials(1) == N_ITER


def test_the_record_names_what_was_asked_for(sweep: Sweep) -> None:
    sweep.ask("more 8")
    files = record_files("s", read_blocks(all_blocks(sweep.storage), {}))
    assert (
        'A person asked "more 8": block 1 has the steps of 16 full trials'
        in files["s_memory.md"].partition("### Emerging")[2]
    )


@pytest.mark.parametrize("sampler", ["ucb_tree", "tpe", "random"])
def test_a_sweep_keeps_to_what_was_asked_before_and_between_its_batches(
    sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s" / "user_input.md"
    pend(file, "bound omega_f 20 .. 40", "try omega_f = 100")
    said = {1: ["more 4", "fix nnr_f_T_period = 2", "go faster"], 2: ["try omega_f = 50", "bound omega_f 25 .. 27"]}
    blocks = run(tmp_path, said, monkeypatch, f"sampler={sampler}")
    assert [len(configs) for configs in blocks.values()] == [4 + 4 + 1, 4]
    wanted, *first = blocks[1][:4]
    assert wanted[OMEGA] == 100
    assert all(20 <= config[OMEGA] <= 40 for config in [*first, *blocks[1][4:8]])
    assert blocks[1][8][OMEGA] == 50
    assert all(config[T_PERIOD] == 2 for config in [*blocks[1][4:], *blocks[2]])
    assert all(25 <= config[OMEGA] <= 27 for config in blocks[2])
    assert len({tuple(config.items()) for configs in blocks.values() for config in configs}) == 13
    assert user_input.pending_lines(file.read_text()) == []
    assert file.read_text().count(" -> not done: must begin with") == 1


def test_a_stopped_block_is_followed_by_the_next_and_an_ended_sweep_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = ",".join(f"{{n_training_frames:{n},total_steps:40}}" for n in (4, 8, 16))
    more = [f"blocks.schedule=[{frames}]", "claude.n_iter_block=8"]
    said = {1: ["stop block"], 2: ["end sweep"]}
    blocks = run(tmp_path, said, monkeypatch, *more)
    assert [len(configs) for configs in blocks.values()] == [4, 4]
    assert [len(configs) for configs in run(tmp_path, {}, monkeypatch, *more).values()] == [4, 4, 8]


def test_a_sweep_that_crashed_at_an_instruction_proposes_what_the_undisturbed_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {1: ["bound omega_f 25 .. 27", "more 4", "try omega_f = 50"]}
    undisturbed = run(tmp_path / "a", said, monkeypatch)
    acknowledge = user_input.acknowledge

    def crash(file: Path, results: Sequence[tuple[str, str]]) -> str | None:
        if results:
            raise KeyboardInterrupt
        return acknowledge(file, results)

    with monkeypatch.context() as patch:
        patch.setattr(user_input, "acknowledge", crash)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "b", said, patch)
    assert run(tmp_path / "b", {}, monkeypatch) == undisturbed
    assert (tmp_path / "b/s/user_input.md").read_text() == (tmp_path / "a/s/user_input.md").read_text()


def test_a_ratio_s_values_are_those_for_the_windows_of_the_config() -> None:
    texts = {WINDOW: "choice(0, 125, 250)", "T_period_ratio": "tag(log, interval(1, 300))"}
    texts["total_steps_ratio"] = "choice(0.5, 1.0, 2.0)"
    space = make_space(Block(1000, 20_000), texts, BASE, set())
    best = BASE | {WINDOW: 125, T_PERIOD: 42.0, STEPS: 500}
    block = _Block(
        BlockStart(3, space, space.nearest(best), []), optuna.create_study(direction="maximize"), 8, None, []
    )
    for asked in ({T_PERIOD: 30.0}, {WINDOW: 250, STEPS: 500}, {WINDOW: 0, T_PERIOD: 500.0}):
        wanted = block.decide(user_input.Try("", asked)).wanted
        assert wanted is not None
        assert {name: space.config(wanted)[name] for name in asked} == pytest.approx(asked)
    with pytest.raises(ValueError, match=r"must be one of 250, 500, 1000 in this block, got 700 with windows of 125"):
        block.decide(user_input.Try("", {STEPS: 700}))
    block.records.append(records.Instruction(1, "", 3, 0, "", limit=(WINDOW, 125, 125)))
    with pytest.raises(ValueError, match=r"nnr_f_T_period must lie in 0\.416667 \.\. 125 in this block, got 900"):
        block.decide(user_input.Bound("", T_PERIOD, 900.0, 900.0))
