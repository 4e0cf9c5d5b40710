"""A pruner and a proposer, for a sweep's config, that pause and resume trials by their number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from siren_sweep.search.proposal import Proposal
from siren_sweep.search.proposer import OneByOne
from siren_sweep.study.studies import paused_trials

PAUSED_AT = 7  # reports


class OddOnes(BasePruner):
    """Stops the trials 1, 3, 5 and so on at their seventh report."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return trial.number % 2 == 1 and trial.last_step == PAUSED_AT


class FirstAgain(OneByOne):
    """Resumes trial 1 as soon as it is paused, and no other trial."""

    def propose(self, study: Study, distributions: Mapping[str, Any], n: int, **more: Any) -> list[Proposal]:
        again = [
            Proposal(dict(one.params), "again", goes_on=one.number) for one in paused_trials(study) if one.number == 1
        ]
        return again + super().propose(study, distributions, n - len(again), **more)
