"""The rows of the report's tables: the best config of each block, the established statements, and every trial."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from siren_sweep.config.parameters import EXPLORABLE, leaf, short_name
from siren_sweep.search.proposal import shown
from siren_sweep.study.records import Trial
from siren_sweep.train.report import shown_r2
from siren_sweep.views.blocks import BlockView
from siren_sweep.views.grades import grade
from siren_sweep.views.record.evidence import Judged, Level, Statement, statements
from siren_sweep.views.record.verdicts import Verdict
from siren_sweep.views.report.trial_facts import reason_of, state_of
from siren_sweep.views.sampled import part

NOTHING = "—"
# The name of a row: its metric, and its format; None is the format of an R2.
_METRICS = {
    "R² ceiling of the data": ("r2_ceiling", None),
    "squared Pearson correlation": ("final_pearson_r2", None),
    "MSE": ("final_mse", ".2e"),
    "weights": ("total_params", ",.0f"),
    "weights a value": ("params_per_value", ".2g"),
    "jump at borders": ("border_jump", ".2g"),
    "training time (min)": ("training_time_min", ".2f"),
    "rank for 90%": ("rank_90", "g"),
    "rank for 99%": ("rank_99", "g"),
}
_OF_WINDOWS = ("R² of its trial", "jump at borders")  # rows that only blocks with windows have


@dataclass(frozen=True)
class Cell:
    """A cell's text; `sort` is the number or text by which its column is sorted, `kind` its CSS class."""

    text: str
    sort: float | str = ""
    kind: str = ""


def best_rows(blocks: Sequence[BlockView]) -> dict[str, list[Cell]]:
    """Results and best config, as rows by name with a cell for each block. Values that change are marked."""
    rows: dict[str, list[Cell]] = {
        "frames": [Cell(str(block.n_frames)) for block in blocks],
        blocks[0].r2_name if blocks else "R²": [Cell(_r2(block), kind="strong") for block in blocks],
        "R² of its trial": [Cell(_searched(block), kind="broken") for block in blocks],
        "class": [Cell(str(grade(block.r2)) if block.result else NOTHING) for block in blocks],
        "R² with other seeds": [Cell(validated(block), kind="broken") for block in blocks],
    }
    for name, (metric, form) in _METRICS.items():
        rows[name] = [Cell(_metric(block, metric, form)) for block in blocks]
    rows["trial"] = [Cell(str(block.best.number) if block.best else NOTHING) for block in blocks]
    seeds = [block.result.plan.seed if block.result else None for block in blocks]
    rows["seed"] = [Cell(NOTHING if seed is None else str(seed)) for seed in seeds]
    nothing = {name for name in _OF_WINDOWS if all(cell.text == NOTHING for cell in rows[name])}
    rows = {name: cells for name, cells in rows.items() if name not in nothing}
    return rows | {leaf(name): _parameter_cells(blocks, name) for name in EXPLORABLE}


@dataclass(frozen=True)
class Established:
    """One statement of the record, with a line for each iteration that is evidence for it."""

    level: Level
    text: str
    evidence: Sequence[str]


def established(judgements: Sequence[Judged]) -> list[Established]:
    """The statements, those with the best evidence first."""
    rows = []
    for statement in sorted(statements(judgements), key=lambda one: list(Level).index(one.level)):
        effect = "improves" if statement.better else "lowers"
        if statement.level is Level.contradicted:
            effect = "improves R² in some iterations and lowers"
        evidence = [_case(judged, statement) for judged in statement.cases]
        rows.append(Established(statement.level, f"{statement.act} {effect} R²", evidence))
    return rows


def _case(judged: Judged, statement: Statement) -> str:
    assert judged.parent is not None
    old, new = (shown(one.config[statement.parameter]) for one in (judged.parent, judged.trial))
    where = f"iteration {judged.trial.plan.iteration}, {judged.trial.plan.n_training_frames} frames"
    return f"{old} → {new}: {'better' if judged in statement.better else 'worse'} ({where})"


def _in_parts(text: str) -> str:
    """The text with such spaces that it breaks only before `±`, brackets, `over 16 of` and `512 windows`."""
    whole = re.sub(r"(±|\(\d+|over \d+|\d+(?= windows)) ", lambda part: part[0].replace(" ", "\u00a0"), text)
    return whole.replace("1 - ", "1\u00a0-\u2060\u00a0").replace("e-", "e-\u2060")  # behind a hyphen no line ends


