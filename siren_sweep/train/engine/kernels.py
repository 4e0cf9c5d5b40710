"""Compiled loops of the CPU engine: everything in a step that is not a matrix product.

Each loop touches an element once, in blocks that fit into the caches. A sine layer's forward pass stores the activation
and the slope omega * cos(phase); its backward pass needs nothing else.

Sine and cosine share one range reduction, phase = k pi + r with |r| <= pi / 2: pi in two float32 parts and fused
multiply-adds (Cody and Waite, "Software Manual for the Elementary Functions", 1980), then a minimax polynomial each.
For |phase| up to 1e6 the error is under 2e-7, about three units in the last place of a float32 near 1.

The first import of this module compiles it, which takes some seconds; later imports load numba's cache. A process that
is forked from one that has imported it has the compiled code at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

f4, f8 = np.float32, np.float64

# Adding 1.5 * 2^23 (float64: 2^52) and subtracting it again rounds a number to the nearest whole number.
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
    """A decorator that compiles a function for `signature`, and caches the code on disk where numba finds a folder.

    Of numba's fastmath options only `contract` is set: others would optimise the rounding away.
    """

    def compile_now(function: Any) -> Any:
        options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
        try:
            return njit(signature, cache=True, **options)(function)
        except (RuntimeError, OSError):  # no folder for the cache, or no room in it
            return njit(signature, **options)(function)

    return compile_now


@compiled("(f4[:,::1], f4[::1], f4, f4[:,::1])")
def sine(phase: np.ndarray, bias: np.ndarray, omega: np.float32, slope: np.ndarray) -> None:
    """Write sin(omega * (phase + bias)) to `phase` (n, h), and omega * cos of the same argument to `slope` (n, h)."""
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
    """Write the first layer's activation and slope, (n, h), at points `frame`, `position` (n,).

    t is (n_frames,), xy (n_unique, 2). weight (3, h) and bias (h,) are multiplied by omega / 2 pi, so that a phase is
    in turns; it is computed in float64.
    """
    for i in range(activation.shape[0]):
        t_i, x_i, y_i = t[frame[i]], xy[position[i], 0], xy[position[i], 1]
        for j in range(activation.shape[1]):
            turns = weight[0, j] * t_i + (weight[1, j] * x_i + (weight[2, j] * y_i + bias[j]))
            activation[i, j] = f4(turns - ((turns + ROUND_8) - ROUND_8))
        for j in range(activation.shape[1]):  # a loop of its own, of float32 alone, which vectorises best
            part = activation[i, j]  # of a turn, from -1/2 to 1/2
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
    """The loss of n points. Its gradient with respect to the last sine layer's phase is written to `slope` (n, h).

    output (without its bias), target and point_weight are (n,), weight (h,), activation (n, h). The gradients of the
    parameters are added to d_weight (h,), d_bias (1,) and d_phase_bias (h,).
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
    """Replace a gradient (n, h) with respect to a sine layer's activation by that with respect to its phase.

    The gradient of the layer's bias is added to d_bias (h,).
    """
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
    """Add the gradients of the first layer's weight (3, h) and bias (h,), from that of its activation (n, h)."""
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
    """The Euclidean norm of values (n,), summed in float64."""
    lanes = np.zeros(16)  # independent sums, which the compiler vectorises
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
    """Clip the gradient's norm to `clip`, take step number `step` (1, 2, ...) of Adam, and set the gradient to 0.

    theta, gradient and the moments `mean` and `square` are (n,). The method is algorithm 1 of Kingma and Ba, "Adam: a
    method for stochastic optimization" (2015), with its constants except beta2. A hidden layer's update is shortened to
    `limit` where the Frobenius norm of its weights' part is larger. A row of `hidden` (n_layers, 3) has three offsets:
    where the layer's weights begin, where its biases begin, and where these end.
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
