"""Find the SIREN hyperparameters that fit a stimulus field, with evidence for each choice.

model = siren_sweep.load("outputs/demo/best/block_02")    # a function of (t, x, y)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siren_sweep.train.model import Model
    from siren_sweep.views.loading import load

__all__ = ["Model", "load"]
__version__ = "0.1.0"

_HOMES = {  # imported when first asked for, so that the package itself costs nothing
    "Model": "train.model",
    "load": "views.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
