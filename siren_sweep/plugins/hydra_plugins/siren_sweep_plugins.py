"""The Sweeper and the Launcher that Hydra finds; both hand over to `siren_sweep.sweep`.

Hydra imports this file at every start, so that slow imports are inside of functions.
"""

import contextlib
import copy
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import II, DictConfig, OmegaConf, open_dict, read_write

from siren_sweep.config.schema import ADDRESSES


@dataclass
class SirenSweeperConf:
    """`hydra/sweeper: siren_sweep`. Its settings are in the config groups."""

    _target_: str = "hydra_plugins.siren_sweep_plugins.SirenSweeper"


@dataclass
class SlotsLauncherConf:
    """`hydra/launcher: slots`. The machine and `n_parallel` decide how many trials run at once."""

    _target_: str = "hydra_plugins.siren_sweep_plugins.SlotsLauncher"
    n_parallel: int = II("claude.n_parallel")
    device: str = II("training.device")
    time_budget_min: float = II("claude.time_budget_min")


ConfigStore.instance().store(group="hydra/sweeper", name="siren_sweep", node=SirenSweeperConf, provider="siren_sweep")
ConfigStore.instance().store(group="hydra/launcher", name="slots", node=SlotsLauncherConf, provider="siren_sweep")


class SirenSweeper(Sweeper):
    """Hands the composed config and the launcher to `siren_sweep.sweep.loop`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        assert self.config is not None
        with _locked_if_begun(self.config):  # first, since imports and checks take seconds
            _warm_up_early(self.config)
            from siren_sweep.sweep.loop import run_sweep

            run_sweep(self.config, arguments, self._make_launcher)

    def _make_launcher(self) -> Launcher:
        from hydra.core.plugins import Plugins

        assert self.hydra_context is not None
        assert self.config is not None
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=self.hydra_context, task_function=self.task_function, config=without_addresses(self.config)
        )
        return self.launcher


def _warm_up_early(config: DictConfig) -> None:
    """Start the server for workers, which takes seconds, before everything else is imported and checked.

    With a database server, or with GPUs, it must start later: it needs the storage's address, or NVIDIA's service.
    """
    from siren_sweep.sweep.slots import warm_up
    from siren_sweep.train.machine import n_gpus

    if config.storage.url is None and n_gpus(config.training.device) == 0:
        warm_up()


@contextlib.contextmanager
def _locked_if_begun(config: DictConfig) -> Iterator[None]:
    """Hold the lock of a sweep that was begun before. A new sweep has no folder before it was checked.

    Raises SweepStateError where the sweep is running. A wrong name or folder is not reported here, but by the checks.
    """
    from siren_sweep.errors import ConfigError, OutputError
    from siren_sweep.paths import OutputPaths
    from siren_sweep.sweep.lock import locked

    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ConfigError, OutputError, OSError):
            paths = OutputPaths(Path(os.path.abspath(config.outputs_dir))).sweep(config.sweep.name)
            if paths.lock.exists():
                stack.enter_context(locked(paths))
        yield


def without_addresses(config: DictConfig) -> DictConfig:
    """A copy of the config without addresses, which may hold a password: a launcher may write it to disk."""
    own = copy.deepcopy(config)
    with read_write(own), open_dict(own):
        for name in ADDRESSES:
            OmegaConf.update(own, name, None)
        task = own.hydra.overrides.task
        own.hydra.overrides.task = [text for text in task if text.lstrip("+").split("=")[0] not in ADDRESSES]
    return own


class SlotsLauncher(Launcher):
    """Runs each job in a process of its own; see `siren_sweep.sweep.slots`."""

    def __init__(self, n_parallel: int, device: str, time_budget_min: float) -> None:
        self._n_parallel, self._device, self._time_budget_min = n_parallel, device, time_budget_min

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from siren_sweep.sweep.slots import warm_up

        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config
        warm_up()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from siren_sweep.sweep.hydra_jobs import launch_in_slots

        assert self.config is not None
        assert self.hydra_context is not None
        assert self.task_function is not None
        batch = [list(overrides) for overrides in job_overrides]
        limits = (self._n_parallel, self._device, self._time_budget_min)
        return launch_in_slots(self.config, self.hydra_context, self.task_function, batch, initial_job_idx, *limits)
