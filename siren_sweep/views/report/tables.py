"""Tables: the best config of each block, every trial, the settings."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from siren_sweep.config.parameters import EXPLORABLE, leaf
from siren_sweep.search.proposal import shown
from siren_sweep.study.records import Trial
from siren_sweep.views.grades import grade
from siren_sweep.views.report.markup import Markup, element, joined, scrolling
from siren_sweep.views.report.scale import shown_r2
from siren_sweep.views.report.view import ReportedBlock, state_of

NOTHING = "—"


def best_table(blocks: Sequence[ReportedBlock]) -> Markup:
    """A column a block; a parameter that differs from the block before is marked."""
    head = element("tr", element("td"), *(element("th", f"block {block.number}", scope="col") for block in blocks))
    results = {name: [_cell(block, read) for block in blocks] for name, read in _RESULTS.items()}
    nothing = element("td", NOTHING)
    rows = [_row(name, cells) for name, cells in results.items() if name not in _OF_WINDOWS or set(cells) != {nothing}]
    rows.append(element("tr", element("th", "Config", colspan=len(blocks) + 1, scope="colgroup"), class_="group"))
    rows += [_row(leaf(name), _parameter_cells(blocks, name)) for name in EXPLORABLE]
    return _table("best configs", element("thead", head), element("tbody", *rows), class_="configs")


def _parameter_cells(blocks: Sequence[ReportedBlock], name: str) -> list[Markup]:
    cells, before = [], None
    for block in blocks:
        value = block.best.plan.config.get(name) if block.best else None
        changed = before is not None and value is not None and value != before
        cells.append(element("td", NOTHING if value is None else shown(value), class_="changed" if changed else None))
        before = before if value is None else value
    return cells


def _cell(block: ReportedBlock, read: Callable[[ReportedBlock, Trial], object]) -> Markup:
    return element("td", NOTHING if block.result is None else read(block, block.result))


def _metric(name: str, form: str) -> Callable[[ReportedBlock, Trial], str]:
    def read(_block: ReportedBlock, trial: Trial) -> str:
        value = trial.metrics.get(name)
        return NOTHING if value is None else format(value, form)

    return read


def _r2(name: str) -> Callable[[ReportedBlock, Trial], str]:
    def read(_block: ReportedBlock, trial: Trial) -> str:
        value = trial.metrics.get(name)
        return NOTHING if value is None else shown_r2(value)

    return read


def validated(block: ReportedBlock, _trial: Trial) -> Markup:
    """Mean R2 of the best config with other seeds, their standard deviation and number."""
    values = [value for trial in block.validation if (value := trial.finite_value) is not None]
    if not values:
        return Markup("none yet")
    spread = f" ± {_spread(statistics.stdev(values))}" if len(values) > 1 else ""
    failed = len(block.validation) - len(values)
    seeds = f"{len(values)} seed{'s' if len(values) > 1 else ''}{f', {failed} without a result' if failed else ''}"
    return joined(shown_r2(statistics.fmean(values)), spread, " ", element("small", seeds))


def _spread(deviation: float) -> str:
    return f"{deviation:.4f}" if deviation >= 5e-4 else f"{deviation:.1e}"


def _searched(block: ReportedBlock) -> str:
    """What the winner's own trial had shown, where that was over some of the windows."""
    outcome = block.best.outcome if block.best else None
    return f"{shown_r2(outcome.r2)} {outcome.part}" if outcome and outcome.sampled else NOTHING


_RESULTS: dict[str, Callable[[ReportedBlock, Trial], object]] = {
    "frames": lambda block, _: block.n_frames,
    "R²": lambda block, _: joined(element("strong", shown_r2(block.r2)), f" {block.sample}" if block.sample else ""),
    "R² of its trial": lambda block, _: _searched(block),
    "class": lambda block, _: grade(block.r2),
    "validation R²": validated,
    "R² ceiling of the data": _r2("r2_ceiling"),
    "squared Pearson correlation": _r2("final_pearson_r2"),
    "MSE": _metric("final_mse", ".2e"),
    "weights": _metric("total_params", ","),
    "weights a value": _metric("params_per_value", ".2g"),
    "jump at borders": _metric("border_jump", ".2g"),
    "training time (min)": _metric("training_time_min", ".2f"),
    "trial": lambda block, _: block.best.number if block.best else NOTHING,
    "seed": lambda _, trial: NOTHING if trial.plan.seed is None else trial.plan.seed,
    "rank for 90% / 99%": lambda _, trial: " / ".join(
        str(trial.metrics.get(f"rank_{share}", NOTHING)) for share in (90, 99)
    ),
}


_OF_WINDOWS = ("R² of its trial", "jump at borders")  # rows that only blocks with windows have


def trials_table(block: ReportedBlock, verdicts: Mapping[tuple[int, int], str]) -> Markup:
    """Every trial of a block in its order, how it ended, and the verdict on its hypothesis (by block and trial)."""
    columns = (element("th", name, scope="col", class_=kind) for name, kind in _TRIAL_COLUMNS.items())
    head = element("tr", element("th", "trial", scope="col"), *columns)
    rows = (_trial_row(block, trial, verdicts.get((block.number, trial.number), "")) for trial in block.trials)
    return _table(f"trials of block {block.number}", element("thead", head), element("tbody", *rows))


def _trial_row(block: ReportedBlock, trial: Trial, verdict: str) -> Markup:
    plan, value = trial.plan, trial.finite_value
    minutes = trial.metrics.get("training_time_min")
    cells = (
        plan.iteration,
        plan.strategy or NOTHING,
        NOTHING if plan.parent is None else plan.parent,
        (plan.mutation or NOTHING).replace("->", "→"),
        state_of(trial),
        NOTHING if value is None else f"{shown_r2(value)} {trial.part}".strip(),
        NOTHING if minutes is None else f"{minutes:.2f}",
        verdict,
        (trial.outcome.reason if trial.outcome else None) or "",
        *(shown(plan.config[name]) if name in plan.config else NOTHING for name in EXPLORABLE),
    )
    first = element("th", trial.number, scope="row")
    rest = [element("td", cell, class_=kind) for cell, kind in zip(cells, _TRIAL_COLUMNS.values(), strict=True)]
    return element("tr", first, *rest, class_="winner" if trial is block.best else None)


_TRIAL_COLUMNS = {
    "iteration": "number",
    "laid out as": None,
    "parent": "number",
    "mutation": "wide",
    "state": None,
    "R²": "number",
    "minutes": "number",
    "verdict": "long",
    "reason": "long",
    **dict.fromkeys((leaf(name) for name in EXPLORABLE), "number"),
}


def settings_table(settings: Mapping[str, Any]) -> Markup:
    """The settings that the sweep was started with."""
    rows = (_row(name, [element("td", value)]) for name, value in settings.items())
    return _table("settings", element("tbody", *rows))


def _row(name: str, cells: Sequence[Markup]) -> Markup:
    return element("tr", element("th", name, scope="row"), *cells)


def _table(name: str, *parts: Markup, class_: str | None = None) -> Markup:
    return scrolling(name, element("table", *parts, class_=class_))
