"""`siren_sweep.load`: loads a model from a file or from MLflow."""

from __future__ import annotations

import re
from os import PathLike
from typing import TYPE_CHECKING

from siren_sweep.errors import ConfigError
from siren_sweep.train.model import Model
from siren_sweep.train.model import load as load_file

if TYPE_CHECKING:
    import torch

_URI = re.compile(r"(models|runs|mlflow-artifacts):/")


def load(
    path: str | PathLike[str],
    *,
    block: int | None = None,
    device: str | torch.device = "cpu",
    tracking_uri: str | None = None,
) -> Model:
    """The trained model of a block, as a function of (t, x, y).

    `path` is one of these:

    - an exported model, such as `outputs/demo/best/block_02`, with or without one of its endings;
    - a sweep's folder; `block` is then the number of the block;
    - a model of MLflow: its folder, or its URI, such as `models:/demo@block_02`. A URI is looked up at `tracking_uri`,
      else at the environment's MLFLOW_TRACKING_URI, else in `outputs/mlflow.db`.

    `device` is PyTorch's name of one. Raises OutputError where there is no such model or a file of it is missing or
    damaged, and ConfigError for a wrong block or device.
    """
    if not isinstance(path, str) or not _URI.match(path):
        return load_file(path, block=block, device=device)
    if block is not None:
        raise ConfigError(f"block must be left out with an address of MLflow's, got {block!r} with {path!r}")
    from siren_sweep.views.mlflow.registry import downloaded

    with downloaded(path, tracking_uri) as folder:
        return load_file(folder, device=device)
