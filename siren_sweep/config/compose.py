"""Composing a config with Hydra, and giving it the types of the schema."""

from __future__ import annotations

import copy
import os
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf, open_dict

from siren_sweep.config.schema import Config

ConfigStore.instance().store(name="schema", node=Config, provider="siren_sweep")


def conf_dir() -> str:
    """The folder of the config groups: inside the package where it is installed, beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return str(next(path for path in (package / "conf", package.parent / "conf") if path.is_dir()))


def typed(cfg: DictConfig) -> Config:
    """The composed config as a `Config`, with absolute paths."""
    bare = copy.deepcopy(cfg)
    with open_dict(bare):
        bare.pop("hydra", None)
    config = OmegaConf.to_object(bare)
    assert isinstance(config, Config)
    paths = ((config, "outputs_dir"), (config.dataset, "path"), (config.sweep, "learn_from"))
    for group, name in (*paths, (config.agent, "instructions")):
        if (path := getattr(group, name)) is not None:
            setattr(group, name, os.path.abspath(path))
    return config
