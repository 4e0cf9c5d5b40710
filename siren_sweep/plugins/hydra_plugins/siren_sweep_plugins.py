"""The thin Sweeper and Launcher that Hydra finds. Hydra imports this at every start: nothing heavy up here."""

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
    """`hydra/sweeper: siren_sweep`; its settings are config groups: claude, blocks, search_space, sampler, pruner."""

    _target_: str = "hydra_plugins.siren_sweep_plugins.SirenSweeper"


@dataclass
class SlotsLauncherConf:
    """`hydra/launcher: slots`; how many run at once follows from the machine and `n_parallel`."""

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
        with _locked_where_it_is(self.config):  # before what takes seconds: torch, and all the checks
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
    """Start the server for workers before all else is imported and checked: it takes seconds. It must know the storage,
    and on GPUs NVIDIA's service, so where there are such it starts when they are known."""
    from siren_sweep.sweep.slots import warm_up
    from siren_sweep.train.machine import n_gpus

    if config.storage.url is None and n_gpus(config.training.device) == 0:
        warm_up()


@contextlib.contextmanager
def _locked_where_it_is(config: DictConfig) -> Iterator[None]:
    """Hold the lock of a sweep that was begun before; one that is new has no folder until it was checked.

    Raises SweepStateError where the sweep runs. A name or a folder that cannot be is told with all else that is wrong.
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
    """A copy of the config for a launcher, which may write it to disk: an address may hold a password."""
    own = copy.deepcopy(config)
    with read_write(own), open_dict(own):
        for name in ADDRESSES:
            OmegaConf.update(own, name, None)
        task = own.hydra.overrides.task
        own.hydra.overrides.task = [text for text in task if text.lstrip("+").split("=")[0] not in ADDRESSES]
    return own


class SlotsLauncher(Launcher):
    """One process a job, forked from a server that starts as the launcher is made; see `siren_sweep.sweep.slots`."""

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
