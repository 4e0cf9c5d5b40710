"""Compiled loops of the CPU engine: everything in a step that is not a matrix product.

Each touches an element once, in blocks that the caches hold. A sine layer's forward pass leaves the activation and the
slope omega * cos(phase), which is all that its backward pass needs.

Sine and cosine share one range reduction, phase = k pi + r with |r| <= pi / 2: pi in two float32 parts and fused
multiply-adds (Cody and Waite, "Software Manual for the Elementary Functions", 1980), then a minimax polynomial each.
For |phase| up to 1e6 the error is under 2e-7, about three units of float32's last place at one.

Importing this module compiles it, which takes some seconds the first time; later imports load numba's cache. Processes
that are forked from one that has imported it pay nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

f4, f8 = np.float32, np.float64

# Adding and taking away 1.5 * 2^23 (2^52) rounds to a whole number by the adder's own rounding.
ROUND_4, ROUND_8 = f4(1.5 * 2**23), f8(1.5 * 2**52)
PI_HIGH, PI_LOW = f4(np.pi), f4(np.pi - float(f4(np.pi)))
INVERSE_PI = f4(1 / np.pi)
ONE, TWO, HALF, TWO_PI = f4(1), f4(2), f4(0.5), f4(2 * np.pi)
# On [-pi/2, pi/2], sin(r) = r + r^3 (S0 + S1 r^2 + ...) to 5e-9 and cos(r) = 1 + r^2 (C0 + C1 r^2 + ...) to 3e-10.
S0, S1, S2, S3 = (f4(c) for c in (-0.16666657095, 0.0083330172801, -0.00019806614520, 2.6000534816e-6))
C0, C1, C2, C3, C4 = (
    f4(c) for c in (-0.49999999549, 0.041666640727, -0.0013888403499, 2.4761885847e-5, -2.6077099022e-7)
)


def compiled(signature: str) -> Callable[[Any], Any]:
    """Compile for `signature` alone, and keep the code on disk where a folder for it can be written.

    `contract` is the one liberty taken: others would undo the rounding.
    """

    def compile_now(function: Any) -> Any:
        options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
        try:
            return njit(signature, cache=True, **options)(function)
        except (RuntimeError, OSError):  # no folder to keep code in, or no room there
            return njit(signature, **options)(function)

    return compile_now


@compiled("(f4[:,::1], f4[::1], f4, f4[:,::1])")
def sine(phase: np.ndarray, bias: np.ndarray, omega: np.float32, slope: np.ndarray) -> None:
    """phase (n, h) becomes sin(omega * (phase + bias)); slope (n, h) becomes omega * cos of the same."""
    for i in range(phase.shape[0]):
        for j in range(phase.shape[1]):
            p = omega * (phase[i, j] + bias[j])
            k = (p * INVERSE_PI + ROUND_4) - ROUND_4
            r = (p - k * PI_HIGH) - k * PI_LOW
            odd = k - TWO * ((k * HALF + ROUND_4) - ROUND_4)  # -1, 0 or 1
            sign = ONE - TWO * odd * odd
            u = r * r
            phase[i, j] = sign * (r + r * u * (S0 + u * (S1 + u * (S2 + u * S3))))
            slope[i, j] = sign * omega * (ONE + u * (C0 + u * (C1 + u * (C2 + u * (C3 + u * C4)))))


@compiled("(f8[::1], f8[:,::1], i8[::1], i8[::1], f8[:,::1], f8[::1], f4, f4[:,::1], f4[:,::1])")
def first_sine(
    t: np.ndarray,
    xy: np.ndarray,
    frame: np.ndarray,
    position: np.ndarray,
    weight: np.ndarray,
    bias: np.ndarray,
    omega: np.float32,
    activation: np.ndarray,
    slope: np.ndarray,
) -> None:
    """The first layer of points `frame`, `position` (n,); its phases are formed in float64.

    t is (n_frames,), xy (n_unique, 2); weight (3, h) and bias (h,) are in units of 2 pi / omega; activation and slope
    (n, h) are written.
    """
    for i in range(activation.shape[0]):
        t_i, x_i, y_i = t[frame[i]], xy[position[i], 0], xy[position[i], 1]
        for j in range(activation.shape[1]):
            turns = weight[0, j] * t_i + (weight[1, j] * x_i + (weight[2, j] * y_i + bias[j]))
            activation[i, j] = f4(turns - ((turns + ROUND_8) - ROUND_8))
        for j in range(activation.shape[1]):  # a loop of its own: float32 alone fills the vector registers
            part = activation[i, j]  # of a turn, within a half of it
            half = (part + part + ROUND_4) - ROUND_4  # -1, 0 or 1
            sign = ONE - TWO * half * half
            r = (part - HALF * half) * TWO_PI
            u = r * r
            activation[i, j] = sign * (r + r * u * (S0 + u * (S1 + u * (S2 + u * S3))))
            slope[i, j] = sign * omega * (ONE + u * (C0 + u * (C1 + u * (C2 + u * (C3 + u * C4)))))


@compiled("f8(f4[::1], f4[::1], f4[::1], f4[::1], f4[::1], f4[:,::1], f4[:,::1], f4[::1], f4[::1], f4[::1])")
def output_backward(
    output: np.ndarray,
    bias: np.ndarray,
    target: np.ndarray,
    point_weight: np.ndarray,
    weight: np.ndarray,
    activation: np.ndarray,
    slope: np.ndarray,
    d_weight: np.ndarray,
    d_bias: np.ndarray,
    d_phase_bias: np.ndarray,
) -> float:
    """The loss of n points, and its gradient down to the last sine layer's phase, which takes the place of `slope`.

    output (without its bias), target and point_weight are (n,), weight (h,), activation and slope (n, h); d_weight
    (h,), d_bias (1,) and d_phase_bias (h,) are added to.
    """
    loss = 0.0
    for i in range(activation.shape[0]):
        error = output[i] + bias[0] - target[i]
        loss += point_weight[i] * error * error
        d_output = TWO * point_weight[i] * error
        d_bias[0] += d_output
        for j in range(activation.shape[1]):
            d_phase = d_output * weight[j] * slope[i, j]
            slope[i, j] = d_phase
            d_weight[j] += d_output * activation[i, j]
            d_phase_bias[j] += d_phase
    return loss


@compiled("(f4[:,::1], f4[:,::1], f4[::1])")
def sine_backward(gradient: np.ndarray, slope: np.ndarray, d_bias: np.ndarray) -> None:
    """gradient (n, h) with respect to a sine layer's activation becomes that with respect to its phase."""
    for i in range(gradient.shape[0]):
        for j in range(gradient.shape[1]):
            d_phase = gradient[i, j] * slope[i, j]
            gradient[i, j] = d_phase
            d_bias[j] += d_phase


