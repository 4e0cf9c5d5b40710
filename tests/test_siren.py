"""The network and the compiled kernels, against the formulas in float64."""

from __future__ import annotations

import math

import numba
import numpy as np
import pytest
import torch

from siren_sweep.engine import kernels
from siren_sweep.siren import MOST_PHASE, T_SPREAD, Siren, n_parameters, normalised, spread_in_t


def test_state_dict_keys_are_those_of_saved_weights() -> None:
    keys = list(Siren(8, 2, 30.0).state_dict())
    sine_layers = [f"net.{i}.linear.{part}" for i in range(3) for part in ("weight", "bias")]
    assert keys == [*sine_layers, "net.3.weight", "net.3.bias"]


def test_weights_are_drawn_within_their_bounds() -> None:
    hidden, omega = 256, 30.0
    weights = Siren(hidden, 2, omega).state_dict()
    bounds = {"net.0.linear.weight": 1 / 3, "net.1.linear.weight": math.sqrt(6 / hidden) / omega}
    bounds["net.3.weight"] = math.sqrt(6 / hidden) / omega
    for key, bound in bounds.items():
        assert 0.9 * bound < weights[key].abs().max() <= bound


def test_frequencies_in_t_are_spread_evenly_over_decades() -> None:
    """Of the factors, each of the range's three decades holds a third; x, y and the other layers stay as they were."""
    model = Siren(4096, 1, 30.0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    spread_in_t(model, t_step=1e-4)  # so small that no frequency is too high
    after, first = model.state_dict(), "net.0.linear.weight"
    factor = after[first][:, 0] / before[first][:, 0]
    low, high = T_SPREAD
    assert low * 0.999 < factor.min() < 1.1 * low
    assert high / 1.1 < factor.max() < high * 1.001
    in_decades = torch.histogram(torch.log10(factor), bins=3, range=(math.log10(low), math.log10(high))).hist
    assert in_decades.tolist() == pytest.approx([4096 / 3] * 3, rel=0.1)  # four standard deviations
    assert torch.equal(after[first][:, 1:], before[first][:, 1:])
    assert all(torch.equal(after[key], value) for key, value in before.items() if key != first)


def test_no_frequency_in_t_starts_beyond_what_frames_can_tell() -> None:
    """Those that would are drawn again, evenly below the limit; the others stay."""
    free, limited = Siren(4096, 1, 30.0), Siren(4096, 1, 30.0)
    limited.load_state_dict(free.state_dict())
    name, t_step = "net.0.linear.weight", 2 * math.pi / 42
    for model, step in ((free, 1e-9), (limited, t_step)):
        torch.manual_seed(0)
        spread_in_t(model, step)
    phases = [30 * t_step * model.state_dict()[name][:, 0].abs() for model in (free, limited)]
    below = phases[0] <= MOST_PHASE
    assert 0.3 < below.float().mean() < 0.9
    assert torch.equal(phases[0][below], phases[1][below])
    assert phases[1].max() <= MOST_PHASE
    assert phases[1][~below].mean() == pytest.approx(MOST_PHASE / 2, rel=0.05)


def test_number_of_parameters_is_counted() -> None:
    assert n_parameters(16, 3) == sum(value.numel() for value in Siren(16, 3, 30.0).state_dict().values())


def test_forward_is_the_formula() -> None:
    model = Siren(16, 2, 7.0)
    inputs = torch.rand(50, 3, dtype=torch.float64)
    value = inputs.numpy()
    weights = {key: value.double().numpy() for key, value in model.state_dict().items()}
    for layer in range(3):
        weight, bias = (weights[f"net.{layer}.linear.{part}"] for part in ("weight", "bias"))
        value = np.sin(7.0 * (value @ weight.T + bias))
    value = value @ weights["net.3.weight"].T + weights["net.3.bias"]
    np.testing.assert_allclose(model(inputs).detach().numpy(), value[:, 0], atol=2e-6)


def test_first_phase_keeps_its_bits_at_the_largest_omega_and_frame() -> None:
    """In float32 the phase, about 1e7 here, would be off by a radian."""
    model = Siren(32, 1, 4096.0)
    inputs = torch.stack([normalised(torch.tensor([63998.0, 63999.0]), 100.0), *torch.tensor([[8.0, -8.0]] * 2)], dim=1)
    weight, bias = (model.state_dict()[f"net.0.linear.{part}"].double() for part in ("weight", "bias"))
    exact = torch.sin(4096.0 * (inputs @ weight.T + bias))
    assert (model.net[0](inputs) - exact).abs().max() < 1e-6


def test_normalised_input_is_two_pi_a_period() -> None:
    assert normalised(torch.tensor([0.0, 50.0, 100.0]), 100.0).tolist() == pytest.approx([0.0, math.pi, 2 * math.pi])


@pytest.mark.parametrize("largest_phase", [1.0, 30.0, 1e3, 1e5, 1e6])
def test_sine_kernel_is_within_three_units_of_the_last_place(largest_phase: float) -> None:
    random = np.random.default_rng(0)
    phase = random.uniform(-largest_phase, largest_phase, (200, 100)).astype(np.float32)
    near_zeros = (np.arange(100) * np.pi * (largest_phase / 400)).astype(np.float32)
    phase[0] = near_zeros
    activation, slope = phase.copy(), np.empty_like(phase)
    kernels.sine(activation, np.zeros(100, np.float32), np.float32(1), slope)
    assert np.abs(activation - np.sin(phase.astype(np.float64))).max() < 2e-7
    assert np.abs(slope - np.cos(phase.astype(np.float64))).max() < 2e-7


def test_sine_kernel_lets_what_is_no_number_through() -> None:
    phase = np.array([[np.nan, np.inf, 1.0]], np.float32)
    kernels.sine(phase, np.zeros(3, np.float32), np.float32(1), np.empty_like(phase))
    assert np.isfinite(phase).tolist() == [[False, False, True]]


def test_kernels_compile_where_no_code_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "UserProvidedCacheLocator")  # of which there is none
    double = kernels.compiled("f8(f8)")(lambda x: 2 * x)
    assert double(3.0) == 6.0
