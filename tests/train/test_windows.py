"""Windows of frames: how they are cut, and that each has a network of its own, whatever is trained beside it."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from fields import make_field_folder
from hypothesis import given, settings
from hypothesis import strategies as st
from killed import Killed, kill_at
from sklearn.metrics import r2_score

from siren_sweep.config.checks import trial_config
from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import ConfigError
from siren_sweep.field import StimulusField, cut, frames_of, open_field, spread
from siren_sweep.train.engine import make_engine
from siren_sweep.train.engine.evaluate import evaluate, evaluate_windows
from siren_sweep.train.fit import Fit
from siren_sweep.train.loop import train
from siren_sweep.train.metrics import pooled
from siren_sweep.train.report import Report, Status
from siren_sweep.train.siren import Siren, normalised

N_FRAMES, N_COLUMNS = 62, 7


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_field_folder(tmp_path_factory.mktemp("field"), n_frames=N_FRAMES, n_columns=N_COLUMNS, n_types=2)


@pytest.fixture(scope="module")
def field(folder: Path) -> StimulusField:
    return open_field(folder, n_frames=N_FRAMES, n_input_neurons=2 * N_COLUMNS, cache_dir=None)


def config(window_frames: int = 15, total_steps: int = 100, **training: Any) -> TrialConfig:
    model = {"hidden_dim_nnr_f": 16, "n_layers_nnr_f": 1, "omega_f": 10, "nnr_f_T_period": 15, "nnr_f_xy_period": 8}
    values = {"n_training_frames": N_FRAMES, "learning_rate_NNR_f": 3e-3, "inr_batch_size": 4, **training}
    return trial_config(
        {
            "graph_model": {**model, "window_frames": window_frames},
            "training": values,
            "claude": {"total_steps": total_steps},
        }
    )


@settings(deadline=None)  # cutting into single frames takes a while on a busy machine
@given(st.integers(2, 70_000), st.integers(1, 70_000))
def test_windows_cover_every_frame_once_and_are_even(n_frames: int, window_frames: int) -> None:
    windows = cut(n_frames, window_frames)
    assert np.array_equal(frames_of(windows), np.arange(n_frames))
    lengths = [len(window.frames) for window in windows]
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) >= min(window_frames, n_frames)
    assert [window.index for window in windows] == list(range(len(windows)))


def test_no_window_is_one_network_over_all_frames() -> None:
    (window,) = cut(1000, 0)
    assert (window.start, window.stop, window.alone) == (0, 1000, True)
    assert cut(1000, 1000) == cut(1000, 501) == cut(1000, 0)


def test_windows_are_trained_on_a_frame_beyond_each_end() -> None:
    assert [(window.seen.start, window.seen.stop) for window in cut(30, 10)] == [(0, 11), (9, 21), (19, 30)]


def test_a_sample_of_windows_is_spread_evenly() -> None:
    windows = cut(64_000, 125)
    assert [window.index for window in spread(windows, 4)] == [64, 192, 320, 448]
    assert spread(windows, 0) == spread(windows, 512) == spread(windows, 9999) == windows


def test_metrics_are_exact_for_the_windows_state_dicts(folder: Path, field: StimulusField) -> None:
    """Each window's weights in the reference's own class, time counted from the window's start."""
    result = train(field, config())
    expected = np.zeros((N_FRAMES, N_COLUMNS))
    xy = normalised(torch.from_numpy(np.array(field.positions)), 8)
    for window in cut(N_FRAMES, 15):
        prefix = f"window_{window.index:04d}."
        model = Siren(16, 1, 10.0)
        own = {key.removeprefix(prefix): value for key, value in result.state_dict.items() if key.startswith(prefix)}
        model.load_state_dict(own)
        for frame in window.frames:
            t = normalised(torch.tensor([frame - window.start]), 15).expand(N_COLUMNS, 1)
            expected[frame] = field.scaling.unscaled(model(torch.cat([t, xy], dim=1)).detach().numpy())
    assert result.status == Status.finished
    assert result.final_r2 == pytest.approx(r2_score(np.array(field.targets).ravel(), expected.ravel()), abs=1e-6)
    assert result.total_params == sum(value.numel() for value in result.state_dict.values())
    np.testing.assert_allclose(
        Fit(config(), result.state_dict, field.scaling).frames(np.arange(N_FRAMES), field.positions),
        expected,
        atol=2e-6,
    )


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_a_window_does_not_depend_on_what_is_trained_beside_it(field: StimulusField, n_threads: int) -> None:
    whole = train(field, config()).state_dict
    some = train(field, config(n_threads=n_threads), n_windows=2).state_dict
    assert {key[:12] for key in some} == {"window_0001.", "window_0003."}
    assert all(torch.equal(value, whole[key]) for key, value in some.items())


