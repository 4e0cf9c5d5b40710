"""A worker held to its share of the memory."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable

import numpy as np
import psutil
import pytest
import torch

from siren_sweep.config.schema import GraphModel, Training, TrialConfig
from siren_sweep.sweep import memory
from siren_sweep.sweep.worker import failure_reason

MB = 2**20


def in_a_process(act: Callable[[], None]) -> int | None:
    """The exit code of a forked process that does `act`."""
    process = multiprocessing.get_context("fork").Process(target=act)
    process.start()
    process.join()
    return process.exitcode


def fails(allocate: Callable[[], object]) -> None:
    """Exit code 9 where it does not."""
    memory.limit_process(64 * MB)
    try:
        allocate()
    except Exception as error:
        memory.lift_limit()
        raise SystemExit(0 if failure_reason(error).startswith("out of memory: ") else 8) from None
    raise SystemExit(9)


@pytest.mark.parametrize(
    ("allocate", "code"),
    [
        (lambda: np.ones(128 * MB, np.uint8), 0),
        (lambda: torch.ones(128 * MB, dtype=torch.uint8), 0),
        (lambda: bytearray(128 * MB), 0),
        (lambda: np.ones(16 * MB, np.uint8), 9),
    ],
    ids=["numpy", "torch", "python", "little"],
)
def test_an_allocation_beyond_the_share_is_out_of_memory(allocate: Callable[[], object], code: int) -> None:
    assert in_a_process(lambda: fails(allocate)) == code


def test_a_config_that_cannot_fit_is_refused_with_what_it_needs_and_what_there_is() -> None:
    def refused() -> None:
        memory.limit_process(64 * MB)
        memory.refuse_greedy(TrialConfig(graph_model=GraphModel(hidden_dim_nnr_f=256)), "cpu", 4)
        with pytest.raises(MemoryError, match=r"take 5\.00 GiB, and the slot has 0\.06 GiB"):
            memory.refuse_greedy(TrialConfig(graph_model=GraphModel(hidden_dim_nnr_f=8192)), "cpu", 4)
        windows = TrialConfig(
            graph_model=GraphModel(hidden_dim_nnr_f=256, window_frames=10), training=Training(n_training_frames=1000)
        )
        windows.claude.search_windows = 4
        memory.refuse_greedy(windows, "cpu", 4)
        windows.claude.search_windows = 16
        with pytest.raises(MemoryError, match=r"take 0\.08 GiB, and the slot has 0\.06 GiB"):
            memory.refuse_greedy(windows, "cpu", 4)

    assert in_a_process(refused) == 0


def test_a_trial_that_is_alone_has_the_memory_of_all_slots() -> None:
    def alone() -> None:
        memory.widen_limit()
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY, "where there was no limit"
        memory.limit_process(64 * MB)
        memory.widen_limit()
        assert len(bytearray(128 * MB)) == 128 * MB
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] >= memory.SHARE * memory.machine_bytes()

    assert in_a_process(alone) == 0


def test_the_memory_is_at_most_the_machine_s() -> None:
    assert 0 < memory.machine_bytes() <= psutil.virtual_memory().total
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY
