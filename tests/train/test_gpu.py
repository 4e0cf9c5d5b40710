"""What only a GPU can show: graphs against steps that are carried out one by one, and against the CPU.

On a machine with torch, numpy and pytest alone: `pytest --noconftest -c /dev/null tests/train/test_gpu.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from siren_sweep.config.checks import trial_config
from siren_sweep.config.choices import Sampling
from siren_sweep.config.schema import TrialConfig
from siren_sweep.field import StimulusField, cut
from siren_sweep.train.engine import autograd
from siren_sweep.train.engine.autograd import EAGER_STEPS, TorchEngine
from siren_sweep.train.engine.precision import hidden_products
from siren_sweep.train.engine.stacked import _Output, activation_bytes
from siren_sweep.train.fit import Fit
from siren_sweep.train.loop import train
from siren_sweep.train.report import Status

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]

N_FRAMES, N_UNIQUE, HIDDEN, LAYERS = 62, 19, 24, 2
KINDS = pytest.mark.parametrize("window_frames", [0, 15], ids=["one network", "windows"])
SAMPLINGS = pytest.mark.parametrize("sampling", list(Sampling))
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def field() -> StimulusField:
    """Two waves on a line of positions, every other one with two neurons."""
    positions = np.stack([np.linspace(-4, 4, N_UNIQUE), np.zeros(N_UNIQUE)], axis=1).astype(np.float32)
    multiplicity = np.arange(N_UNIQUE) % 2 + 1
    t, x = np.arange(N_FRAMES)[:, None], positions[:, 0]
    targets = (0.5 + 0.25 * np.sin(x - 0.3 * t) + 0.25 * np.sin(2 * x + 0.1 * t)).astype(np.float32)
    values = targets.astype(np.float64)
    mean = float((values @ multiplicity).sum()) / (N_FRAMES * multiplicity.sum())
    return StimulusField(
        positions=positions,
        multiplicity=multiplicity,
        inverse=np.repeat(np.arange(N_UNIQUE), multiplicity),
        targets=targets,
        ss_within=0.0,
        total=float((values @ multiplicity).sum()),
        total_sq=float((np.square(values) @ multiplicity).sum()),
        sst=float((np.square(values - mean) @ multiplicity).sum()),
        rank_90=1,
        rank_99=1,
        data_hash="waves",
    )


def config(window_frames: int = 0, **training: Any) -> TrialConfig:
    model = {
        "hidden_dim_nnr_f": HIDDEN,
        "n_layers_nnr_f": LAYERS,
        "omega_f": 10,
        "nnr_f_T_period": 15,
        "nnr_f_xy_period": 8,
        "window_frames": window_frames,
    }
    values = {"n_training_frames": N_FRAMES, "learning_rate_NNR_f": 1e-3, "inr_batch_size": 8, **training}
    return trial_config({"graph_model": model, "training": values, "claude": {"total_steps": 100}})


def torch_engine(field: StimulusField, cfg: TrialConfig, device: torch.device = GPU) -> TorchEngine:
    return TorchEngine(field, cfg, device, cut(N_FRAMES, cfg.graph_model.window_frames))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


@KINDS
@SAMPLINGS
def test_a_graph_trains_to_the_weights_of_eager_steps(
    field: StimulusField, sampling: Sampling, window_frames: int
) -> None:
    """50 steps, 47 of them by the graph, end where eager ones do; a restored engine goes on to the bit."""
    cfg = config(window_frames, sampling=sampling, learning_rate_NNR_f=1e-4)
    engine, eager, resumed = (torch_engine(field, cfg) for _ in range(3))
    assert engine.advance(50) is None
    assert engine._graph is not None
    for step in range(50):
        eager.train_on(eager._sampler.draw(torch.tensor(step, device=GPU)))
    frames = np.arange(N_FRAMES)
    torch.testing.assert_close(engine.predict(frames), eager.predict(frames), atol=2e-2, rtol=0)
    resumed.restore(engine.snapshot())
    engine.advance(50)
    resumed.advance(50)
    assert same(engine.weights(), resumed.weights())


@KINDS
def test_the_same_seed_gives_the_same_bits(field: StimulusField, window_frames: int) -> None:
    one, again = (torch_engine(field, config(window_frames)) for _ in range(2))
    one.advance(50)
    for n_steps in (1, EAGER_STEPS, 46 - EAGER_STEPS, 3):
        again.advance(n_steps)
    assert same(one.weights(), again.weights())


@KINDS
@SAMPLINGS
def test_a_gpu_trains_to_the_weights_of_the_cpu(
    field: StimulusField, sampling: Sampling, window_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same draws to the bit; after 50 steps in float32, with windows in groups of two, predictions as near as
    rounding leaves them."""
    monkeypatch.setattr(autograd, "GROUP_BYTES", 2 * activation_bytes(8 * N_UNIQUE, HIDDEN, LAYERS))
    cfg = config(window_frames, sampling=sampling, learning_rate_NNR_f=1e-4, hidden_precision="float32")
    on_cpu, on_gpu = torch_engine(field, cfg, CPU), torch_engine(field, cfg)
    assert len(on_gpu._groups) == (2 if window_frames else 1)
    drawn = (engine._sampler.draw(torch.tensor(7, device=engine.device)) for engine in (on_cpu, on_gpu))
    expected, got = (vars(batch) for batch in drawn)
    assert all(torch.equal(part, got[name].cpu()) for name, part in expected.items())
    on_cpu.advance(50)
    on_gpu.advance(50)
    frames = np.arange(N_FRAMES)
    torch.testing.assert_close(on_gpu.predict(frames).cpu(), on_cpu.predict(frames), atol=1e-3, rtol=0)