def test_windows_start_with_seeds_of_their_own(field: StimulusField) -> None:
    weights = make_engine(field, config(), "cpu").weights()
    other = make_engine(field, config(seed=43), "cpu").weights()
    name = "net.1.linear.weight"
    assert not torch.equal(weights[f"window_0000.{name}"], weights[f"window_0001.{name}"])
    assert not torch.equal(weights[f"window_0001.{name}"], other[f"window_0000.{name}"])


def test_a_sample_has_metrics_of_its_own_name(field: StimulusField) -> None:
    sampled, whole = train(field, config(), n_windows=2), train(field, config())
    assert whole.sample is None
    assert (sampled.final_r2, sampled.final_mse, sampled.border_jump) == (None, None, None)
    sample = sampled.sample
    assert sample is not None
    assert (sample.n_trained, sample.n_windows) == (2, 4)
    frames = frames_of(spread(cut(N_FRAMES, 15), 2))
    predicted = Fit(config(), sampled.state_dict, field.scaling).frames(frames, field.positions)
    assert sample.r2 == pytest.approx(r2_score(field.targets[frames].ravel(), predicted.ravel()), abs=1e-6)
    assert sampled.total_params == whole.total_params
    assert sample.r2_se > 0


def test_the_function_is_continuous_over_a_border_and_the_network_s_own_at_frames(field: StimulusField) -> None:
    fit = Fit(config(), train(field, config()).state_dict, field.scaling)
    border = cut(N_FRAMES, 15)[1].start
    near = torch.tensor([border - 1, border - 1 + 1e-9, border - 0.5, border - 1e-9, border], dtype=torch.float64)
    x = torch.zeros(5, dtype=torch.float64)
    before, after_before, middle, before_after, after = fit(near, x, x).tolist()
    assert after_before == pytest.approx(before, abs=1e-6)
    assert before_after == pytest.approx(after, abs=1e-6)
    ends = fit._value(0, near[2:3], x[:1], x[:1]).item(), fit._value(1, near[2:3], x[:1], x[:1]).item()
    assert middle == pytest.approx(sum(ends) / 2, abs=1e-6)


def test_a_fit_of_some_frames_makes_the_networks_of_those_alone(field: StimulusField) -> None:
    weights, frames = make_engine(field, config(), "cpu").weights(), np.arange(13, 18)
    some = Fit(config(), weights, field.scaling, frames)
    assert [window.index for window in some.windows] == [0, 1]
    whole = Fit(config(), weights, field.scaling).frames(frames, field.positions)
    assert np.array_equal(some.frames(frames, field.positions), whole)


def test_the_jump_at_borders_is_told_against_one_frame_s_change(field: StimulusField) -> None:
    """Two networks that are off by known amounts: what they differ by, over what the targets change by."""
    fit = Fit(config(), make_engine(field, config(), "cpu").weights(), field.scaling)
    x, y = torch.from_numpy(np.array(field.positions, np.float64)).T
    borders = [window.start for window in cut(N_FRAMES, 15)[1:]]
    jumps, changes = [], []
    with torch.no_grad():
        for place, border in enumerate(borders):
            t = torch.full((N_COLUMNS,), border - 0.5, dtype=torch.float64)
            jumps.append(fit._value(place, t, x, y).numpy() - fit._value(place + 1, t, x, y).numpy())
            changes.append(field.targets[border] - field.targets[border - 1])
    expected = np.sqrt(np.square(jumps).mean() / np.square(changes).mean())
    assert fit.border_jump(field.targets, field.positions) == pytest.approx(expected, rel=1e-5)
    assert train(field, config()).border_jump is not None
    assert train(field, config(window_frames=0)).border_jump is None


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def test_processes_share_the_windows_and_go_with_the_engine(field: StimulusField) -> None:
    before = len(children())
    alone, team = (make_engine(field, config(n_threads=n), "cpu") for n in (1, 3))
    for engine in (alone, team):
        engine.advance(5)
    assert len(children()) == before + 3
    restored = make_engine(field, config(n_threads=2), "cpu")
    restored.advance(2)
    restored.restore(team.snapshot())
    for engine in (alone, team, restored):
        assert engine.advance(7) is None
    assert all(torch.equal(value, team.weights()[key]) for key, value in alone.weights().items())
    assert all(torch.equal(value, restored.weights()[key]) for key, value in alone.weights().items())
    frames = np.arange(3, N_FRAMES, 2)
    assert evaluate(alone, field, frames) == evaluate(team, field, frames) == evaluate(restored, field, frames)
    assert pooled(evaluate_windows(alone, field)) == pooled(evaluate_windows(team, field))
    del engine, team, restored
    gc.collect()
    assert len(children()) == before


