"""Writes the report of a sweep as one HTML file, and its trials as a CSV file beside it."""

from __future__ import annotations

import base64
import datetime
import functools
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
import plotly.offline
from markupsafe import Markup
from optuna.study import Study
from optuna.trial import TrialState

from siren_sweep.paths import OutputPaths, SweepPaths, TrialPaths, replacing, trial_folder
from siren_sweep.train.report import shown_r2
from siren_sweep.views.blocks import BlockView, read_blocks
from siren_sweep.views.frames import trials_frame
from siren_sweep.views.grades import grade
from siren_sweep.views.mlflow.client import run_pages
from siren_sweep.views.record.evidence import Judged, current
from siren_sweep.views.report import figures, search_figures, tables
from siren_sweep.views.report.error_scale import colour
from siren_sweep.views.report.other_sweeps import compare_with_others
from siren_sweep.views.report.prediction import prediction
from siren_sweep.views.report.trial_facts import MOST_LINES, curve_of, state_of, training_intervals


def write_report(
    paths: SweepPaths, outputs: OutputPaths, studies: Mapping[int, Study], validation: Mapping[int, Study]
) -> None:
    """Write `report.html` and `trials.csv` of a sweep, which may still run.

    Raises OutputError where a file cannot be written.
    """
    blocks = read_blocks(studies, validation)
    judged = current(blocks)
    blocks = [replace(block, trials=sorted(block.trials, key=lambda trial: trial.number)) for block in blocks]
    table = trials_frame((block.block, trial) for block in blocks for trial in block.trials).to_csv(index=False)
    links = run_pages(outputs, paths.root.name, studies[1]) if 1 in studies else {}
    charts, importance = _charts(blocks)
    near = compare_with_others(paths, outputs, {block.n_frames: block.block.data_hash for block in blocks})
    charts |= {f"beside-{number}": one.chart for number, one in enumerate(near.compared)}
    shown = {block.number: prediction(block, paths, outputs) for block in blocks}
    charts |= {f"traces-{number}": one.traces for number, one in shown.items() if one.traces is not None}
    page = _template().render(
        name=paths.root.name,
        lead=_lead(blocks),
        blocks=blocks,
        cards=[_card(block) for block in blocks],
        best=tables.best_rows(blocks),
        best_heads=[f"block {block.number}" for block in blocks],
        importance=importance,
        near=near,
        established=tables.established(judged),
        trials=_trials(blocks, judged, links),
        predictions=shown,
        csv=base64.b64encode(table.encode()).decode(),
        charts=charts.keys(),
        packed_charts=_packed(json.dumps({name: _plain(figure) for name, figure in charts.items()})),
        blocks_figures=_BLOCK_FIGURES,
        facts=_facts(blocks),
        provenance=json.dumps({number: one.provenance for number, one in shown.items()}),
    )
    with replacing(paths.report) as file:
        file.write_text(page, "utf-8")
    with replacing(paths.trials_csv) as file:
        file.write_text(table, "utf-8")


_OF_MANY = f"of more than {MOST_LINES}, the best {MOST_LINES // 2} and as many spread over the others"
# The charts of a block by the name under which the page stores them: heading and explanation.
_BLOCK_FIGURES = {
    "curves": (
        "Learning curves",
        f"R² at the reports of each trial ({_OF_MANY}). A mark shows the last report of a stopped trial.",
    ),
    "Contours": (
        "Contours",
        "The error, interpolated between the finished trials, over pairs of the most important parameters. Of many "
        f"trials only the best {search_figures.MOST_CONTOURED} are used.",
    ),
    "tree": (
        "Search tree",
        f"Each trial is to the right of its parent ({_OF_MANY}, with their ancestors). A larger mark means more "
        "visits: the trial itself and its descendants. UCB is computed from R² so far; the sampler uses the final "
        "score that it predicts.",
    ),
    "Parallel coordinates": ("Parallel coordinates", f"One line for each finished trial ({_OF_MANY})."),
    "Slices": ("Slices", "The error of each finished trial by one parameter. Later trials are darker."),
    "timeline": ("Timeline", "When each slot trained which trial."),
}


def _charts(blocks: Sequence[BlockView]) -> tuple[dict[str, go.Figure], str]:
    """Every chart by its name, and the text on the importances."""
    charts = {"r2-by-block": figures.r2_by_block(blocks)}
    importances, ranked, told = search_figures.parameter_importances(blocks)
    if importances is not None:
        charts["importances"] = importances
    for block in blocks:
        own: dict[str, go.Figure] = {}
        if any(curve_of(trial) for trial in block.trials):
            own["curves"] = figures.learning_curves(block)
        if block.trials:
            own["tree"] = figures.tree(block)
        own |= search_figures.block_figures(block, ranked)
        if any(training_intervals(trial) for trial in block.trials) and block.block.imported is None:
            own["timeline"] = figures.timeline(block)
        charts |= {f"{name}-{block.number}": figure for name, figure in own.items()}
    return charts, told


