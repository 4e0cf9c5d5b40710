"""Whole training runs: what they report, keep, resume and refuse. Tiny networks on a small moving pattern."""

from __future__ import annotations

import dataclasses
import errno
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from fields import make_field_folder
from killed import Killed, kill_at
from sklearn.metrics import mean_squared_error, r2_score

from siren_sweep.config.checks import trial_config
from siren_sweep.config.schema import Config, TrialConfig, TrialId
from siren_sweep.errors import OutputError
from siren_sweep.field import Scaling, StimulusField, cut, open_field
from siren_sweep.paths import TrialPaths
from siren_sweep.train import loop as train_module
from siren_sweep.train import run as run_module
from siren_sweep.train.engine.checkpoint import discard
from siren_sweep.train.engine.evaluate import report_frames
from siren_sweep.train.loop import train
from siren_sweep.train.metrics import Metrics
from siren_sweep.train.report import Report, Status, TrainResult, where_to_look
from siren_sweep.train.run import run_training
from siren_sweep.train.siren import Siren, normalised

N_FRAMES = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_field_folder(tmp_path_factory.mktemp("field"), n_frames=N_FRAMES, n_columns=7, n_types=3, noise=0.02)


@pytest.fixture(scope="module")
def field(folder: Path) -> StimulusField:
    return open_field(folder, n_frames=N_FRAMES, n_input_neurons=21, cache_dir=None)


def config(total_steps: int = 200, time_budget_min: float = 60, **training: Any) -> TrialConfig:
    return trial_config(
        {
            "graph_model": {
                "hidden_dim_nnr_f": 16,
                "n_layers_nnr_f": 1,
                "omega_f": 10,
                "nnr_f_T_period": N_FRAMES,
                "nnr_f_xy_period": 8,
            },
            "training": {"n_training_frames": N_FRAMES, "learning_rate_NNR_f": 3e-3, **training},
            "claude": {"total_steps": total_steps, "time_budget_min": time_budget_min},
        }
    )


def same_weights(one: TrainResult, other: TrainResult) -> bool:
    return all(torch.equal(value, other.state_dict[key]) for key, value in one.state_dict.items())


def test_final_metrics_are_exact_for_the_weights_that_are_kept(folder: Path, field: StimulusField) -> None:
    cfg = config()
    result = train(field, cfg)
    values, positions = (np.asarray(zarr.open_array(folder / f"{name}.zarr")[...]) for name in ("stimulus", "pos"))
    model = Siren(16, 1, 10.0)
    model.load_state_dict(result.state_dict)
    t = normalised(torch.arange(N_FRAMES), N_FRAMES).repeat_interleave(21)[:, None]
    xy = normalised(torch.tensor(positions), 8).repeat(N_FRAMES, 1)
    predictions = field.scaling.unscaled(model.double()(torch.cat([t, xy], dim=1)).detach().numpy())
    assert result.status == Status.finished
    assert result.final_r2 == pytest.approx(r2_score(values.ravel(), predictions), abs=1e-6)
    assert result.final_mse == pytest.approx(mean_squared_error(values.ravel(), predictions), rel=1e-5)
    correlation = np.corrcoef(values.ravel(), predictions)[0, 1]
    assert result.final_pearson_r2 == pytest.approx(correlation**2, abs=1e-6)
    assert result.final_r2 is not None
    assert 0.3 < result.final_r2 <= field.r2_ceiling


