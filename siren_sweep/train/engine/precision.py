"""Hidden layers' matrix products in less than float32, where a device is much faster at them.

On a GPU they are TF32 (10 bits of mantissa), on a CPU with AMX bfloat16 (7 bits); sums are float32, weights and all
else stay float32, and predictions, from which metrics come, use neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from siren_sweep.config.choices import Precision


def is_reduced(precision: Precision, device: torch.device) -> bool:
    """Whether training on `device` has products of less than float32."""
    if precision != Precision.reduced:
        return False
    return device.type == "cuda" or bool(torch.cpu.get_capabilities().get("amx_bf16"))


@contextmanager
def hidden_products(reduced: bool, device: torch.device) -> Iterator[None]:
    """Inside, float32 matrix products on `device` are TF32 or bfloat16 where `reduced` says so, and else float32,
    whatever the environment has set (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE)."""
    backend: Any = torch.backends.cuda.matmul
    kind = "tf32"
    if device.type == "cpu":
        backend, kind = torch.backends.mkldnn.matmul, "bf16"  # type: ignore[attr-defined]
    before = backend.fp32_precision
    backend.fp32_precision = kind if reduced else "ieee"
    try:
        yield
    finally:
        backend.fp32_precision = before
