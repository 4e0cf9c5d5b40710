"""The report's page: its sections in order, around one template and one style sheet."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from string import Template

from optuna.study import Study
from optuna.trial import TrialState

from siren_sweep.paths import OutputPaths, SweepPaths, replacing
from siren_sweep.study.studies import instructions
from siren_sweep.views.grades import grade
from siren_sweep.views.record.evidence import current
from siren_sweep.views.record.trials import read_blocks
from siren_sweep.views.report import charts
from siren_sweep.views.report.established import established, verdicts
from siren_sweep.views.report.figures import figure_element, standalone
from siren_sweep.views.report.importance import parameter_importances
from siren_sweep.views.report.markup import Markup, element, joined, resource, scrolling
from siren_sweep.views.report.prediction import predictions
from siren_sweep.views.report.scale import colour, shown_r2
from siren_sweep.views.report.tables import best_table, settings_table, trials_table, validated
from siren_sweep.views.report.tree_view import legend, tree_view
from siren_sweep.views.report.view import ReportedBlock, curve_of, view_block


def write_report(
    paths: SweepPaths, outputs: OutputPaths, studies: Mapping[int, Study], validation: Mapping[int, Study]
) -> None:
    """Write `report.html` of a sweep in any state, and its pictures as files.

    Raises OutputError where the disk will not have it.
    """
    asked = instructions(studies)
    blocks = [view_block(study, validation.get(number), asked) for number, study in sorted(studies.items())]
    judgements = current(read_blocks(studies, validation))
    told = verdicts(judgements)
    sections = {
        "Results": _results(blocks),
        "What is established": established(judgements),
        "Learning curves": _curves(blocks),
        "Search tree": _trees(blocks),
        "Truth and prediction": joined(*(_predictions(block, paths, outputs) for block in blocks)),
        "All trials": joined(*(_folded(_block_name(block), trials_table(block, told)) for block in blocks)),
        "Settings": _settings(blocks),
    }
    numbered = list(enumerate(sections.items(), 1))
    links = (element("a", name, href=f"#section-{index}") for index, (name, _) in numbered)
    body = joined(
        _head(paths, blocks),
        element("nav", *links, aria_label="sections"),
        *(
            element("section", element("h2", name), content, id=f"section-{index}")
            for index, (name, content) in numbered
        ),
    )
    page = Template(resource("page.html")).substitute(
        title=joined(f"{paths.root.name}: report"), style=resource("style.css"), body=body
    )
    with replacing(paths.report) as file:
        file.write_text(page, "utf-8")
    for name, picture in _pictures(blocks).items():
        with replacing(paths.pictures / f"{name}.svg") as file:
            file.write_text(standalone(picture), "utf-8")


def _pictures(blocks: Sequence[ReportedBlock]) -> dict[str, Markup]:
    """What stands in files of its own too, by name: the trials of all blocks, curves and tree of the last one."""
    pictures = {"sweep_r2": charts.r2_by_block(blocks)}
    for block in blocks[-1:]:
        name = f"block_{block.number:02d}"
        pictures |= {f"{name}_curves": charts.learning_curves(block), f"{name}_tree": tree_view(block)}
    return pictures


def _head(paths: SweepPaths, blocks: Sequence[ReportedBlock]) -> Markup:
    ends = [trial.told for block in blocks for trial in block.trials if trial.told]
    n_trials = sum(len(block.trials) for block in blocks)
    told = [f"{len(blocks)} of {_n_blocks(blocks)} blocks begun", f"{n_trials} trials"]
    if ends:
        told.append(f"last one ended {max(ends).astimezone(datetime.UTC):%Y-%m-%d %H:%M} UTC")
    return joined(
        element("h1", paths.root.name),
        element("p", "SIREN hyperparameter sweep. " + ", ".join(told) + ".", class_="lead"),
        element("div", *map(_card, blocks), class_="cards"),
    )


def _n_blocks(blocks: Sequence[ReportedBlock]) -> int:
    """Blocks of the schedule, or those there are where the settings name none."""
    names = (name for block in blocks[:1] for name in block.settings)
    scheduled = sum(name.startswith("blocks.schedule[") and name.endswith("n_training_frames") for name in names)
    return max(scheduled, len(blocks))


def _card(block: ReportedBlock) -> Markup:
    finished, pruned, failed = map(block.count, (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    still_open = len(block.trials) - finished - pruned - failed
    counts = f"{finished} finished, {pruned} pruned, {failed} failed" + (f", {still_open} open" if still_open else "")
    if len(block.trials) < block.n_planned:
        counts += f"; {block.n_planned} planned"
    head = element("span", _block_name(block))
    if block.best is None:
        return element("div", head, element("b", "no result"), element("span", counts), class_="card")
    value, part = block.r2, f" {block.sample}" if block.sample else ""
    told = element("span", f"{grade(value)}; validation: ", validated(block, block.best))
    parts = (head, element("b", f"R² {shown_r2(value)}{part}"), told, element("span", counts))
    return element("div", *parts, class_="card", style=f"border-left-color: {colour(value)}")


def _results(blocks: Sequence[ReportedBlock]) -> Markup:
    overview = figure_element(
        charts.r2_by_block(blocks),
        "R² is the coefficient of determination over every training frame and every neuron, or over the windows that "
        "a trial is said to have trained. The axis is that of -log₁₀(1 - R²), so that 0.95 and 0.99 lie apart. Within "
        "a block, trials stand in their order; a pruned one at its last R².",
    )
    note = element(
        "p",
        "The finished trial of highest R² in each block; above claude.solved_r2, the cheapest. Validation trains its "
        "config again with other seeds, which had no part in the choice: mean ± standard deviation. Blue: a value "
        "that differs from the block before.",
        class_="note",
    )
    every = element("div", element("h3", "R² of every trial"), overview)
    beside = element("div", every, element("div", _importances(blocks)), class_="grid")
    return joined(beside, element("h3", "Best config of each block"), note, best_table(blocks))


def _curves(blocks: Sequence[ReportedBlock]) -> Markup:
    return element("div", *map(_curve_figure, blocks), class_="grid")


def _curve_figure(block: ReportedBlock) -> Markup:
    name = element("h3", _block_name(block))
    if not any(curve_of(trial) for trial in block.trials):
        return element("div", name, element("p", "No trial of this block has reported yet.", class_="none"))
    return element("div", name, element("div", charts.learning_curves(block), class_="scroll"))


def _trees(blocks: Sequence[ReportedBlock]) -> Markup:
    trees = (
        element("div", element("h3", _block_name(block)), scrolling(f"tree of block {block.number}", tree_view(block)))
        for block in blocks
    )
    note = (
        "A trial stands below the one it was mutated from. The larger its circle, the more visits it has (itself and "
        "its descendants); the blue line leads to the block's best. UCB is the score that chooses the next parent."
    )
    return joined(element("p", note, class_="note"), legend(), element("div", *trees, class_="grid"))


def _importances(blocks: Sequence[ReportedBlock]) -> Markup:
    shares, told = parameter_importances(blocks)
    shown = figure_element(charts.importances(shares), told) if shares else element("p", told, class_="none")
    return joined(element("h3", "Parameter importances"), shown)


def _predictions(block: ReportedBlock, paths: SweepPaths, outputs: OutputPaths) -> Markup:
    return joined(element("h3", _block_name(block)), predictions(block, paths, outputs))


def _settings(blocks: Sequence[ReportedBlock]) -> Markup:
    facts = [
        (f"{_block_name(block)}: data hash", element("code", block.block.data_hash or "unknown")) for block in blocks
    ]
    for name, value in blocks[0].block.dataset.items() if blocks else ():
        facts.append((f"dataset.{name}", element("code", value)))
    facts += [
        (f"asked for in block {block.number}", joined(f"{one.line}: {one.answer}"))
        for block in blocks
        for one in block.asked
    ]
    listed = element("dl", *(joined(element("dt", name), element("dd", value)) for name, value in facts))
    settings = blocks[0].settings if blocks else {}
    return joined(listed, _folded("All settings", settings_table(settings)))


def _folded(name: str, content: Markup) -> Markup:
    return element("details", element("summary", name), content)


def _block_name(block: ReportedBlock) -> str:
    return f"Block {block.number}, {block.n_frames} frames"
