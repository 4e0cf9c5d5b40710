"""Windows in the engine of PyTorch, on a CPU: the same way as the CPU's own engine, whatever the grouping."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fields import make_field_folder
from killed import Killed, kill_at

from siren_sweep.config.checks import trial_config
from siren_sweep.config.choices import Sampling
from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField, cut, frames_of, open_field, spread
from siren_sweep.train.engine import autograd, base
from siren_sweep.train.engine.autograd import TorchEngine
from siren_sweep.train.engine.cpu import CpuEngine
from siren_sweep.train.engine.device_batches import DeviceBatch, DeviceSampler
from siren_sweep.train.engine.evaluate import evaluate
from siren_sweep.train.engine.stacked import activation_bytes
from siren_sweep.train.fit import Fit
from siren_sweep.train.loop import train
from siren_sweep.train.report import Status

N_FRAMES, N_COLUMNS, WINDOW = 62, 7, 15  # four windows: of 15, 16, 15 and 16 frames
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> StimulusField:
    folder = make_field_folder(tmp_path_factory.mktemp("field"), n_frames=N_FRAMES, n_columns=N_COLUMNS, n_types=2)
    return open_field(folder, n_frames=N_FRAMES, n_input_neurons=2 * N_COLUMNS, cache_dir=None)


@pytest.fixture
def no_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU's runs take PyTorch's engine."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def config(**training: Any) -> TrialConfig:
    model = {"hidden_dim_nnr_f": 16, "n_layers_nnr_f": 2, "omega_f": 10, "nnr_f_T_period": 15, "nnr_f_xy_period": 8}
    values = {"n_training_frames": N_FRAMES, "learning_rate_NNR_f": 3e-3, "inr_batch_size": 4, **training}
    return trial_config(
        {
            "graph_model": {**model, "window_frames": WINDOW},
            "training": {"hidden_precision": "float32", **values},
            "claude": {"total_steps": 100},
        }
    )


def torch_engine(field: StimulusField, cfg: TrialConfig, n_windows: int = 0) -> TorchEngine:
    return TorchEngine(field, cfg, CPU, spread(cut(N_FRAMES, WINDOW), n_windows))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize("sampling", list(Sampling))
@pytest.mark.parametrize("n_windows", [0, 2])
def test_both_engines_take_the_same_way(field: StimulusField, sampling: Sampling, n_windows: int) -> None:
    """The same start to the bit, and after 30 steps on the same batches what rounding leaves of it."""
    cfg = config(sampling=sampling)
    written_out = CpuEngine(field, cfg, spread(cut(N_FRAMES, WINDOW), n_windows))
    stacked = torch_engine(field, cfg, n_windows)
    start = written_out.weights()
    assert same(start, stacked.weights())
    for _ in range(30):
        batches = [network.sampler.draw() for network in written_out._networks]
        for network, batch in zip(written_out._networks, batches, strict=True):
            network.train_on(batch)
        parts = {name: np.stack([getattr(batch, name) for batch in batches]) for name in vars(batches[0])}
        stacked.train_on(DeviceBatch(**{name: torch.from_numpy(part) for name, part in parts.items()}))
    one, other = written_out.weights(), stacked.weights()
    for key in start:
        assert (one[key] - other[key]).norm() < 1e-3 * (one[key] - start[key]).norm()
    frames = np.random.default_rng(0).permutation(frames_of(stacked.windows))
    torch.testing.assert_close(written_out.predict(frames), stacked.predict(frames), atol=1e-5, rtol=0)


def test_predictions_are_those_of_the_fit(field: StimulusField) -> None:
    engine = torch_engine(field, config())
    engine.advance(20)
    frames = np.array([61, 0, 15, 14, 30, 31, 2])
    expected = Fit(config(), engine.weights(), field.scaling).frames(frames, field.positions)
    np.testing.assert_allclose(field.scaling.unscaled(engine.predict(frames)), expected, atol=2e-6)


@pytest.mark.parametrize("n_groups", [2, 4])
def test_groups_give_the_same_as_one(field: StimulusField, n_groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = torch_engine(field, config())
    monkeypatch.setattr(autograd, "GROUP_BYTES", 4 // n_groups * activation_bytes(4 * N_COLUMNS, 16, 2))
    several = torch_engine(field, config())
    assert (len(one._groups), len(several._groups)) == (1, n_groups)
    one.advance(30)
    several.advance(30)
    for key, value in one.weights().items():
        torch.testing.assert_close(value, several.weights()[key], atol=1e-5, rtol=1e-4)


def test_groups_of_many_windows_are_bounded() -> None:
    """64,000 frames in windows of 62: no group keeps more than it may, and none is empty."""
    each = activation_bytes(8 * 217, 128, 5)
    cfg = config(inr_batch_size=8)
    cfg.graph_model.hidden_dim_nnr_f, cfg.graph_model.n_layers_nnr_f = 128, 5
    sizes = [group.stop - group.start for group in autograd._groups(1032, cfg, 217)]
    assert sum(sizes) == 1032
    assert max(sizes) * each <= autograd.GROUP_BYTES < 2 * max(sizes) * each


def test_each_window_s_gradient_is_clipped_by_its_own_norm(field: StimulusField) -> None:
    update = torch_engine(field, config(), n_windows=3)._update
    drawn = torch.randn(update.gradient.shape, generator=torch.Generator().manual_seed(0))
    drawn *= torch.tensor([[1e-3], [1], [50]])
    update.gradient.copy_(drawn)
    update._clip()
    for got, values in zip(update.gradient, drawn, strict=True):
        parameter = torch.nn.Parameter(torch.zeros_like(values))
        parameter.grad = values.clone()
        torch.nn.utils.clip_grad_norm_([parameter], base.CLIP_NORM)
        torch.testing.assert_close(got, parameter.grad)
    assert torch.equal(update.gradient[0], drawn[0])


def test_a_window_does_not_depend_on_what_is_trained_beside_it(field: StimulusField) -> None:
    """The same draws to the bit; the weights but for the rounding of products of another shape."""
    whole, some = torch_engine(field, config()), torch_engine(field, config(), n_windows=2)
    for step in (0, 1, 77):
        all_four, two = (engine._sampler.draw(torch.tensor(step)) for engine in (whole, some))
        for name in vars(two):
            assert torch.equal(getattr(all_four, name)[[1, 3]], getattr(two, name))
    whole.advance(30)
    some.advance(30)
    for key, value in some.weights().items():
        torch.testing.assert_close(value, whole.weights()[key], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("sampling", list(Sampling))
def test_windows_draw_from_the_frames_that_they_see(field: StimulusField, sampling: Sampling) -> None:
    """All of them and no others, each as often, with their own targets."""
    windows = spread(cut(N_FRAMES, WINDOW), 3)
    sampler = DeviceSampler(field, windows, [1, 2, 3], n_frames=4, sampling=sampling, device=CPU)
    weight, learned = np.zeros((3, WINDOW + 3, N_COLUMNS)), field.scaling.scaled(field.targets)
    for step in range(1500):
        batch = sampler.draw(torch.tensor(step))
        frame, position = batch.frame.numpy(), batch.position.numpy()
        place = np.broadcast_to(np.arange(3)[:, None], frame.shape)
        np.add.at(weight, (place, frame, position), batch.weight.numpy())
        first = np.array([[window.seen.start] for window in windows])
        assert np.array_equal(batch.target, learned[first + frame, position])
    for own, window in zip(weight, windows, strict=True):
        n_seen = window.seen.stop - window.seen.start
        assert not own[n_seen:].any()
        np.testing.assert_allclose(own[:n_seen].sum(1), 1500 / n_seen, rtol=0.15)
        np.testing.assert_allclose(own.sum(0), 1500 * field.multiplicity / field.n_neurons, rtol=0.05)


def test_random_numbers_have_no_pattern_over_steps_places_and_windows(field: StimulusField) -> None:
    """Bits of 31 at both ends are even, and uncorrelated with those of the next step, place and window."""
    windows = cut(N_FRAMES, WINDOW)
    sampler = DeviceSampler(field, windows, [0, 1, 2, 3], n_frames=500, sampling=Sampling.points, device=CPU)
    numbers = torch.stack([sampler._random(torch.tensor(step)) for step in range(100)])  # (100, 4, 3500)
    high, low = numbers >> 32, numbers
    for part in (high, low):
        bits = ((part[..., None] >> torch.arange(31)) & 1).double() - 0.5
        bound = 5 * 0.5 / np.sqrt(bits[..., 0].numel())
        assert bits.mean((0, 1, 2)).abs().max() < bound
        for near in ((bits[1:], bits[:-1]), (bits[:, 1:], bits[:, :-1]), (bits[:, :, 1:], bits[:, :, :-1])):
            assert (near[0] * near[1]).mean((0, 1, 2)).abs().max() < bound
    counts = torch.bincount((((high & 0x7FFFFFFF) % 17) * 14 + (low & 0x7FFFFFFF) % 14).flatten()).double()
    expected = counts.sum() / len(counts)
    assert len(counts) == 17 * 14
    assert float(((counts - expected).square() / expected).sum()) < 237 + 5 * np.sqrt(2 * 237)


@pytest.mark.parametrize("sampling", list(Sampling))
def test_a_restored_engine_goes_on_bit_for_bit(field: StimulusField, sampling: Sampling) -> None:
    whole, before, after = (torch_engine(field, config(sampling=sampling)) for _ in range(3))
    whole.advance(30)
    before.advance(11)
    snapshot = before.snapshot()
    before.advance(4)  # of which the snapshot knows nothing
    after.restore(snapshot)
    for n_steps in (1, 5, 13):
        after.advance(n_steps)
    assert after.step == whole.step == 30
    assert same(whole.weights(), after.weights())


def test_one_exploded_window_is_told(field: StimulusField) -> None:
    engine = torch_engine(field, config())
    weights = engine.weights()
    engine.load_weights({**weights, "window_0002.net.3.bias": torch.tensor([float("nan")])})
    assert engine.advance(5) == engine.step == 1
    others = {key: value for key, value in engine.weights().items() if not key.startswith("window_0002.")}
    assert all(value.isfinite().all() for value in others.values())


@pytest.mark.usefixtures("no_numba")
def test_a_dark_window_does_not_end_a_run(field: StimulusField) -> None:
    targets = np.array(field.targets)
    targets[15:31] = 0
    dark = dataclasses.replace(field, targets=targets).part(slice(0, N_FRAMES))
    result = train(dark, config())
    assert result.status == Status.finished
    assert result.final_r2 is not None


@pytest.mark.usefixtures("no_numba")
@pytest.mark.parametrize("n_windows", [0, 3])
def test_a_resumed_run_is_the_undisturbed_one(field: StimulusField, tmp_path: Path, n_windows: int) -> None:
    """And it fits as well as one of the CPU's own engine, whose batches are others."""

    file = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        train(field, config(), on_step=kill_at(57), checkpoint=file, n_windows=n_windows)
    resumed = train(field, config(), checkpoint=file, n_windows=n_windows)
    whole = train(field, config(), n_windows=n_windows)
    assert same(whole.state_dict, resumed.state_dict)
    assert [report.r2 for report in resumed.reports] == [report.r2 for report in whole.reports]
    own = CpuEngine(field, config(), spread(cut(N_FRAMES, WINDOW), n_windows))
    own.advance(100)
    expected = evaluate(own, field, frames_of(own.windows)).r2
    assert (whole.sample.r2 if whole.sample else whole.final_r2) == pytest.approx(expected, abs=0.03)
