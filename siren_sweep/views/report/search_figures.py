"""The report's charts of the search: Optuna's figures of each block, and the importance of each parameter."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial
from optuna.visualization import plot_contour, plot_parallel_coordinate, plot_param_importances, plot_slice
from plotly.colors import sample_colorscale

from siren_sweep.config.parameters import WINDOW, short_name
from siren_sweep.search.tree import rank_rewards
from siren_sweep.study.records import Trial
from siren_sweep.views.blocks import BlockView
from siren_sweep.views.report.error_scale import log_error
from siren_sweep.views.report.trial_facts import best_and_spread

ERROR = "log10(1 - R²)"
FEWEST_TRIALS, TRIALS_A_PARAMETER = 10, 2  # with fewer trials the forest splits by chance
N_RESAMPLED = 10  # sets of trials, drawn with replacement, from which the spread of importances is computed
N_TREES = 16
_ERRORS = ["#0b7fd1", "#c3c9ce"]  # colours of low and high errors, both visible on a light and on a dark page
_MANY = 6  # from this many panels of slices on, the numbers on their axes would touch
_CONTOURS = 3  # parameters in the contour figure, the most important ones
MOST_CONTOURED = 150  # trials in it, since a panel is a matrix of all values of one parameter by all of another
MOST_RANKED = 300  # trials for importances, since eleven forests of 2000 trials take minutes


def block_figures(block: BlockView, ranked: Sequence[str]) -> dict[str, go.Figure]:
    """Parallel coordinates, slices and contours of a block, by name.

    `ranked` are the short names of the parameters, the most important one first. Empty before two trials with
    different values have finished.
    """
    study = _shown_study(block.frozen)
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    known = dict.fromkeys(name for trial in trials for name in trial.params)
    values = {name: {trial.params.get(name) for trial in trials} for name in known}
    values = {name: found for name, found in values.items() if None not in found}  # known in all trials
    rank = {name: index for index, name in enumerate(ranked)}
    varied = (name for name, found in values.items() if len(found) > 1)
    names = sorted(varied, key=lambda name: (rank.get(name, len(rank)), name))
    if not names:
        return {}
    asked: dict[str, Any] = {"target": _target, "target_name": ERROR}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = {
            "Parallel coordinates": plot_parallel_coordinate(_drawn(study, trials), params=names, **asked),
            "Slices": plot_slice(study, params=names, **asked),
        }
        if len(names) > 1:
            best = sorted(trials, key=_target)[:MOST_CONTOURED]
            found["Contours"] = plot_contour(_study_of(best), params=names[:_CONTOURS], **asked)
    if "Contours" in found:
        found["Contours"].update_layout(height=480)
    for figure in (found[name] for name in ("Slices", "Contours") if name in found):
        for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
            _number_ends(axis, values.get(axis.title.text, ()))
            axis.update(ticks="", title_font_size=12)
    _name_panels(found["Slices"], many=len(names) >= _MANY)
    for line in found["Parallel coordinates"].select_traces({"mode": "lines"}):
        line.update(line={"color": sample_colorscale(_ERRORS, line.y[0])[0], "width": 1.8}, opacity=0.8)
    bar = {"colorscale": _ERRORS, "reversescale": False}
    found["Parallel coordinates"].update_traces(marker=bar, selector={"mode": "markers"})
    return found


def _number_ends(axis: Any, values: Collection[Any]) -> None:
    """Show only the first and the last number on a panel's axis, which has little room. Choices of texts stay."""
    if values and not any(isinstance(value, str) for value in values):
        ends = min(values), max(values)
        axis.update(tickvals=ends, ticktext=[f"{end:.3g}" for end in ends])


def _name_panels(slices: go.Figure, many: bool) -> None:
    """Write the panels' names in two alternating rows, since a name may be wider than its panel."""
    slices.update_layout(width=None, height=370 if many else 350, margin_b=90 if many else 70)
    for place, axis in enumerate(slices.select_xaxes()):
        below = {"y": 0, "yref": "paper", "yanchor": "top", "yshift": -(50 if many else 22) - (0, 18)[place % 2]}
        middle = {"x": 0.5, "xref": f"{axis.plotly_name.replace('axis', '')} domain", "xanchor": "center"}
        slices.add_annotation(text=axis.title.text, showarrow=False, font_size=12, **middle, **below)
        axis.update(title="", tickangle=-90 if many else 0)


