"""The command `python -m siren_sweep`: from the command line to a single run, a trial of a sweep, or a sweep.

Workers import this module by name: it stays light, and torch, optuna and mlflow are imported where they are needed.
"""

from __future__ import annotations

import copy
import os
import sys
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from siren_sweep.base_config import with_base
from siren_sweep.config import Config, faults
from siren_sweep.errors import ConfigError, SweepError
from siren_sweep.paths import OutputPaths

ConfigStore.instance().store(name="schema", node=Config, provider="siren_sweep")


def conf_dir() -> str:
    """The config groups: inside the package when it was installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return str(next(path for path in (package / "conf", package.parent / "conf") if path.is_dir()))


def task(cfg: DictConfig) -> None:
    """What Hydra runs for each job: a worker's trial where a sweep says which, else a single run."""
    config = typed(cfg)
    if wrong := faults(config):
        raise ConfigError(wrong)
    if config.trial.number is None:
        from siren_sweep.single import run_single

        run_single(config, Path(HydraConfig.get().runtime.output_dir))
    else:
        from siren_sweep.trial import run_trial

        outputs = OutputPaths(Path(config.outputs_dir))
        run_trial(config, outputs, outputs.sweep(config.sweep.name))


def typed(cfg: DictConfig) -> Config:
    """The composed config as the dataclasses that it was checked against, its paths absolute."""
    bare = copy.deepcopy(cfg)
    with open_dict(bare):
        bare.pop("hydra", None)
    config = OmegaConf.to_object(bare)
    assert isinstance(config, Config)
    config.outputs_dir = os.path.abspath(config.outputs_dir)
    if config.dataset.path is not None:
        config.dataset.path = os.path.abspath(config.dataset.path)
    if config.sweep.learn_from is not None:
        config.sweep.learn_from = os.path.abspath(config.sweep.learn_from)
    return config


def main() -> None:
    """Run Hydra; a person's mistake is one message and exit code 2."""
    from siren_sweep.command_line import explain

    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # so that errors come here, and are told in one way
    try:
        sys.argv[1:] = with_base(sys.argv[1:])
        hydra.main(config_path=conf_dir(), config_name="config", version_base="1.3")(task)()
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sweeping = {"-m", "--multirun"} & {*sys.argv}
        print("stopped" + ("; the same command goes on from here" if sweeping else ""), file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        text = explain(error, sys.argv[1:])
        if text is None:
            raise
        print(f"error: {text}", file=sys.stderr)
        raise SystemExit(2) from None
