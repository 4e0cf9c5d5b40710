"""What is established: the record's statements with their levels and the iterations that they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from siren_sweep.config.parameters import leaf
from siren_sweep.search.proposal import shown
from siren_sweep.views.record.evidence import Judged, Level, Statement, statements
from siren_sweep.views.report.markup import Markup, element, joined, scrolling

_MEANING = {
    Level.established: "three or more consistent iterations",
    Level.tentative: "one or two",
    Level.contradicted: "iterations that conflict",
}


def established(judgements: Sequence[Judged]) -> Markup:
    """A table of the statements, the best founded first."""
    found = sorted(statements(judgements), key=lambda statement: list(Level).index(statement.level))
    if not found:
        return element(
            "p",
            "Nothing yet: no trial that changed one parameter differed from its parent by more than the noise.",
            class_="none",
        )
    told = "; ".join(f"{level}: {meaning}" for level, meaning in _MEANING.items())
    note = f"What changing one parameter did to R², against the noise between seeds. {told.capitalize()}."
    head = element("tr", *(element("th", name, scope="col") for name in ("level", "statement", "evidence")))
    table = element("table", element("thead", head), element("tbody", *map(_row, found)))
    return joined(element("p", note, class_="note"), scrolling("what is established", table))


def verdicts(judgements: Sequence[Judged]) -> Mapping[tuple[int, int], str]:
    """The call on each trial's hypothesis and why, by block and trial number."""
    return {
        (judged.trial.block, judged.trial.number): f"{judged.verdict.call}: {judged.verdict.why}"
        for judged in judgements
        if judged.parent is not None
    }


def _row(statement: Statement) -> Markup:
    act = f"{'Raising' if statement.raised else 'Lowering'} {leaf(statement.parameter)} "
    effect = "improves" if statement.better else "lowers"
    if statement.level is Level.contradicted:
        effect = "improves R² in some iterations and lowers"
    cases = sorted(statement.better + statement.worse, key=lambda judged: judged.trial.iteration)
    evidence = element("ul", *(element("li", _case(judged, statement)) for judged in cases), class_="plain")
    cells = (element("td", f"{act}{effect} R²", class_="wide"), element("td", evidence, class_="wide"))
    return element("tr", element("th", statement.level, scope="row", class_=f"level {statement.level}"), *cells)


def _case(judged: Judged, statement: Statement) -> str:
    assert judged.parent is not None
    old, new = (shown(one.config[statement.parameter]) for one in (judged.parent, judged.trial))
    where = f"iteration {judged.trial.iteration}, {judged.trial.n_training_frames} frames"
    return f"{old} → {new}: {'better' if judged in statement.better else 'worse'} ({where})"