def parameter_importances(blocks: Sequence[BlockView]) -> tuple[go.Figure | None, list[str], str]:
    """The importance of each parameter: a figure, the short names in order of importance, and an explanation.

    Where there are too few trials, the figure is None and there are no names. The importances are those of functional
    ANOVA (Hutter, Hoos & Leyton-Brown, ICML 2014, section 4), as Optuna computes it, over the ranks of the trials
    within their blocks. Ranks make blocks comparable, and one very bad trial does not outweigh all others. A pruned
    trial has its last R2. The spread is the standard deviation over sets of trials drawn with replacement.
    """
    rows = [row for block in blocks for row in _ranked(block)]
    if not any(trial.params.get(WINDOW) for block in blocks for trial in block.trials):  # as in an imported log
        for params, _ in rows:
            params.pop(short_name(WINDOW), None)
    names = [name for name in rows[0][0] if all(name in params for params, _ in rows)] if rows else []
    varied = [name for name in names if len({params[name] for params, _ in rows}) > 1]
    needed = max(TRIALS_A_PARAMETER * len(varied), FEWEST_TRIALS)
    if len(varied) < 2 or len(rows) < needed:
        told = f"Too few trials to tell: {len(rows)} have an R² and {len(varied)} parameters varied; at least {needed} "
        return None, [], f"{told}trials are needed, and two parameters."
    rng, n_all = np.random.default_rng(0), len(rows)
    if n_all > MOST_RANKED:
        rows = [rows[index] for index in np.sort(rng.choice(n_all, MOST_RANKED, replace=False))]
    study = _ranks_study(rows, varied)
    evaluator = FanovaImportanceEvaluator(n_trees=N_TREES, seed=0)
    figure = plot_param_importances(study, evaluator=evaluator)
    ordered, means = [str(name) for name in figure.data[0].y], [float(share) for share in figure.data[0].x]
    drawn = [rng.integers(len(rows), size=len(rows)) for _ in range(N_RESAMPLED)]
    shares = [_shares(_ranks_study([rows[index] for index in own], varied), evaluator) for own in drawn]
    spread = [float(np.std([share.get(name, 0.0) for share in shares])) for name in ordered]
    below = [min(pair) for pair in zip(spread, means, strict=True)]
    labels = [f"{name}  {mean:.2f} ± {own:.2f}" for name, mean, own in zip(ordered, means, spread, strict=True)]
    figure.update_traces(y=labels, text=None, hovertemplate="%{y}<extra></extra>", marker_color="#0b7fd1")
    figure.update_traces(error_x={"array": spread, "arrayminus": below, "symmetric": False, "color": "#8a939b"})
    figure.update_layout(title=None, height=110 + 30 * len(ordered), xaxis_title="share of the variance")
    figure.update_yaxes(title="")
    how = (
        f"From {len(rows)} {f'of {n_all} ' if n_all > len(rows) else ''}trials of all blocks, each by its rank in its "
        f"block; a pruned one by its last R². The lines are the standard deviation over {N_RESAMPLED} sets of as many "
        "trials, drawn with replacement."
    )
    return figure, ordered[::-1], how


def _shares(study: Study, evaluator: FanovaImportanceEvaluator) -> dict[str, float]:
    values = {trial.value for trial in study.get_trials(deepcopy=False)}
    return get_param_importances(study, evaluator=evaluator) if len(values) > 1 else {}


def _ranks_study(rows: Sequence[tuple[dict[str, float], float]], names: Sequence[str]) -> Study:
    """A study whose values are ranks in [0, 1]; each parameter's range is that of its values."""
    ranges: dict[str, BaseDistribution] = {}
    for name in names:
        values = [params[name] for params, _ in rows]
        ranges[name] = FloatDistribution(min(values), max(values), log=True)
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        create_trial(params={name: params[name] for name in names}, distributions=ranges, value=rank)
        for params, rank in rows
    )
    return study


def _ranked(block: BlockView) -> list[tuple[dict[str, float], float]]:
    """(params by short name, rank in [0, 1]) of each trial with a value; empty where fewer than two have one."""
    valued = {trial.number: (trial, value) for trial in block.trials if (value := trial.finite_value) is not None}
    if len(valued) < 2:
        return []
    ranks = rank_rewards({number: value for number, (_, value) in valued.items()})
    return [(_lengths(trial, block.n_frames), ranks[number]) for number, (trial, _) in valued.items()]


def _lengths(trial: Trial, n_frames: int) -> dict[str, float]:
    """The params by short name. A `window_frames` of 0 becomes the number of frames, which has a logarithm."""
    return {
        short_name(name): float(n_frames if name == WINDOW and value == 0 else value)
        for name, value in trial.params.items()
    }


def _shown_study(trials: Sequence[FrozenTrial]) -> Study:
    """A study with the block's trials, in which parameters have short names. Trials without a result are empty."""
    study = optuna.create_study(direction="maximize")
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value):
            params = {short_name(name): value for name, value in trial.params.items()}
            distributions = {short_name(name): one for name, one in trial.distributions.items()}
            study.add_trial(create_trial(value=trial.value, params=params, distributions=distributions))
        else:
            study.add_trial(create_trial(state=TrialState.FAIL))  # so that the others keep their numbers
    return study


def _drawn(study: Study, trials: Sequence[FrozenTrial]) -> Study:
    """The study of a block's finished trials, or one of those whose lines are drawn."""
    drawn = best_and_spread(sorted(trials, key=_target))
    return study if len(drawn) == len(trials) else _study_of(sorted(drawn, key=lambda trial: trial.number))


def _study_of(trials: Sequence[FrozenTrial]) -> Study:
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    return study


def _target(trial: FrozenTrial) -> float:
    return log_error(float(trial.value or 0.0))