def validated(block: BlockView) -> str:
    """Mean and standard deviation of the best config's R2 with other seeds, and their number, as text."""
    values = [value for trial in block.seeds if (value := trial.finite_value) is not None]
    if not values:
        return "none yet"
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    spread = f" ± {deviation:.4f}" if deviation >= 5e-4 else f" ± {deviation:.1e}"
    failed = sum(trial.state.is_finished() for trial in block.seeds) - len(values)
    seeds = f"{len(values)} seed{'s' if len(values) > 1 else ''}{f', {failed} without a result' if failed else ''}"
    over = next((f" {trial.part}" for trial in block.seeds if trial.part), "")
    return _in_parts(f"{shown_r2(statistics.fmean(values))}{spread if len(values) > 1 else ''}{over} ({seeds})")


def parameters(blocks: Sequence[BlockView]) -> tuple[list[str], dict[str, str]]:
    """The dotted names of the parameters that differ among trials, and the values of the others by short name."""
    configs = [trial.plan.config for block in blocks for trial in block.trials]
    values = {name: {config.get(name) for config in configs} for name in EXPLORABLE}
    same = {short_name(name): shown(next(iter(found))) for name, found in values.items() if len(found) == 1}
    return [name for name in EXPLORABLE if short_name(name) not in same], same


def trial_cells(block: BlockView, trial: Trial, names: Sequence[str], verdict: Verdict | None) -> list[Cell]:
    """A row of the table of trials, with the columns of `trial_columns`."""
    plan, value = trial.plan, trial.last_r2
    minutes = trial.metrics.get("training_time_min")
    own = [plan.config.get(name) for name in names]
    judged = f"{verdict.call}: {verdict.why}" if verdict else ""
    what = plan.mutation.replace("->", "→") or plan.strategy
    said = "; ".join(filter(None, (what, reason_of(trial), judged)))
    return [
        Cell(f"{block.number}.{trial.number}", plan.iteration, "number"),
        *(Cell(NOTHING if one is None else shown(one), _sort(one), "number") for one in own),
        Cell(
            NOTHING if value is None else _in_parts(f"{shown_r2(value)}\n{part(trial, block.settings)}".strip()),
            _sort(value),
            "number",
        ),
        Cell(NOTHING if minutes is None else f"{minutes:.2f}", _sort(minutes), "number"),
        Cell(state_of(trial), state_of(trial)),
        Cell(NOTHING if plan.parent is None else f"{block.number}.{plan.parent}", _sort(plan.parent), "number"),
        Cell(said, said, "long"),
    ]


def trial_columns(names: Sequence[str], r2_name: str) -> list[str]:
    """The heads of the table of trials."""
    return ["trial", *map(short_name, names), r2_name, "min", "state", "parent", "mutation, how it ended, verdict"]


def overrides(trial: Trial) -> str:
    """The trial's parameters, if they are known, as overrides: `graph_model.omega_f=30.0 ...`."""
    return " ".join(f"{name}={value}" for name, value in trial.plan.config.items() if value is not None)


def _sort(value: Any) -> float | str:
    return float(value) if isinstance(value, int | float) else ""


def _r2(block: BlockView) -> str:
    return f"{shown_r2(block.r2)} {block.part}".strip() if block.result else NOTHING


def _searched(block: BlockView) -> str:
    """The R2 of the winner's trial, where that was over a sample of the windows."""
    outcome = block.best.outcome if block.best else None
    return _in_parts(f"{shown_r2(outcome.r2)} {outcome.part}") if outcome and outcome.sampled else NOTHING


def _metric(block: BlockView, name: str, form: str | None) -> str:
    metrics: Mapping[str, Any] = block.result.metrics if block.result else {}
    value = metrics.get(name)
    return NOTHING if value is None else shown_r2(value) if form is None else format(value, form)


def _parameter_cells(blocks: Sequence[BlockView], name: str) -> list[Cell]:
    cells, before = [], None
    for block in blocks:
        value = block.best.plan.config.get(name) if block.best else None
        changed = before is not None and value is not None and value != before
        cells.append(Cell(NOTHING if value is None else shown(value), kind="changed" if changed else ""))
        before = before if value is None else value
    return cells
