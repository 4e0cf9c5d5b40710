"""The command `python -m siren_sweep`: runs a subcommand, a single training run, a sweep, or one trial of a sweep.

Workers import this module and should start fast, so torch, optuna and mlflow are imported where they are needed.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from siren_sweep.cli import commands
from siren_sweep.cli.overview import overview
from siren_sweep.config.base import with_base
from siren_sweep.config.checks import faults
from siren_sweep.config.compose import conf_dir, typed
from siren_sweep.errors import ConfigError, SweepError
from siren_sweep.paths import OutputPaths

_SWEEPS = {"-m", "--multirun"}


def task(cfg: DictConfig) -> None:
    """What Hydra runs for each job: the trial of a sweep that the config names, or else a single run.

    Raises ConfigError with every fault of the config, and what `run_trial` or `run_single` raise.
    """
    config = typed(cfg)
    if wrong := faults(config):
        raise ConfigError(wrong)
    if config.trial.number is None:
        from siren_sweep.cli.single import run_single

        run_single(config, Path(HydraConfig.get().runtime.output_dir))
    else:
        from siren_sweep.sweep.worker import run_trial

        outputs = OutputPaths(Path(config.outputs_dir))
        run_trial(config, outputs, outputs.sweep(config.sweep.name))


def _run_once() -> None:
    """A single run. Hydra adds a line of its own to errors that pass through it, so they are raised again outside."""
    told: list[SweepError] = []

    def once(cfg: DictConfig) -> None:
        try:
            task(cfg)
        except SweepError as error:
            told.append(error)

    by_hydra(once)
    for error in told:
        raise error


def by_hydra(job: Callable[[DictConfig], None]) -> None:
    """Have Hydra compose the config of the command line and run `job` with it, or with `-m` a sweep's jobs."""
    hydra.main(config_path=conf_dir(), config_name="config", version_base="1.3")(job)()


def _to_show(arguments: list[str]) -> list[str]:
    """The arguments; of a sweep with `--cfg` or `--info`, only those that Hydra can show: without what is swept."""
    from siren_sweep.config.overrides import overrides_in, parse

    asked = any(text in ("-c", "-i") or text.startswith(("--cfg", "--info")) for text in arguments)
    if not asked or not _SWEEPS & {*arguments}:
        return arguments
    swept = [text for text in overrides_in(arguments) if parse(text).is_sweep_override()]
    if swept:
        print(f"not shown, since it is swept: {' '.join(swept)}", file=sys.stderr)
    return [text for text in arguments if text not in _SWEEPS and text not in swept]


def _refuse_other_text() -> None:
    """Raises ConfigError where the command or the working directory is not valid UTF-8, and so fits no text file."""
    with contextlib.suppress(FileNotFoundError):  # the working directory was removed
        for text in (*sys.argv[1:], os.getcwd()):
            if not text.isascii() and any("\ud800" <= mark <= "\udfff" for mark in text):
                raise ConfigError(
                    f"the command and the names in it must be text in UTF-8, got {text!r} (where the locale says "
                    "another encoding, PYTHONUTF8=1 makes Python take UTF-8)"
                )


def main() -> None:
    """Run a subcommand, or Hydra. A person's mistake is printed as one message; the exit code is then 2."""
    from siren_sweep.config.overrides import explain

    os.environ["HYDRA_FULL_ERROR"] = "1"  # always, so that errors reach the handlers below
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: a terminal's encoding may lack a letter
    try:
        _refuse_other_text()
        if sys.argv[1:2] and sys.argv[1] in commands.names():
            raise SystemExit(commands.run(sys.argv[1:]))
        if not __debug__:
            raise ConfigError("python must run without -O and PYTHONOPTIMIZE: Hydra's parser relies on assertions")
        if {"-h", "--help"} & {*sys.argv[1:]}:
            print(overview(commands.names(), Path(conf_dir())))
            return
        sys.argv[1:] = _to_show(with_base(sys.argv[1:]))
        if _SWEEPS & {*sys.argv}:
            print("siren_sweep: reading the config", file=sys.stderr)
            by_hydra(task)
        else:
            _run_once()
    except SweepError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        sweeping = _SWEEPS & {*sys.argv}
        print("stopped" + ("; the same command goes on from here" if sweeping else ""), file=sys.stderr)
        raise SystemExit(130) from None
    except Exception as error:
        text = explain(error, sys.argv[1:])
        if text is None:
            raise
        print(f"error: {text}", file=sys.stderr)
        raise SystemExit(2) from None
