"""Find the SIREN hyperparameters that fit a stimulus field, with evidence for each choice.

model = siren_sweep.load("outputs/demo/best/block_02")  # a function of (t, x, y)
sweep = siren_sweep.open_sweep("outputs/demo")  # what was tried, as data frames
siren_sweep.compare(["outputs/a", "outputs/b"])  # a row a sweep and block
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siren_sweep.train.model import Model
    from siren_sweep.views.frames import Sweep, compare, open_sweep
    from siren_sweep.views.loading import load

__all__ = ["Model", "Sweep", "compare", "load", "open_sweep"]
__version__ = "0.1.0"

_HOMES = {  # imported when first asked for, so that the package itself costs nothing
    "Model": "train.model",
    "Sweep": "views.frames",
    "compare": "views.frames",
    "load": "views.loading",
    "open_sweep": "views.frames",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
