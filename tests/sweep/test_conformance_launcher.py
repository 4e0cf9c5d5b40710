"""Hydra's own suite for launchers, on the slots."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite
from hydra.version import VersionBase, __compat_version__

pytestmark = pytest.mark.slow

SLOTS = ["hydra.launcher.n_parallel=2", "hydra.launcher.device=cpu", "hydra.launcher.time_budget_min=10"]


@pytest.fixture(autouse=True)
def default_version_base() -> Iterator[None]:
    """As in a program that names no version: its jobs change into their folders. Other tests' programs name one."""
    before = VersionBase.instance().getbase()
    VersionBase.instance().setbase(__compat_version__)
    yield
    VersionBase.instance().version_base = before


@pytest.mark.parametrize(("launcher_name", "overrides"), [("slots", SLOTS)])
class TestSlots(LauncherTestSuite):
    # Its resolver is registered in the parent alone; a worker is forked from a server that imports what it needs.
    test_sweep_with_custom_resolver = None


BATCHES = ["hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2"]


@pytest.mark.parametrize(("launcher_name", "overrides"), [("slots", [*SLOTS, *BATCHES])])
class TestBatchesInSlots(BatchedSweeperTestSuite):
    pass


@pytest.mark.parametrize(("task_launcher_cfg", "extra_flags"), [({}, ["-m", "hydra/launcher=slots", *SLOTS])])
class TestProgramsInSlots(IntegrationTestSuite):
    pass
