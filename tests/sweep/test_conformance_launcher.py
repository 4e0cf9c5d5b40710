"""Hydra's own suite for launchers, on the slots."""

from __future__ import annotations

import pytest
from hydra.test_utils.launcher_common_tests import BatchedSweeperTestSuite, IntegrationTestSuite, LauncherTestSuite

pytestmark = pytest.mark.slow

SLOTS = ["hydra.launcher.n_parallel=2", "hydra.launcher.device=cpu", "hydra.launcher.time_budget_min=10"]


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
