"""The command `python -m siren_sweep`: from the command line to a single run, a trial of a sweep, or a sweep.

Workers import this module by name: it stays light, and torch, optuna and mlflow are imported where they are needed.
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
    """What Hydra runs for each job: a worker's trial where a sweep says which, else a single run."""
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
    """A single run. Its errors go around Hydra, which puts a line of its own before those that pass through it."""
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
    """Run a job, or with `-m` the jobs of a sweep, with the config that the command line composes."""
    hydra.main(config_path=conf_dir(), config_name="config", version_base="1.3")(job)()


def _to_show(arguments: list[str]) -> list[str]:
    """Of a sweep's command with `--cfg` or `--info`, what Hydra shows: the config of all that is not swept."""
    from siren_sweep.config.overrides import overrides_in, parse

    asked = any(text in ("-c", "-i") or text.startswith(("--cfg", "--info")) for text in arguments)
    if not asked or not _SWEEPS & {*arguments}:
        return arguments
    swept = [text for text in overrides_in(arguments) if parse(text).is_sweep_override()]
    if swept:
        print(f"swept, and so not in what is shown: {' '.join(swept)}", file=sys.stderr)
    return [text for text in arguments if text not in _SWEEPS and text not in swept]


def _refuse_other_text() -> None:
    """Raises ConfigError where the command, or its folder, could not be written to a file."""
    with contextlib.suppress(FileNotFoundError):  # a folder that was removed
        for text in (*sys.argv[1:], os.getcwd()):
            if not text.isascii() and any("\ud800" <= mark <= "\udfff" for mark in text):
                raise ConfigError(
                    f"the command and the names in it must be text in UTF-8, got {text!r} (where the locale says "
                    "another encoding, PYTHONUTF8=1 makes Python take UTF-8)"
                )


def main() -> None:
    """Run a subcommand, or Hydra; a person's mistake is one message and exit code 2."""
    from siren_sweep.config.overrides import explain

    os.environ["HYDRA_FULL_ERROR"] = "1"  # whatever it was: so that errors come here, and are told in one way
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a terminal may have fewer letters than a name
    try:
        _refuse_other_text()
        if sys.argv[1:2] and sys.argv[1] in commands.names():
            raise SystemExit(commands.run(sys.argv[1:]))
        if not __debug__:
            raise ConfigError("python must run without -O and PYTHONOPTIMIZE: what Hydra reads rests on assertions")
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