def _plain(figure: go.Figure) -> Any:
    """A figure as JSON values for plotly.js. Colours that follow the page are left to the style sheet."""
    figure.update_layout(
        template="none", title=None, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", font_size=13
    )
    layout = figure.layout
    layout.update(height=layout.height or 400, margin={"t": layout.margin.t or 30, "l": 70})
    layout.margin.update(r=layout.margin.r or 20, b=layout.margin.b or 50)
    layout.update(legend={"orientation": "h", "y": 1, "yanchor": "bottom"}, hoverlabel_namelength=-1)
    layout.update(modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#8a939b", "activecolor": "#0b7fd1"})
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return json.loads(str(figure.to_json()))


def _packed(text: str) -> str:
    """A text as gzip in base64, which page.js unpacks: a third of the size of plotly.js, an eighth of the charts'."""
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _trials(blocks: Sequence[BlockView], judgements: Sequence[Judged], links: Mapping[str, str]) -> dict[str, Any]:
    """The table of trials: heads, rows, the parameters that do not vary, and the values by which rows are filtered."""
    names, same = tables.parameters(blocks)
    verdicts = {(one.trial.plan.block, one.trial.number): one.verdict for one in judgements if one.parent is not None}
    rows = []
    for block in blocks:
        for trial in block.trials:
            verdict, folder = verdicts.get((block.number, trial.number)), trial_folder(block.study, trial.number)
            rows.append(
                {
                    "cells": tables.trial_cells(block, trial, names, verdict),
                    "overrides": tables.overrides(trial),
                    "link": links.get(folder),
                    "log": str(TrialPaths(Path(folder)).job_log(trial.job.attempt)) if trial.job else None,
                    "winner": trial is block.best,
                    "block": f"block {block.number}",
                    "state": state_of(trial),
                    "verdict": str(verdict.call) if verdict else "",
                }
            )
    kinds = {
        kind: list(dict.fromkeys(row[kind] for row in rows if row[kind])) for kind in ("block", "state", "verdict")
    }
    r2_name = blocks[0].r2_name if blocks else "R²"
    return {"heads": tables.trial_columns(names, r2_name), "rows": rows, "same": same, "kinds": kinds}


def _lead(blocks: Sequence[BlockView]) -> str:
    """The page's first sentence: how far the sweep has come."""
    ends = [trial.told for block in blocks if not block.block.imported for trial in block.trials if trial.told]
    told = [
        f"{len(blocks)} of {_n_blocks(blocks)} blocks begun",
        f"{sum(len(block.trials) for block in blocks)} trials",
    ]
    if ends:
        told.append(f"last one ended {max(ends).astimezone(datetime.UTC):%Y-%m-%d %H:%M} UTC")
    return f"SIREN hyperparameter sweep. {', '.join(told)}."


def _n_blocks(blocks: Sequence[BlockView]) -> int:
    """The number of blocks in the schedule; where the settings have none, that of the blocks which have begun."""
    names = (name for block in blocks[:1] for name in block.settings)
    scheduled = sum(name.startswith("blocks.schedule[") and name.endswith("n_training_frames") for name in names)
    return max(scheduled, len(blocks))


def _card(block: BlockView) -> dict[str, str]:
    finished, pruned, failed = map(block.count, (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    still_open = len(block.trials) - finished - pruned - failed
    counts = f"{finished} finished, {pruned} pruned, {failed} failed" + (f", {still_open} open" if still_open else "")
    if round(sum(trial.spent for trial in block.trials)) < block.n_planned:
        counts += f"; {block.n_planned} full trials planned"
    if block.best is None:
        return {"name": block.title, "r2": "no result", "counts": counts, "told": "", "colour": "var(--grid)"}
    r2 = f"{block.r2_name} {shown_r2(block.r2)} {block.part}".strip()
    told = f"{grade(block.r2)}; with other seeds {tables.validated(block)}"
    return {"name": block.title, "r2": r2, "counts": counts, "told": told, "colour": colour(block.r2)}


def _facts(blocks: Sequence[BlockView]) -> dict[str, Any]:
    """The sweep's settings, its data, and a person's instructions with their answers."""
    facts = {f"{block.title}: data hash": block.block.data_hash or "unknown" for block in blocks}
    for name, value in blocks[0].block.dataset.items() if blocks else ():
        facts[f"dataset.{name}"] = value
    for block in blocks:
        for one in block.asked:
            facts[f"asked for in block {block.number}: {one.line}"] = one.answer
    return {"listed": facts, "settings": blocks[0].settings if blocks else {}}


@functools.cache
def _template() -> jinja2.Template:
    folder = files("siren_sweep.views.report")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    for name in ("style.css", "page.js"):
        environment.globals[name.replace(".", "_")] = Markup(folder.joinpath(name).read_text("utf-8"))
    environment.globals["packed_plotly"] = _packed(plotly.offline.get_plotlyjs())
    return environment.get_template("page.html")