def test_reports_come_at_twenty_equal_fractions_of_the_steps(field: StimulusField) -> None:
    seen: list[Report] = []
    steps: list[int] = []
    result = train(field, config(total_steps=90), on_report=seen.append, on_step=steps.append)
    assert [report.step for report in seen] == [index * 90 // 20 for index in range(1, 21)]
    assert [report.index for report in seen] == list(range(1, 21))
    assert result.reports == seen
    assert result.stop_step == steps[-1] == 90
    assert result.total_params == sum(value.numel() for value in result.state_dict.values())


def test_the_best_weights_are_kept_and_not_the_last(folder: Path) -> None:
    few = open_field(folder, n_frames=30, n_input_neurons=21, cache_dir=None)  # so few that reports look at all
    best = set()
    for seed in range(5):  # of restless runs, whose scores go up and down
        result = train(
            few,
            config(learning_rate_NNR_f=0.01, lr_schedule="constant", inr_batch_size=1, n_training_frames=30, seed=seed),
        )
        reported = [report.r2 for report in result.reports]
        assert result.best_index == 1 + int(np.argmax(reported))
        assert result.final_r2 == max(reported)
        best.add(result.best_index)
    assert best != {20}


@pytest.mark.parametrize("sampling", ["frames", "points"])
def test_the_same_seed_gives_the_same_bits(field: StimulusField, sampling: str) -> None:
    one, again = (train(field, config(sampling=sampling)) for _ in range(2))
    assert same_weights(one, again)
    assert one.final_r2 == again.final_r2
    assert not same_weights(one, train(field, config(sampling=sampling, seed=7)))


def test_a_reason_from_on_report_stops_the_run(field: StimulusField) -> None:
    result = train(field, config(), on_report=lambda report: "hopeless" if report.index == 3 else None)
    assert (result.status, result.reason, result.stop_step) == (Status.stopped, "hopeless", 30)
    assert result.final_r2 is None
    assert len(result.reports) == 3


def test_a_run_that_is_told_to_ends_where_it_is_solved(field: StimulusField) -> None:
    whole = train(field, config())
    goal = max(report.r2 for report in whole.reports[:10])
    cfg = config(stop_when_solved=True)
    cfg.claude.solved_r2 = goal
    seen: list[Report] = []
    result = train(field, cfg, on_report=seen.append)
    last = len(result.reports)
    assert last < 20
    assert [report.solved for report in seen] == [False] * (last - 1) + [True]
    assert (result.status, result.stop_step) == (Status.finished, 10 * last)
    assert result.reason == f"solved at step {10 * last} of 200"
    assert result.final_r2 is not None
    assert result.final_r2 >= goal  # over all frames, of which a report may see a part
    assert same_weights(result, train(field, cfg))
    cfg.training.stop_when_solved = False
    assert train(field, cfg).stop_step == 200


def test_a_solved_run_keeps_the_weights_that_are_solved(field: StimulusField, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier ones may look better on the frames of the reports, and not reach the goal on all."""
    looks = list[float]()

    def falling(engine: Any, field: StimulusField, frames: np.ndarray) -> Metrics:
        looks.append(0.9999 - 0.1 * len(looks))
        return Metrics(looks[-1], 0.1, 0.5)

    monkeypatch.setattr(train_module, "evaluate", falling)
    monkeypatch.setattr(train_module._Run, "_solved", lambda run, metrics: len(looks) == 2)
    result = train(field, config(stop_when_solved=True))
    assert (result.status, len(result.reports), result.best_index) == (Status.finished, 2, 2)


def dark(field: StimulusField, bright: slice, n_frames: int) -> StimulusField:
    """Frames of nothing but zero, with some of the field among them."""
    targets = np.zeros((n_frames, field.n_unique), np.float32)
    targets[bright] = field.targets[: bright.stop - bright.start] + 0.5
    values, weight = targets.astype(np.float64), field.multiplicity
    n, total = targets.shape[0] * field.n_neurons, float((values @ weight).sum())
    sst = float((np.square(values - total / n) @ weight).sum())
    scaling = Scaling(total / n, float(np.sqrt(sst / n)))
    return dataclasses.replace(field, targets=targets, ss_within=0.0, total=total, sst=sst, scaling=scaling)


@pytest.mark.parametrize(("window_frames", "sampling"), [(10, "points"), (0, "frames"), (0, "points")])
def test_a_flash_in_the_dark_is_no_divergence(field: StimulusField, window_frames: int, sampling: str) -> None:
    """Its window's first loss is 124 times that of the mean over all frames; no report's frame need be of it."""
    cfg = config(60, n_training_frames=1250, sampling=sampling, inr_batch_size=1)
    cfg.graph_model.window_frames = window_frames
    flash = dark(field, slice(500, 510), 1250)
    result = train(flash, cfg)
    assert result.status == Status.finished, result.reason
    assert result.final_r2 is not None


def test_an_exploding_run_stops_at_its_step(field: StimulusField) -> None:
    results = [train(field, config(learning_rate_NNR_f=1.0, lr_schedule="constant", turn_limit=0)) for _ in range(2)]
    assert results[0].status == Status.diverged
    assert results[0].stop_step == results[1].stop_step < 200
    assert f"the loss at step {results[0].stop_step}" in str(results[0].reason)
    assert results[0].final_r2 is None


class Clock:
    """A clock that every look moves on by `tick` seconds."""

    def __init__(self, tick: float) -> None:
        self.readings = itertools.count(0, tick)

    def __call__(self) -> float:
        return float(next(self.readings))


def test_a_run_that_cannot_fit_its_budget_is_infeasible(field: StimulusField, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_module, "monotonic", Clock(tick=1.0))
    result = train(field, config(total_steps=100_000, time_budget_min=10))
    assert result.status == Status.infeasible
    assert result.stop_step < 100
    assert result.foreseen_min is not None
    assert result.foreseen_min > 10
    assert "claude.time_budget_min is 10" in str(result.reason)
    assert result.final_r2 is None


def test_a_run_over_its_budget_is_truncated_and_keeps_its_metrics(field: StimulusField, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    result = train(field, config(total_steps=100_000, time_budget_min=0.001), checkpoint=file)
    assert result.status == Status.truncated
    assert "claude.time_budget_min (0.001) was over at step" in str(result.reason)
    assert result.stop_step < 100_000
    assert result.final_r2 is not None
    discard(file, result.status)
    assert file.exists()  # a larger budget goes on from here


@pytest.mark.parametrize("last_step", [3, 57, 198])
def test_a_resumed_run_is_the_undisturbed_one(field: StimulusField, tmp_path: Path, last_step: int) -> None:
    file = tmp_path / "a b's" / "checkpoint.pt"
    with pytest.raises(Killed):
        train(field, config(), on_step=kill_at(last_step), checkpoint=file)
    known: list[Report] = []
    seen: list[Report] = []
    resumed = train(field, config(), checkpoint=file, on_report=seen.append, on_resume=known.extend)
    whole = train(field, config())
    assert [*known, *seen] == resumed.reports
    assert len(known) == last_step // 10
    assert same_weights(resumed, whole)
    assert resumed.final_r2 == whole.final_r2
    assert [report.r2 for report in resumed.reports] == [report.r2 for report in whole.reports]
    assert list(file.parent.iterdir()) == [file]  # for whoever is cut off before the result is kept
    discard(file, resumed.status)
    assert not file.exists()


def test_a_run_that_is_interrupted_at_a_report_makes_that_report_again(field: StimulusField, tmp_path: Path) -> None:
    file, seen = tmp_path / "checkpoint.pt", list[Report]()

    def killed_at_the_fourth(report: Report) -> None:
        if report.index == 4:
            raise Killed

    with pytest.raises(Killed):
        train(field, config(), on_report=killed_at_the_fourth, checkpoint=file)
    resumed, whole = train(field, config(), on_report=seen.append, checkpoint=file), train(field, config())
    assert [report.index for report in seen] == [*range(4, 21)]
    assert [report.r2 for report in resumed.reports] == [report.r2 for report in whole.reports]
    assert same_weights(resumed, whole)


def test_a_checkpoint_is_written_while_the_run_goes_on(field: StimulusField, tmp_path: Path) -> None:
    """A process that is killed outright leaves what was last written."""

    def kill_at_report(report: Report) -> None:
        if report.index == 10:
            raise Killed

    file, cfg = tmp_path / "checkpoint.pt", config(checkpoint_every_s=1e-9)
    with pytest.raises(Killed):
        train(field, cfg, on_report=kill_at_report, checkpoint=file)
    seen: list[Report] = []
    resumed = train(field, cfg, checkpoint=file, on_report=seen.append)
    assert [report.index for report in seen] == list(range(10, 21))  # the report that was cut short comes again
    assert same_weights(resumed, train(field, cfg))


def test_a_run_that_is_cut_off_in_its_last_evaluation_does_not_train_again(
    field: StimulusField, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        raise Killed

    file, cfg = tmp_path / "checkpoint.pt", config(checkpoint_every_s=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(train_module, "evaluate_windows", cut_off)
        with pytest.raises(Killed):
            train(field, cfg, checkpoint=file)
    seen: list[Report] = []
    resumed = train(field, cfg, checkpoint=file, on_report=seen.append)
    assert [report.index for report in seen] == [20]
    assert resumed.final_r2 == train(field, cfg).final_r2


def interrupted(field: StimulusField, cfg: TrialConfig, file: Path) -> None:
    with pytest.raises(Killed):
        train(field, cfg, on_step=kill_at(100), checkpoint=file)


def test_a_run_that_was_stopped_is_asked_again_about_its_last_report(field: StimulusField, tmp_path: Path) -> None:
    file, cfg, asked = tmp_path / "checkpoint.pt", config(), list[int]()

    def stop_at_three(report: Report) -> str | None:
        asked.append(report.index)
        return "paused" if report.index == 3 else None

    for _ in range(2):  # the second time as if the first had been killed before it could say so
        assert train(field, cfg, on_report=stop_at_three, checkpoint=file).status == Status.stopped
    assert asked == [1, 2, 3, 3]
    assert same_weights(train(field, cfg, checkpoint=file), train(field, cfg))


def test_a_truncated_checkpoint_is_ignored_with_a_warning(field: StimulusField, tmp_path: Path) -> None:
    file, cfg = tmp_path / "checkpoint.pt", config()
    interrupted(field, cfg, file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.warns(RuntimeWarning, match="starting again, without the checkpoint .* it cannot be read"):
        resumed = train(field, cfg, checkpoint=file)
    assert same_weights(resumed, train(field, cfg))


def test_a_checkpoint_of_another_run_is_ignored_with_a_warning(field: StimulusField, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    interrupted(field, config(), file)
    other = config(learning_rate_NNR_f=1e-3)
    with pytest.warns(RuntimeWarning, match="it is of another run"):
        resumed = train(field, other, checkpoint=file)
    assert same_weights(resumed, train(field, other))


def test_a_checkpoint_serves_the_next_attempt_at_its_trial(field: StimulusField, tmp_path: Path) -> None:
    file, cfg = tmp_path / "checkpoint.pt", config()
    first, second = (Config(**vars(cfg), trial=TrialId("block_01", 3, attempt, slot=attempt)) for attempt in (1, 2))
    interrupted(field, first, file)
    steps: list[int] = []
    resumed = train(field, second, checkpoint=file, on_step=steps.append)  # a warning is an error
    assert steps[0] > 50
    assert same_weights(resumed, train(field, cfg))


def test_a_checkpoint_serves_a_run_with_another_budget(field: StimulusField, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    cfg = config()
    interrupted(field, cfg, file)
    cfg.claude.time_budget_min = 30
    steps: list[int] = []
    train(field, cfg, checkpoint=file, on_step=steps.append)
    assert steps[0] > 50


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(field: StimulusField, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match="training goes on without the checkpoint"):
        result = train(field, config(checkpoint_every_s=1e-9), checkpoint=tmp_path / "file" / "checkpoint.pt")
    assert result.status == Status.finished


def test_reports_look_at_every_frame_of_a_small_field() -> None:
    assert report_frames(cut(N_FRAMES, 0), config(total_steps=2000)).tolist() == list(range(N_FRAMES))


def test_reports_look_at_an_even_part_of_a_large_field() -> None:
    large = cut(100_000, 0)
    cfg = config(total_steps=10_000)
    frames = report_frames(large, cfg)
    evaluated, trained = 20 * len(frames), 3 * 8 * cfg.claude.total_steps  # in forward passes of a frame
    assert 0.02 < evaluated / trained < 0.03
    assert np.ptp(np.diff(frames)) < 2.1 * 100_000 / len(frames)
    assert np.array_equal(frames, report_frames(large, cfg))


@pytest.mark.parametrize(
    ("curve", "names"),
    [
        ([-9.0, -5.0, -2.0, -1.0], "the steps: claude.total_steps, in a sweep total_steps of blocks.schedule"),
        ([-1.0, -0.5, -2.0, -1.0], "training.learning_rate_NNR_f"),
        ([-1.0], "training.learning_rate_NNR_f"),
        ([-1.0, 0.0], None),
        ([], None),
    ],
)
def test_a_fit_worse_than_the_mean_says_where_to_look(curve: list[float], names: str | None) -> None:
    reports = [Report(i, i / 20, i, r2, 0.1, 1e-3, 9.0, 1.0) for i, r2 in enumerate(curve, 1)]
    told = where_to_look(curve[-1] if curve else -1.0, reports)
    assert (told is None) == (names is None)
    assert told is None or f"look first at {names}" in told


def test_a_run_that_goes_on_is_not_foreseen_anew(
    field: StimulusField, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late in its budget it would be told infeasible, and lose what it has; undisturbed it is truncated."""
    monkeypatch.setattr(train_module, "WARM_UP_S", 0.0)
    file, cfg = tmp_path / "checkpoint.pt", config()
    interrupted(field, cfg, file)
    monkeypatch.setattr(train_module._Run, "_foresee", lambda run: 1e9)
    assert train(field, cfg, checkpoint=file).status == Status.finished


def test_a_full_disk_at_the_weights_costs_no_training(
    field: StimulusField, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint goes when what it led to is on disk."""
    cfg, paths, steps = config(checkpoint_every_s=1e-9), TrialPaths(tmp_path / "run"), list[int]()

    def full(*_: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(run_module, "saved_bytes", full)
        with pytest.raises(OutputError, match="No space left"):
            run_training(cfg, field, paths)
    result, _ = run_training(cfg, field, paths, on_step=steps.append)
    assert all(step > 100 for step in steps)
    assert same_weights(result, train(field, cfg))
    assert paths.checkpoint.exists()
