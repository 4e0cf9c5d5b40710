"""Optuna's own suite for samplers, on ours. It has none for pruners: `test_policies` asks each of them for a stop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase

from siren_sweep.search.grid import GridSampler
from siren_sweep.search.sampler import UCBTreeSampler

pytestmark = pytest.mark.slow


# Its cases of several objectives are left out: a sweep has one, and ours do not look for more.
class TestSamplers(BasicSamplerTestCase, RelativeSamplerTestCase):
    @pytest.fixture(params=[UCBTreeSampler, GridSampler])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return request.param
