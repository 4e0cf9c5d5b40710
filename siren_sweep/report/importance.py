"""How much each parameter mattered: functional ANOVA over the ranks of the trials within their blocks.

Hutter, Hoos & Leyton-Brown (ICML 2014), section 4, as Optuna computes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from siren_sweep.report.view import ReportedBlock, value_of
from siren_sweep.search.space import WINDOW
from siren_sweep.search.tree import rank_rewards

FEWEST_TRIALS, TRIALS_A_PARAMETER = 10, 2  # fewer say nothing: the forest then splits on chance


def parameter_importances(blocks: Sequence[ReportedBlock]) -> tuple[dict[str, float], str]:
    """Shares by dimension, and how they came about; no shares where there are too few trials.

    Ranks make blocks comparable and keep one disaster from outweighing all else; a pruned trial has its last R2.
    """
    rows = [row for block in blocks for row in _ranked(block)]
    names = [name for name in rows[0][0] if all(name in params for params, _ in rows)] if rows else []
    varied = {name: [float(params[name]) for params, _ in rows] for name in names}
    varied = {name: values for name, values in varied.items() if min(values) < max(values)}
    needed = max(TRIALS_A_PARAMETER * len(varied), FEWEST_TRIALS)
    if len(varied) < 2 or len(rows) < needed:
        return {}, (
            f"Too few trials to tell: {len(rows)} have an R² and {len(varied)} parameters varied; at least {needed} "
            "trials are needed, and two parameters."
        )
    study = optuna.create_study(direction="maximize")
    ranges: dict[str, BaseDistribution] = {
        name: FloatDistribution(min(values), max(values), log=True) for name, values in varied.items()
    }
    for index, (_, rank) in enumerate(rows):
        point = {name: values[index] for name, values in varied.items()}
        study.add_trial(create_trial(params=point, distributions=ranges, value=rank))
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return shares, f"From {len(rows)} trials of all blocks, each by its rank in its block; a pruned one by its last R²."


def _ranked(block: ReportedBlock) -> list[tuple[dict[str, float], float]]:
    """(params, rank in [0, 1]) of the trials that have a value; none of a block with a single one."""
    valued = {trial.number: (trial, value) for trial in block.trials if (value := value_of(trial)) is not None}
    if len(valued) < 2:
        return []
    ranks = rank_rewards({number: value for number, (_, value) in valued.items()})
    return [(_lengths(trial.params, block.n_frames), ranks[number]) for number, (trial, _) in valued.items()]


def _lengths(params: Mapping[str, Any], n_frames: int) -> dict[str, float]:
    """The params with all frames in the place of no windows, so that every value has a logarithm."""
    return {name: n_frames if name == WINDOW and value == 0 else value for name, value in params.items()}
