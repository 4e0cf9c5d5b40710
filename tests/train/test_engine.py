"""Both engines against the plain loss over all neurons, against autograd in float64, and against each other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from fields import make_field_folder

from siren_sweep.config.checks import trial_config
from siren_sweep.config.choices import LrSchedule, Precision, Sampling
from siren_sweep.config.schema import TrialConfig
from siren_sweep.errors import ConfigError
from siren_sweep.field import StimulusField, cut, open_field
from siren_sweep.train import machine
from siren_sweep.train.engine import initial_model, learning_rate
from siren_sweep.train.engine.autograd import TorchEngine
from siren_sweep.train.engine.base import update_limit
from siren_sweep.train.engine.batches import Batch, BatchSampler
from siren_sweep.train.engine.cpu import CpuEngine
from siren_sweep.train.engine.device_batches import DeviceBatch, DeviceSampler
from siren_sweep.train.engine.passes import SirenPasses, block_points
from siren_sweep.train.engine.precision import hidden_products, is_reduced
from siren_sweep.train.machine import resolve_device
from siren_sweep.train.siren import Siren, normalised

N_FRAMES = 40
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> StimulusField:
    """40 frames of 30 neurons at 19 positions: 11 positions have two neurons, 8 have one."""
    folder = make_field_folder(tmp_path_factory.mktemp("field"), n_frames=N_FRAMES, n_types=2)
    return open_field(folder, n_frames=N_FRAMES, n_input_neurons=30, cache_dir=None)


def config(**training: Any) -> TrialConfig:
    model = {
        "hidden_dim_nnr_f": 24,
        "n_layers_nnr_f": 2,
        "omega_f": 20,
        "nnr_f_T_period": N_FRAMES,
        "nnr_f_xy_period": 8,
    }
    values = {"n_training_frames": N_FRAMES, "learning_rate_NNR_f": 1e-3, **training}
    return trial_config({"graph_model": model, "training": values, "claude": {"total_steps": 100}})


def cpu_engine(field: StimulusField, cfg: TrialConfig) -> CpuEngine:
    return CpuEngine(field, cfg, cut(field.n_frames, cfg.graph_model.window_frames))


def torch_engine(field: StimulusField, cfg: TrialConfig, device: torch.device = CPU) -> TorchEngine:
    return TorchEngine(field, cfg, device, cut(field.n_frames, cfg.graph_model.window_frames))


def coordinates(field: StimulusField, cfg: TrialConfig) -> tuple[np.ndarray, np.ndarray]:
    t = normalised(torch.arange(field.n_frames), cfg.graph_model.nnr_f_T_period)
    return t.numpy(), normalised(torch.tensor(field.positions), cfg.graph_model.nnr_f_xy_period).numpy()


def plain_loss(model: Siren, values: np.ndarray, positions: np.ndarray, cfg: TrialConfig) -> torch.Tensor:
    """Mean squared error over every frame and neuron, one network input each."""
    t = normalised(torch.arange(len(values)), cfg.graph_model.nnr_f_T_period)
    xy = normalised(torch.tensor(positions), cfg.graph_model.nnr_f_xy_period)
    inputs = torch.cat([t.repeat_interleave(len(xy))[:, None], xy.repeat(len(t), 1)], dim=1)
    loss: torch.Tensor = (model(inputs).view(values.shape) - torch.tensor(values, dtype=torch.float64)).square().mean()
    return loss


@pytest.mark.parametrize(("n_types", "noise"), [(8, 0.0), (8, 0.1), (1, 0.0), (1, 0.1)])
def test_weighted_loss_is_the_loss_over_all_neurons(tmp_path: Path, n_types: int, noise: float) -> None:
    folder = make_field_folder(tmp_path, n_frames=N_FRAMES, n_types=n_types, noise=noise)
    n_neurons = 19 * n_types
    field = open_field(folder, n_frames=N_FRAMES, n_input_neurons=n_neurons, cache_dir=None)
    cfg = config()
    model = initial_model(cfg)
    passes = SirenPasses(model.state_dict(), cfg.graph_model.omega_f, *coordinates(field, cfg))
    model.double()
    values, positions = (np.asarray(zarr.open_array(folder / f"{name}.zarr")[...]) for name in ("stimulus", "pos"))
    plain = plain_loss(model, field.scaling.scaled(values), positions, cfg)
    plain.backward()  # type: ignore[no-untyped-call]

    every_frame = BatchSampler(field, n_frames=N_FRAMES, sampling=Sampling.frames, seed=0).draw()
    weighted = passes.accumulate(every_frame) + field.ss_within / field.scaling.spread**2 / (N_FRAMES * n_neurons)
    assert weighted == pytest.approx(plain.item(), rel=1e-6)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert (passes.gradient.vector - gradient).norm() < 1e-6 * gradient.norm()


def test_gradient_is_that_of_autograd_in_float64(field: StimulusField) -> None:
    cfg = config()
    model = initial_model(cfg)
    passes = SirenPasses(model.state_dict(), cfg.graph_model.omega_f, *coordinates(field, cfg))
    batch = BatchSampler(field, n_frames=N_FRAMES, sampling=Sampling.points, seed=0).draw()
    loss = passes.accumulate(batch)

    model.double()
    t, xy = coordinates(field, cfg)
    inputs = torch.tensor(np.column_stack([t[batch.frame], xy[batch.position]]))
    exact = (torch.tensor(batch.weight) * (model(inputs) - torch.tensor(batch.target)).square()).sum()
    exact.backward()
    assert loss == pytest.approx(exact.item(), rel=1e-6)
    for parameter, got in zip(model.parameters(), passes.gradient.named.values(), strict=True):
        assert parameter.grad is not None
        assert (got - parameter.grad).norm() < 2e-6 * parameter.grad.norm()


@pytest.mark.parametrize("sampling", list(Sampling))
@pytest.mark.parametrize("schedule", list(LrSchedule))
def test_both_engines_take_the_same_way(field: StimulusField, sampling: Sampling, schedule: LrSchedule) -> None:
    cfg = config(sampling=sampling, lr_schedule=schedule, hidden_precision="float32")
    written_out, autograd = cpu_engine(field, cfg), torch_engine(field, cfg)
    start = written_out.weights()
    sampler = BatchSampler(field, n_frames=8, sampling=sampling, seed=0)
    for _ in range(30):
        batch = sampler.draw()
        written_out.train_on(batch)
        autograd.train_on(DeviceBatch(**{name: torch.from_numpy(part)[None] for name, part in vars(batch).items()}))
    one, other = written_out.weights(), autograd.weights()
    for key in start:
        assert (one[key] - other[key]).norm() < 1e-3 * (one[key] - start[key]).norm()
    frames = np.arange(N_FRAMES)
    torch.testing.assert_close(written_out.predict(frames), autograd.predict(frames), atol=1e-5, rtol=0)


def test_reduced_products_form_the_gradient_alone(field: StimulusField) -> None:
    """Within bfloat16's rounding of the exact gradient, and predictions are float32's to the bit."""
    if not is_reduced(Precision.reduced, CPU):
        pytest.skip("this CPU has no AMX: products stay float32")
    weights, points = Siren(128, 3, 30.0).state_dict(), coordinates(field, config())
    exact, reduced = SirenPasses(weights, 30.0, *points), SirenPasses(weights, 30.0, *points, reduced=True)
    batch = BatchSampler(field, n_frames=N_FRAMES, sampling=Sampling.points, seed=0).draw()
    assert torch.equal(exact.predict(batch.frame, batch.position), reduced.predict(batch.frame, batch.position))
    exact.accumulate(batch)
    with hidden_products(True, CPU):
        reduced.accumulate(batch)
    apart = (reduced.gradient.vector - exact.gradient.vector).norm() / exact.gradient.vector.norm()
    assert 1e-4 < apart < 3e-2
    precise, rough = (cpu_engine(field, config(hidden_precision=kind)) for kind in ("float32", "reduced"))
    precise.advance(3)
    rough.advance(3)
    assert not torch.equal(*(engine.weights()["net.1.linear.weight"] for engine in (precise, rough)))
    rough.load_weights(precise.weights())
    assert torch.equal(*(engine.predict(np.arange(N_FRAMES)) for engine in (precise, rough)))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_precision_is_reduced_inside_and_nowhere_else(device: str) -> None:
    backend: Any = torch.backends.cuda.matmul if device == "cuda" else torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = backend.fp32_precision
    with hidden_products(True, torch.device(device)):
        assert backend.fp32_precision == {"cuda": "tf32", "cpu": "bf16"}[device]
    assert backend.fp32_precision == before
    backend.fp32_precision = {"cuda": "tf32", "cpu": "bf16"}[device]  # as the environment may have it
    try:
        with hidden_products(False, torch.device(device)):
            assert backend.fp32_precision == "ieee"
    finally:
        backend.fp32_precision = before
    assert not is_reduced(Precision.float32, torch.device(device))
    assert is_reduced(Precision.reduced, torch.device("cuda"))


@pytest.mark.parametrize("engine_class", [cpu_engine, torch_engine])
def test_the_first_layer_steps_in_scaled_coordinates(field: StimulusField, engine_class: Any) -> None:
    """Weights and predictions start out the same to the bit; Adam's first step, the rate, is the rate over the scale.

    40 frames over 40 frames a period reach 2 pi, which is within 8; positions up to 2 of 8 reach pi / 2, within 2.
    """
    plain, scaled = (engine_class(field, config(first_layer_rate=kind)) for kind in ("plain", "scaled"))
    before = plain.weights()
    assert all(torch.equal(value, scaled.weights()[key]) for key, value in before.items())
    frames = np.arange(N_FRAMES)
    assert torch.equal(plain.predict(frames), scaled.predict(frames))
    plain.advance(1)
    scaled.advance(1)
    name = "net.0.linear.weight"
    ratio = ((scaled.weights()[name] - before[name]) / (plain.weights()[name] - before[name])).median(0).values
    torch.testing.assert_close(ratio, torch.tensor([1 / 8, 1 / 2, 1 / 2]), rtol=2e-2, atol=0)
    scaled.load_weights(before)
    assert all(torch.equal(value, scaled.weights()[key]) for key, value in before.items())


@pytest.mark.parametrize("engine_class", [cpu_engine, torch_engine])
def test_a_restored_engine_goes_on_bit_for_bit(field: StimulusField, engine_class: Any) -> None:
    whole, before, after = (engine_class(field, config()) for _ in range(3))
    whole.advance(30)
    before.advance(11)
    snapshot = before.snapshot()
    before.advance(4)  # of which the snapshot knows nothing
    after.restore(snapshot)
    for n_steps in (1, 5, 13):  # nor does it matter how the steps are cut into calls
        after.advance(n_steps)
    assert after.step == whole.step == 30
    assert all(torch.equal(value, after.weights()[key]) for key, value in whole.weights().items())


def test_a_multiscale_start_changes_the_weights_for_t_alone() -> None:
    plain, spread = (initial_model(config(first_layer_init=kind)).state_dict() for kind in ("plain", "multiscale"))
    name = "net.0.linear.weight"
    assert all(torch.equal(value, spread[key]) for key, value in plain.items() if key != name)
    assert torch.equal(plain[name][:, 1:], spread[name][:, 1:])
    assert not torch.equal(plain[name][:, 0], spread[name][:, 0])
    assert torch.equal(initial_model(config()).state_dict()[name], spread[name])  # the default


def test_the_first_layer_keeps_its_bits_at_the_largest_omega_and_frame() -> None:
    """A phase of 1e7 radians, which float32 would have wrong by a radian."""
    model = Siren(32, 1, 4096.0)
    t, xy = normalised(torch.arange(64000), 100.0), normalised(torch.tensor([[8.0, -8.0], [0.5, 0.25]]), 1.0)
    passes = SirenPasses(model.state_dict(), 4096.0, t.numpy(), xy.numpy())
    frame, position = np.array([0, 1, 63999, 63999]), np.array([1, 0, 0, 1])
    exact = model.double()(torch.cat([t[frame, None], xy[position]], dim=1))
    assert (passes.predict(frame, position) - exact).abs().max() < 1e-5 * exact.abs().max()


def test_predictions_are_those_of_the_reference_module(field: StimulusField) -> None:
    cfg = config()
    engine = cpu_engine(field, cfg)
    engine.advance(20)
    model = initial_model(cfg)
    model.load_state_dict(engine.weights())
    frames = np.array([3, 1, 39])
    t, xy = coordinates(field, cfg)
    inputs = np.column_stack([np.repeat(t[frames], len(xy)), np.tile(xy, (3, 1))])
    expected = model(torch.tensor(inputs)).view(3, -1)
    torch.testing.assert_close(engine.predict(frames), expected.detach(), atol=2e-6, rtol=0)


def drawn(kind: str, field: StimulusField, n_frames: int, sampling: Sampling) -> Iterator[Any]:
    """Batches of numpy arrays, from the CPU's sampler or the device's."""
    if kind == "cpu":
        sampler = BatchSampler(field, n_frames=n_frames, sampling=sampling, seed=1)
        while True:
            yield sampler.draw()
    on_device = DeviceSampler(field, cut(N_FRAMES, 0), [1], n_frames=n_frames, sampling=sampling, device=CPU)
    for step in itertools.count():
        yield Batch(**{name: part[0].numpy() for name, part in vars(on_device.draw(torch.tensor(step))).items()})


@pytest.mark.parametrize("kind", ["cpu", "device"])
def test_frames_of_a_batch_are_all_different(field: StimulusField, kind: str) -> None:
    for batch in itertools.islice(drawn(kind, field, 30, Sampling.frames), 20):
        assert len(np.unique(batch.frame)) == 30
        assert len(np.unique(batch.frame * 1000 + batch.position)) == len(batch.frame)
        assert batch.weight.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", ["cpu", "device"])
@pytest.mark.parametrize("sampling", list(Sampling))
def test_every_neuron_weighs_the_same_on_average(field: StimulusField, kind: str, sampling: Sampling) -> None:
    weight, learned = np.zeros((field.n_frames, field.n_unique)), field.scaling.scaled(field.targets)
    for batch in itertools.islice(drawn(kind, field, 10, sampling), 300):
        np.add.at(weight, (batch.frame, batch.position), batch.weight)
        assert np.array_equal(batch.target, learned[batch.frame, batch.position])
    np.testing.assert_allclose(weight.sum(0) / 300, field.multiplicity / field.n_neurons, rtol=0.1)
    np.testing.assert_allclose(weight.sum(1) / 300, 1 / field.n_frames, rtol=0.4)


def test_learning_rate_falls_by_half_a_cosine() -> None:
    cfg = config(lr_schedule="cosine")
    assert [learning_rate(cfg, step) for step in (0, 50, 100)] == pytest.approx([1e-3, 5e-4, 0])
    assert learning_rate(config(lr_schedule="constant"), 99) == 1e-3


@pytest.mark.parametrize("engine_class", [cpu_engine, torch_engine])
def test_a_hidden_layer_s_update_has_a_limit_that_falls_with_the_rate(field: StimulusField, engine_class: Any) -> None:
    """At a rate far too high every update has the norm of the limit, at a low one it stays what it is."""

    def norms(**settings: Any) -> list[float]:
        engine, found = engine_class(field, config(**settings)), []
        for _ in range(100):
            before = engine.weights()
            engine.advance(1)
            after = engine.weights()
            found.append(float((after["net.1.linear.weight"] - before["net.1.linear.weight"]).norm()))
        return found

    high = config(learning_rate_NNR_f=0.1)
    limits = [update_limit(high, step) for step in range(100)]
    assert norms(learning_rate_NNR_f=0.1) == pytest.approx(limits, rel=1e-3, abs=1e-7)
    assert max(limits) == pytest.approx(0.35 / 20, rel=0.05)
    free = norms(learning_rate_NNR_f=1e-5, turn_limit=0)
    assert max(free) < max(limits) / 10
    assert norms(learning_rate_NNR_f=1e-5) == free
    assert max(norms(learning_rate_NNR_f=0.1, turn_limit=0)) > 10 * max(limits)


def test_learning_rate_rises_over_the_first_tenth() -> None:
    warm, falling = config(), config(lr_schedule="cosine")
    assert [learning_rate(warm, step) / learning_rate(falling, step) for step in (0, 4, 9, 10, 99)] == pytest.approx(
        [0.1, 0.5, 1, 1, 1]
    )


@pytest.mark.parametrize("engine_class", [cpu_engine, torch_engine])
def test_the_first_exploded_step_is_told(field: StimulusField, engine_class: Any) -> None:
    def first_bad_step(size: int) -> int:
        engine = engine_class(field, config(learning_rate_NNR_f=1.0, lr_schedule="constant", turn_limit=0))
        while (told := engine.advance(size)) is None:
            assert engine.step < 100
        return int(told)

    assert first_bad_step(1) == first_bad_step(50) > 1


def test_a_loss_that_is_no_number_is_told(field: StimulusField) -> None:
    engine = cpu_engine(field, config())
    engine.load_weights({key: value * float("nan") for key, value in engine.weights().items()})
    assert engine.advance(5) == 1


def test_initial_weights_follow_the_seed_alone() -> None:
    first, again, other = (initial_model(config(seed=seed)).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert not torch.equal(first["net.0.linear.weight"], other["net.0.linear.weight"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells of a GPU that is not there")
def test_missing_device_is_told() -> None:
    with pytest.raises(ConfigError, match=r"training.device must be auto or one .* \(cpu\), got 'cuda'"):
        resolve_device("cuda")
    assert resolve_device("auto") == "cpu"


@pytest.mark.parametrize(
    ("device", "slot", "expected"), [("auto", 3, "cuda:1"), ("cuda", 2, "cuda:0"), ("cpu", 1, "cpu")]
)
def test_slots_take_the_gpus_in_turn(device: str, slot: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device(device, slot) == expected


def test_weights_of_a_small_last_block_count_too(field: StimulusField) -> None:
    """A batch in blocks has the gradient of the sum of its parts."""
    cfg = config()
    batch = BatchSampler(field, n_frames=300, sampling=Sampling.points, seed=0).draw()
    assert len(batch.frame) > 2 * block_points(24, reduced=False)
    whole, parts = (
        SirenPasses(initial_model(cfg).state_dict(), cfg.graph_model.omega_f, *coordinates(field, cfg))
        for _ in range(2)
    )
    loss = whole.accumulate(batch)
    halves = [slice(0, 100), slice(100, None)]
    pieces = [Batch(batch.frame[h], batch.position[h], batch.target[h], batch.weight[h]) for h in halves]
    assert sum(parts.accumulate(piece) for piece in pieces) == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(whole.gradient.vector, parts.gradient.vector, atol=1e-7, rtol=1e-4)


def test_one_network_trains_on_the_field_as_it_lies(field: StimulusField, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part's sums are of a copy in float64: 300 MB of 64,000 frames."""
    monkeypatch.setattr(StimulusField, "part", lambda *_: pytest.fail("the field was copied"))
    assert cpu_engine(field, config()).advance(1) is None