@compiled("(f4[:,::1], f4[:,::1], f8[::1], f8[:,::1], i8[::1], i8[::1], f4[:,::1], f4[::1])")
def first_backward(
    gradient: np.ndarray,
    slope: np.ndarray,
    t: np.ndarray,
    xy: np.ndarray,
    frame: np.ndarray,
    position: np.ndarray,
    d_weight: np.ndarray,
    d_bias: np.ndarray,
) -> None:
    """From the gradient (n, h) of the first layer's activation, add to those of its weight (3, h) and bias (h,)."""
    for i in range(gradient.shape[0]):
        t_i, x_i, y_i = f4(t[frame[i]]), f4(xy[position[i], 0]), f4(xy[position[i], 1])
        for j in range(gradient.shape[1]):
            d_phase = gradient[i, j] * slope[i, j]
            d_weight[0, j] += d_phase * t_i
            d_weight[1, j] += d_phase * x_i
            d_weight[2, j] += d_phase * y_i
            d_bias[j] += d_phase


@compiled("f8(f4[::1])")
def norm(values: np.ndarray) -> float:
    """The root of the sum of squares of values (n,), in float64."""
    lanes = np.zeros(16)  # independent sums, so that they are formed side by side
    whole = values.size // 16 * 16
    for i in range(0, whole, 16):
        for lane in range(16):
            lanes[lane] += f8(values[i + lane]) * f8(values[i + lane])
    for i in range(whole, values.size):
        lanes[0] += f8(values[i]) * f8(values[i])
    return float(np.sqrt(lanes.sum()))


@compiled("(f4[::1], f4[::1], f4[::1], f4[::1], f8, f8, i8, f8, i8[:,::1], f8)")
def adam(
    theta: np.ndarray,
    gradient: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    rate: float,
    beta2: float,
    step: int,
    clip: float,
    hidden: np.ndarray,
    limit: float,
) -> None:
    """Clip the gradient's norm at `clip`, take step 1, 2, ... of Adam, and zero the gradient; all flat, (n,).

    Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1, with its constants but for beta2.
    The update of a hidden layer is shortened where its weights' Frobenius norm exceeds `limit`; a row of `hidden`
    (n_layers, 3) says where the layer's weights begin, its biases begin, and they end.
    """
    scale = f4(min(1.0, clip / (norm(gradient) + 1e-6)))
    b1, b2, c1, c2, epsilon = f4(0.9), f4(beta2), f4(1 - 0.9), f4(1 - beta2), f4(1e-8)
    size, correction = f4(rate / (1 - 0.9**step)), f4(1 / np.sqrt(1 - beta2**step))
    for i in range(theta.size):  # the gradient becomes the update
        g = gradient[i] * scale
        mean[i] = b1 * mean[i] + c1 * g
        square[i] = b2 * square[i] + c2 * g * g
        gradient[i] = size * mean[i] / (np.sqrt(square[i]) * correction + epsilon)
    for layer in range(hidden.shape[0]):
        start, biases, stop = hidden[layer]
        length = norm(gradient[start:biases])
        if length > limit:
            shorter = f4(limit / length)
            for i in range(start, stop):
                gradient[i] *= shorter
    for i in range(theta.size):
        theta[i] -= gradient[i]
        gradient[i] = f4(0)
