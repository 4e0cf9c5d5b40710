"""Hidden layers' matrix products of lower precision than float32, where the device is much faster at them.

On a GPU they are TF32 (10 bits of mantissa), on a CPU with AMX bfloat16 (7 bits). Sums, weights and all else are
float32, and so are predictions, from which the metrics come.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from siren_sweep.config.choices import Precision


def is_reduced(precision: Precision, device: torch.device) -> bool:
    """Whether training on `device` uses products of lower precision than float32."""
    if precision != Precision.reduced:
        return False
    return device.type == "cuda" or bool(torch.cpu.get_capabilities().get("amx_bf16"))


@contextmanager
def hidden_products(reduced: bool, device: torch.device) -> Iterator[None]:
    """Inside the context, float32 matrix products on `device` are TF32 or bfloat16 where `reduced`, else float32.

    It overrides the environment's TORCH_ALLOW_TF32_CUBLAS_OVERRIDE.
    """
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