def test_the_first_exploded_step_of_any_window_is_told(field: StimulusField) -> None:
    told = set()
    for n_threads in (1, 2):
        unbridled = config(learning_rate_NNR_f=1.0, lr_schedule="constant", turn_limit=0, n_threads=n_threads)
        told.add(make_engine(field, unbridled, "cpu").advance(60))
    assert len(told) == 1
    assert None not in told


def test_a_process_that_dies_is_told(field: StimulusField) -> None:
    engine, known = make_engine(field, config(n_threads=2), "cpu"), {child.pid for child in children()}
    engine.advance(1)
    next(child for child in children() if child.pid not in known).kill()
    with pytest.raises(RuntimeError, match="a process that trained windows has died"):
        engine.advance(1000)


@pytest.mark.parametrize("n_windows", [0, 3])
def test_a_resumed_run_of_windows_is_the_undisturbed_one(field: StimulusField, tmp_path: Path, n_windows: int) -> None:
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        train(field, config(n_threads=2), on_step=kill_at(57), checkpoint=file, n_windows=n_windows)
    seen: list[Report] = []
    resumed = train(field, config(), checkpoint=file, on_report=seen.append, n_windows=n_windows)
    whole = train(field, config(), n_windows=n_windows)
    assert len(seen) < 20
    assert all(torch.equal(value, resumed.state_dict[key]) for key, value in whole.state_dict.items())
    assert [report.r2 for report in resumed.reports] == [report.r2 for report in whole.reports]


def test_a_sample_s_checkpoint_is_not_the_whole_s(field: StimulusField, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        train(field, config(), on_step=kill_at(0), checkpoint=file, n_windows=2)
    with pytest.warns(RuntimeWarning, match="it is of another run"):
        assert train(field, config(), checkpoint=file).status == Status.finished


def test_the_time_budget_is_compared_with_a_run_of_all_windows(
    field: StimulusField, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fits for the sample is refused where all windows would not."""
    from siren_sweep.train import loop as train_module

    monkeypatch.setattr(train_module, "n_cores", lambda: 1)
    monkeypatch.setattr(train_module, "WARM_UP_S", 0.0)
    cfg = config(window_frames=2, total_steps=600, inr_batch_size=2)
    cfg.claude.time_budget_min = 1e-6
    result = train(field, cfg, n_windows=1)
    assert result.status in (Status.infeasible, Status.truncated)
    free = config(window_frames=2, total_steps=600, inr_batch_size=2)
    sampled = train(field, free, n_windows=1)
    assert sampled.sample is not None
    assert sampled.sample.whole_time_min == pytest.approx(31 * sampled.training_time_min, rel=0.2)
    assert sampled.foreseen_min is None or sampled.foreseen_min > sampled.training_time_min


def test_a_batch_of_whole_frames_larger_than_a_window_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"at most graph_model.window_frames \(3\) with training.sampling=frames, got 4"
    ):
        config(window_frames=3, sampling="frames")
    config(window_frames=3)  # points are drawn one by one


def test_constant_windows_do_not_end_a_run(field: StimulusField) -> None:
    """A dark stretch has no spread of its own; it is learned, and R2 is the whole field's."""
    targets = np.array(field.targets)
    targets[15:31] = 0
    dark = dataclasses.replace(field, targets=targets).part(slice(0, N_FRAMES))
    result = train(dark, config())
    assert result.status == Status.finished
    assert result.final_r2 is not None