def test_the_output_layer_is_float32_where_products_are_reduced() -> None:
    """TF32 would be off by 1e-3 of the output and of its weight's gradient."""
    generator = torch.Generator(GPU).manual_seed(0)
    hidden = torch.randn(3, 1736, 256, device=GPU, generator=generator, requires_grad=True)
    weight = torch.randn(3, 256, device=GPU, generator=generator, requires_grad=True)
    with hidden_products(True, GPU):
        output = _Output.apply(hidden, weight)
        (d_weight,) = torch.autograd.grad(output.square().sum(), [weight])
    exact = torch.einsum("nph,nh->np", hidden.double(), weight.double())
    torch.testing.assert_close(output.double(), exact, atol=1e-4, rtol=0)
    expected = torch.einsum("np,nph->nh", 2 * exact, hidden.double())
    assert (d_weight - expected).norm() < 1e-5 * expected.norm()


def test_an_explosion_within_a_graph_is_told(field: StimulusField) -> None:
    engine = torch_engine(field, config(15))
    assert engine.advance(10) is None
    engine.load_weights({**engine.weights(), "window_0002.net.3.bias": torch.tensor([float("nan")])})
    assert engine.advance(20) == engine.step == 11


@KINDS
def test_a_run_ends_with_its_metrics(field: StimulusField, window_frames: int) -> None:
    result = train(field, config(window_frames, learning_rate_NNR_f=3e-3), device="cuda:0")
    assert result.status == Status.finished
    assert result.final_r2 is not None
    assert result.final_r2 > 0.9


@KINDS
def test_the_trained_function_is_the_cpu_s(field: StimulusField, window_frames: int) -> None:
    cfg = config(window_frames=window_frames)
    weights = TorchEngine(field, cfg, CPU, cut(N_FRAMES, window_frames)).weights()
    here, there = Fit(cfg, weights, field.scaling), Fit(cfg, weights, field.scaling)
    there.to(GPU)
    frames = np.arange(N_FRAMES)
    np.testing.assert_allclose(there.frames(frames, field.positions), here.frames(frames, field.positions), atol=1e-5)
    slopes = []
    for fit in (here, there):
        points = torch.linspace(0, N_FRAMES - 1, 200, dtype=torch.float64).to(fit.device).requires_grad_()
        place = torch.zeros_like(points)
        value = fit(points, place, place)
        assert value.device.type == fit.device.type
        (slope,) = torch.autograd.grad(value.sum(), points)
        slopes.append(slope.cpu().numpy())
    np.testing.assert_allclose(slopes[1], slopes[0], atol=1e-4 * np.abs(slopes[0]).max())
