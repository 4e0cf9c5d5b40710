"""The report of a planted sweep: one block with every kind of trial, one where all failed, one under way."""

from __future__ import annotations

import base64
import datetime
import gzip
import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import torch
import yaml
from conftest import N_NEURONS, Run
from fields import lattice, make_field_folder
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial
from PIL import Image
from planted import PlantedSweep, paused, r2_of, ran
from safetensors.torch import save_file

from siren_sweep.config.config_file import plain
from siren_sweep.config.parameters import EXPLORABLE, WINDOW
from siren_sweep.config.schema import Dataset, GraphModel, Training, TrialConfig
from siren_sweep.errors import OutputError
from siren_sweep.field import StimulusField
from siren_sweep.field.dataset import field_of
from siren_sweep.paths import OutputPaths, SweepPaths
from siren_sweep.study.records import Block, Outcome, Stint, TrialPlan
from siren_sweep.study.stored_trials import TrialWriter, trial_values
from siren_sweep.study.studies import create, open_folder, open_storage, study_name, trial_id, validation_name
from siren_sweep.train.pictures import lattice_raster
from siren_sweep.train.report import shown_r2
from siren_sweep.train.siren import Siren
from siren_sweep.views.blocks import BlockView, read_blocks
from siren_sweep.views.grades import grade
from siren_sweep.views.report.figures import learning_curves, timeline, traces, tree
from siren_sweep.views.report.page import write_report
from siren_sweep.views.report.search_figures import MOST_CONTOURED, MOST_RANKED, block_figures, parameter_importances
from siren_sweep.views.report.trial_facts import MOST_LINES, best_and_spread

NAME = """odd <b>"name" & it's $one"""
REASON = 'diverged <img src=x onerror=alert(1)> & "more"'
OMEGA = "graph_model.omega_f"
WIDTH = "graph_model.hidden_dim_nnr_f"
SPACE = {
    OMEGA: FloatDistribution(5.0, 500.0, log=True),
    "T_period_ratio": FloatDistribution(1.0, 300.0, log=True),
    WIDTH: CategoricalDistribution((8, 16)),
}
SEED_R2 = (0.960, 0.968)


class Page(HTMLParser):
    """The tags, the text and the attributes of a page; fails where a tag is closed that was not open."""

    VOID = ("meta", "img", "input", "br", "wbr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" not in self._open:
            self.texts.append(data)

    def all(self, name: str) -> list[str]:
        """The values of an attribute."""
        return [value for key, value in self.attributes if key == name]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


def settings(n_iter_block: int) -> dict[str, Any]:
    schedule = {f"blocks.schedule[{block}].n_training_frames": 16 for block in (1, 2, 3, 4)}
    return {"claude.n_iter_block": n_iter_block, "claude.ucb_c": 1.414, "dataset.name": "<own>", **schedule}


def planted(
    number: int,
    state: TrialState,
    r2: float | None,
    *,
    omega: float = 20.0,
    parent: int | None = None,
    mutation: str = "",
    block: int = 1,
    **more: Any,
) -> FrozenTrial:
    """A trial as the sweep leaves it; a curve towards `r2` where it has one."""
    reports = [] if r2 is None else [report(index, r2) for index in range(1, 6 if state is TrialState.PRUNED else 21)]
    config = dict.fromkeys(EXPLORABLE, 16) | {OMEGA: omega}
    metrics = {"final_r2": r2, "final_mse": 1e-3, "final_pearson_r2": r2, "r2_ceiling": 0.999, "rank_90": 2}
    metrics |= {"training_time_min": 0.5, "total_params": 1234, "rank_99": 5}
    ending = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "stopped"}.get(state, "failed")
    outcome = {"attempt": 1, "status": ending, "reason": more.pop("reason", None)}
    outcome["metrics"] = metrics if state is TrialState.COMPLETE else {}
    attributes: dict[str, Any] = {"block": block, "batch": 1 + number // 4, "slot": number % 4, "parent": parent}
    attributes |= {"mutation": mutation, "strategy": "tree", "config": config, "seed": 42, "reports": reports}
    attributes |= {"iteration": number + 1, "n_training_frames": 16, **more}
    finished = state.is_finished()
    return create_trial(
        state=state,
        value=r2,
        params={OMEGA: omega, "T_period_ratio": 1.0 + number, WIDTH: 8 + 8 * (number % 2)},
        distributions=SPACE,
        user_attrs=attributes | ({"outcome": outcome} if finished else {}),
        intermediate_values={entry["index"]: entry["r2"] for entry in reports},
    )


def report(index: int, r2: float) -> dict[str, float]:
    known = {"index": index, "fraction": index / 20, "step": 10 * index, "r2": r2 - 1 / index, "elapsed_s": index}
    return known | {"mse": 0.1, "learning_rate": 1e-3, "steps_per_s": 10.0}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> OutputPaths:
    return OutputPaths(tmp_path_factory.mktemp("report") / "outputs")


@pytest.fixture(scope="module")
def cfg(field_folder: Path) -> TrialConfig:
    dataset = Dataset("flyvis", str(field_folder), N_NEURONS)
    training = Training(n_training_frames=16, inr_batch_size=4)
    return TrialConfig(dataset, GraphModel(hidden_dim_nnr_f=8, n_layers_nnr_f=1, omega_f=20.0), training)


@pytest.fixture(scope="module")
def field(cfg: TrialConfig, outputs: OutputPaths) -> StimulusField:
    return field_of(cfg, outputs)


@pytest.fixture(scope="module")
def sweep(outputs: OutputPaths, cfg: TrialConfig, field: StimulusField) -> SweepPaths:
    paths = SweepPaths(outputs.root / NAME)
    paths.root.mkdir()
    storage = open_storage(None, paths)
    dataset = {"path": cfg.dataset.path}
    blocks = {
        block: create(storage, study_name(block), Block(block, 16, field.data_hash, settings(6), dataset))
        for block in (1, 2, 3)
    }
    complete, pruned, failed = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
    for trial in (
        planted(0, complete, 0.91),
        planted(1, complete, 0.97, omega=40.0, parent=0, mutation="omega_f: 20 -> 40"),
        planted(2, pruned, -3.0, omega=400.0, parent=0, mutation="omega_f: 20 -> 400", reason="pruned early"),
        planted(3, failed, None, omega=5.0, parent=0, mutation="omega_f: 20 -> 5", reason=REASON),
        planted(4, complete, 0.95, omega=80.0, parent=1, mutation="omega_f: 40 -> 80"),
        planted(5, complete, 0.93, omega=30.0, parent=0, mutation="omega_f: 20 -> 30"),
    ):
        blocks[1].add_trial(trial)
    for number in range(4):
        blocks[2].add_trial(planted(number, failed, None, omega=10.0 + number, block=2, reason="out of memory"))
    blocks[3].add_trial(
        planted(0, TrialState.RUNNING, None, block=3, reports=[report(1, 0.5), report(2, float("nan"))])
    )
    blocks[3].add_trial(planted(1, TrialState.WAITING, None, block=3))
    validation = create(storage, validation_name(1))
    for number, r2 in enumerate(SEED_R2):
        validation.add_trial(planted(number, complete, r2, validation_of=1))
    plant_model(paths, cfg, 1)
    plant_film(paths, 1)
    return paths


def plant_film(paths: SweepPaths, block: int) -> None:
    """The export's pictures, as the report finds them."""
    paths.best.mkdir()
    Image.new("RGB", (12, 4)).save(paths.best_file(block, ".webp"))
    for ending in (".png", ".svg", ".pdf", ".mp4"):
        paths.best_file(block, ending).touch()


def plant_model(paths: SweepPaths, cfg: TrialConfig, number: int) -> None:
    torch.manual_seed(0)
    saved = paths.trial(study_name(1), number)
    saved.root.mkdir(parents=True)
    saved.config.write_text(yaml.safe_dump(plain(cfg)))
    graph = cfg.graph_model
    save_file(Siren(graph.hidden_dim_nnr_f, graph.n_layers_nnr_f, graph.omega_f).state_dict(), saved.weights)


@pytest.fixture(scope="module")
def html(sweep: SweepPaths) -> str:
    paths, outputs, studies, validations = open_folder(sweep.root)
    write_report(paths, outputs, studies, validations)
    return paths.report.read_text("utf-8")


@pytest.fixture(scope="module")
def charts(html: str) -> dict[str, Any]:
    """The figures of plotly's, by name."""
    return charts_of(html)


def charts_of(html: str) -> dict[str, Any]:
    charts: dict[str, Any] = json.loads(unpacked(html, "charts"))
    return charts


def unpacked(html: str, name: str) -> str:
    """What a page holds compressed."""
    (found,) = re.findall(rf'<script type="application/gzip" id="{name}">([^<]*)</script>', html)
    return gzip.decompress(base64.b64decode(found)).decode()


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_nothing_is_fetched(html: str, page: Page, sweep: SweepPaths) -> None:
    assert "default-src 'none'" in "".join(page.all("content"))
    assert {source.split(";")[0] for source in page.all("src")} == {"data:image/webp"}
    links = [link for link in page.all("href") if link[0] != "#" and not link.startswith("data:text/csv")]
    assert {str(sweep.root / link) for link in links} == {
        str(sweep.best_file(1, ending)) for ending in (".png", ".svg", ".pdf", ".mp4")
    }
    assert not {"link", "iframe", "object"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "plotly.js v" in unpacked(html, "plotly")[:100]
    assert len(html.encode()) < 2.5e6  # most of it is plotly.js, once and compressed


def test_inner_references_lead_to_one_element_each(page: Page) -> None:
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    inner = {reference[1:] for reference in page.all("href") if reference.startswith("#")}
    inner |= set(page.all("for"))
    assert inner <= set(ids)


def test_names_and_reasons_are_text_not_markup(page: Page) -> None:
    assert f"{NAME}: report" in page.texts
    assert NAME in page.texts
    assert any(text.startswith(f"omega_f: 20 → 5; {REASON}") for text in page.texts)
    assert "<own>" in page.texts
    assert "b" not in page.tags[: page.tags.index("body")]


def test_every_block_has_its_place_whatever_became_of_it(page: Page) -> None:
    assert "3 of 4 blocks begun, 12 trials" in page.text
    assert "4 finished, 1 pruned, 1 failed" in page.text
    assert "0 finished, 0 pruned, 4 failed; 6 full trials planned" in page.text
    assert "0 finished, 0 pruned, 0 failed, 2 open; 6 full trials planned" in page.text
    assert page.text.count("There is no model to show: no trial of this block has finished.") == 2


def test_every_picture_and_every_chart_says_what_it_shows(page: Page, charts: dict[str, Any]) -> None:
    assert len(page.all("alt")) == page.tags.count("img") > 0
    assert all(page.all("alt") + page.all("aria-label"))
    assert sorted(page.all("data-chart")) == sorted(charts)


def test_best_config_has_its_validation_mean_and_spread(page: Page) -> None:
    assert "0.9640 ± 0.0057 (2 seeds)" in page.text
    assert "R² 0.9700" in page.text


def test_tree_marks_the_path_to_the_best(charts: dict[str, Any]) -> None:
    traces = {trace["name"]: trace for trace in charts["tree-1"]["data"][1:]}
    assert traces["path to the best"]["x"] == [0, 0, 1, None]
    assert [text.split()[0] for text in traces["best"]["text"]] == ["<b>1</b>"]
    finished = dict(zip(traces["finished"]["text"], traces["finished"]["marker"]["size"], strict=True))
    assert max(finished, key=finished.__getitem__).split()[0] == "<b>0</b>"  # the root: five visits below its own
    assert all("visits" in words for words in traces["finished"]["customdata"])
    assert ["&lt;img" in words for words in traces["failed"]["customdata"]] == [True]


def test_errors_are_drawn_as_the_logarithm_of_what_is_unexplained(charts: dict[str, Any]) -> None:
    chart = charts["r2-by-block"]
    assert chart["layout"]["yaxis"]["type"] == "log"
    by_name = {trace["name"]: trace for trace in chart["data"]}
    assert by_name["best"]["y"] == [pytest.approx(0.03)]
    assert by_name["other seeds"]["y"] == [pytest.approx(1 - r2) for r2 in SEED_R2]
    top, bottom = sorted(chart["layout"]["yaxis"]["range"])
    assert top < np.log10(0.03)  # the better the higher
    assert bottom > np.log10(0.5)
    assert chart["layout"]["yaxis"]["range"] == [bottom, top]


def test_blocks_are_named_in_a_strip_below_the_marks(charts: dict[str, Any]) -> None:
    layout = charts["r2-by-block"]["layout"]
    names = [one for one in layout["annotations"] if one["yanchor"] == "top"]
    assert [one["text"] for one in names] == ["1<br>16", "2<br><br>16", "3<br>16"]
    assert all(one["yref"] == "paper" for one in names)
    assert 0 < max(one["y"] for one in names) <= layout["yaxis"]["domain"][0]


def test_optunas_figures_are_there_for_a_block_with_results_alone(charts: dict[str, Any]) -> None:
    assert {"Parallel coordinates-1", "Slices-1", "Contours-1", "curves-1"} <= charts.keys()
    assert not [name for name in charts if name.endswith("-2") and name != "tree-2" and name != "timeline-2"]
    slices = charts["Slices-1"]
    assert slices["layout"]["yaxis"]["title"]["text"] == "log10(1 - R²)"
    assert "omega" in [one["text"] for one in slices["layout"]["annotations"]]
    assert list(slices["data"][0]["marker"]["color"]) == [0, 1, 4, 5]  # trials' own numbers


def test_the_timeline_has_a_bar_a_trial_on_its_slot() -> None:
    begin = datetime.datetime(2026, 1, 1, 12)
    trials = [planted(number, TrialState.COMPLETE, 0.9 + number / 100) for number in range(5)]
    for number, trial in enumerate(trials):
        trial.datetime_start = begin
        trial.datetime_complete = begin + datetime.timedelta(seconds=10 * (1 + number))
    figure = timeline(view(one_block(trials)))
    assert figure.layout.yaxis.categoryarray == ("slot 0", "slot 1", "slot 2", "slot 3")
    bars = [(y, x) for trace in figure.data for y, x in zip(trace.y, trace.x, strict=True)]
    assert sorted(bars) == [("slot 0", 10e3), ("slot 0", 50e3), ("slot 1", 20e3), ("slot 2", 30e3), ("slot 3", 40e3)]


def test_a_row_a_trial_with_its_parameters_first(page: Page, sweep: SweepPaths) -> None:
    heads = page.text[page.text.index("trial omega") :]
    assert heads.startswith("trial omega R² min state parent mutation, how it ended, verdict")
    assert page.all("data-copy").count("") == 0
    assert "graph_model.omega_f=40.0" in page.all("data-copy")[1]
    assert {"finished", "pruned", "failed", "block 1", "block 3"} <= set(page.all("data-value"))
    table = pd.read_csv(sweep.trials_csv)
    assert len(table) == len(page.all("data-copy")) == 12
    assert table.omega_f[1] == 40.0


def test_an_old_logs_figures_are_called_what_they_are(tmp_path: Path) -> None:
    paths = SweepPaths(tmp_path / "outputs" / "old")
    paths.root.mkdir(parents=True)
    study = one_block([planted(0, TrialState.COMPLETE, 0.9)], imported={"file": "log.md", "note": ""})
    write_report(paths, OutputPaths(paths.root.parent), {1: study}, {})
    assert "squared correlation (of the old loop) 0.9000" in Page(paths.report.read_text("utf-8")).text


def test_report_is_the_same_when_it_is_made_again(html: str, sweep: SweepPaths) -> None:
    paths, outputs, studies, validations = open_folder(sweep.root)
    write_report(paths, outputs, studies, validations)
    assert paths.report.read_text("utf-8") == html


def test_lattice_gives_every_column_its_pixels() -> None:
    positions = lattice(37) * 2.5
    raster = lattice_raster(positions, 200)
    counts = np.bincount(raster[raster >= 0], minlength=37)
    assert counts.min() > 0.8 * counts.max()
    top = raster[: len(raster) // 4]
    assert positions[np.unique(top[top >= 0]), 1].min() > 0


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("n", [2, 300, 1000])
def test_a_line_of_columns_has_a_row_of_pixels(n: int, axis: int) -> None:
    positions = np.zeros((n, 2), np.float32)
    positions[:, axis] = np.arange(n)
    raster = lattice_raster(positions, 240)
    assert raster.shape[axis] >= 1
    assert raster.shape[1 - axis] == 240
    assert len(np.unique(raster[raster >= 0])) >= min(n, 200)


@pytest.mark.parametrize("missing", ["weights", "config", "data"])
def test_a_model_that_cannot_be_shown_is_told(
    missing: str, tmp_path: Path, cfg: TrialConfig, field: StimulusField
) -> None:
    paths = SweepPaths(tmp_path / "outputs" / "small")
    paths.root.mkdir(parents=True)
    plant_model(paths, cfg, 0)
    if missing == "data":
        changed = make_field_folder(tmp_path / "changed", n_frames=16, seed=5)
        paths.trial("block_01", 0).config.write_text(
            yaml.safe_dump(
                plain(TrialConfig(Dataset("flyvis", str(changed), N_NEURONS), cfg.graph_model, cfg.training))
            )
        )
    else:
        getattr(paths.trial("block_01", 0), missing).unlink()
    study = one_block([planted(0, TrialState.COMPLETE, 0.9)], data_hash=field.data_hash)
    write_report(paths, OutputPaths(paths.root.parent), {1: study}, {})
    text = Page(paths.report.read_text("utf-8")).text
    assert "The best model (trial 0) cannot be shown" in text
    assert ("the data are not those" in text) == (missing == "data")


def test_a_sweep_without_trials_has_a_report(tmp_path: Path) -> None:
    paths = SweepPaths(tmp_path / "outputs" / "empty")
    paths.root.mkdir(parents=True)
    write_report(paths, OutputPaths(paths.root.parent), {1: one_block([])}, {})
    assert "0 finished, 0 pruned, 0 failed" in Page(paths.report.read_text("utf-8")).text


def test_importances_find_the_parameter_that_matters_and_say_how_sure_that_is() -> None:
    rng = np.random.default_rng(0)
    trials = []
    for number in range(24):
        trial = planted(number, TrialState.COMPLETE, 0.0, omega=float(np.exp(rng.uniform(2, 6))))
        trial.value = 1 - abs(np.log(trial.params[OMEGA]) - 4) / 10
        trial.params["T_period_ratio"] = float(rng.uniform(1, 300))
        trials.append(trial)
    figure, ranked, told = parameter_importances([view(one_block(trials))])
    assert (ranked[0], len(ranked)) == ("omega", 3)
    assert figure is not None
    bars = figure.data[0]
    assert bars.x[-1] > 0.8
    assert 0 < bars.error_x.array[-1] < 0.2
    assert "24 trials" in told


def test_too_few_trials_for_importances_are_told() -> None:
    trials = [planted(number, TrialState.COMPLETE, 0.1 * number, omega=10.0 + number) for number in range(3)]
    figure, ranked, told = parameter_importances([view(one_block(trials))])
    assert figure is None
    assert not ranked
    assert told.startswith("Too few trials to tell: 3 have an R²")


@pytest.mark.parametrize(
    ("r2", "name", "text"),
    [
        (1.0, "excellent", "1"),
        (1 - 2e-9, "excellent", "1 - 2.0e-09"),
        (0.951, "excellent", "0.9510"),
        (0.95, "good", "0.9500"),
        (0.7, "moderate", "0.7000"),
        (-6.25, "poor", "-6.2500"),
    ],
)
def test_r2_is_classed_and_written(r2: float, name: str, text: str) -> None:
    assert grade(r2) == name
    assert shown_r2(r2) == text


def test_command_writes_the_report_again(sweep: SweepPaths, html: str, run_here: Run) -> None:
    sweep.report.unlink()
    result = run_here("report", str(sweep.root))
    assert result.returncode == 0, result.stderr
    assert str(sweep.report) in result.stdout
    assert sweep.report.read_text("utf-8") == html


def test_command_on_a_folder_without_a_sweep_is_told(tmp_path: Path, told_here: Callable[..., str]) -> None:
    assert told_here("report", str(tmp_path)).startswith("error: a sweep's folder holds study.db")


def test_disk_that_will_not_have_it_leaves_the_old_report(tmp_path: Path) -> None:
    paths = SweepPaths(tmp_path / "outputs" / "small")
    paths.report.mkdir(parents=True)
    with pytest.raises(OutputError, match=r"report\.html could not be written"):
        write_report(paths, OutputPaths(paths.root.parent), {1: one_block([])}, {})


def one_block(trials: list[FrozenTrial], **more: object) -> Study:
    study = optuna.create_study(direction="maximize", study_name="block_01")
    attributes: Mapping[str, object] = {"block": 1, "n_training_frames": 16, "settings": settings(4), "data_hash": ""}
    for key, value in {**attributes, **more}.items():
        study.set_user_attr(key, value)
    study.add_trials(trials)
    return study


def view(study: Study) -> BlockView:
    (block,) = read_blocks({1: study}, {})
    return block


def test_sweeps_on_the_same_data_stand_beside_each_other_at_equal_cost(tmp_path: Path) -> None:
    for name, proposer, data, scores in (
        ("mine", "agent", "h", (1.0, 3.0, 2.0, 5.0)),
        ("tree", "ucb_tree", "h", (2.0, 4.0)),
        ("of other data", "ucb_tree", "other", (5.0,)),
    ):
        sweep = PlantedSweep(tmp_path / name)
        sweep.begin(1, settings={"proposer": proposer}, data_hash=data)
        sweep.batch(1, [{"score": score, "outcome": ran(score)} for score in scores])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.db").write_bytes(b"none")
    paths, outputs, studies, validations = open_folder(tmp_path / "mine")
    write_report(paths, outputs, studies, validations)
    text = paths.report.read_text()
    found = Page(text).text.partition("Beside other sweeps Sweeps in")[2].partition("Truth and prediction")[0]
    assert "mine tree proposer agent ucb_tree R2 0.9933 0.9817 R2 at equal cost 0.9502 0.9817 cost 2.00 1.00" in found
    assert "of other data" not in found
    assert re.search(r"Not read: broken \(.*study.db must be a whole study file", found)
    mine, tree = charts_of(text)["beside-0"]["data"]
    assert (mine["name"], tree["x"], tree["name"]) == ("mine", [0.5, 1.0], "tree")
    assert mine["y"] == pytest.approx([1 - r2_of(score) for score in (1, 3, 3, 5)])


def test_a_sweep_alone_has_nobody_beside_it(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path / "alone")
    write_report(sweep.paths, OutputPaths(tmp_path), {1: sweep.begin(1, data_hash="h")}, {})
    assert "Beside other sweeps" not in sweep.paths.report.read_text()


def test_what_was_seen_over_some_windows_says_so_and_a_trial_that_goes_on_has_not_ended(tmp_path: Path) -> None:
    sweep = PlantedSweep(tmp_path / "s")
    study = sweep.begin(1, n_frames=64_000, settings={"claude.search_windows": 16})
    sample = {"sample_r2": r2_of(3.0), "sample_windows": 16, "n_windows": 512}
    sweep.batch(1, [{"score": 3.0, "changes": {WINDOW: 125}, "metrics": sample}, paused(0.9, changes={WINDOW: 125})])
    writer = TrialWriter(sweep.storage, trial_id(sweep.storage, study, 1))
    writer.stints([Stint(2, 0, 1, 0.25, 0.9)])
    writer.attempt(2)
    beside = create(sweep.storage, validation_name(1))
    for r2 in SEED_R2:
        outcome = Outcome(1, "finished", None, {**sample, "sample_r2": r2})
        plan = TrialPlan(1, {}, validation_of=0)
        beside.add_trial(create_trial(value=r2, user_attrs=trial_values(plan, outcome, attempt=1)))
    write_report(sweep.paths, OutputPaths(tmp_path), sweep.studies, {1: beside})
    text = Page(sweep.paths.report.read_text("utf-8")).text
    assert "0.9640 ± 0.0057 over 16 of 512 windows (2 seeds)" in text
    assert "0.5000 over 16 of 512 windows" in text
    assert "stopped at 25%" not in text


def test_many_trials_make_no_large_figures() -> None:
    omegas = np.random.default_rng(0).uniform(5, 500, 400)
    trials = [planted(n % 250, TrialState.COMPLETE, 1 - omega / 1000, omega=omega) for n, omega in enumerate(omegas)]
    block = view(one_block(trials))
    _, ranked, told = parameter_importances([block])
    assert told.startswith(f"From {MOST_RANKED} of 400 trials")
    found = block_figures(block, ranked)
    lines = list(found["Parallel coordinates"].select_traces({"mode": "lines"}))
    assert len(lines) == len(learning_curves(block).data) == MOST_LINES
    panels = [trace for trace in found["Contours"].data if trace.type == "contour"]
    assert 10 < max(len(trace.y) for trace in panels if trace.y is not None) <= MOST_CONTOURED + 2


def test_the_tree_of_many_trials_has_the_best_others_and_all_their_ancestors() -> None:
    n, chain = 3 * MOST_LINES, 40  # a chain that leads to the best trial, and children of the root
    trials = [
        planted(k % 250, TrialState.COMPLETE, 0.99 if k == chain else 0.1 + k * 1e-4, parent=k - 1 if k <= chain else 0)
        for k in range(1, n)
    ]
    figure = tree(view(one_block([planted(0, TrialState.COMPLETE, 0.05), *trials])))
    drawn = [int(re.findall(r"<b>(\d+)</b>", text)[0]) for trace in figure.data for text in trace.text or ()]
    assert MOST_LINES < len(drawn) < MOST_LINES + chain + 2
    assert {*range(chain + 1)} <= {*drawn}
    assert n - 1 in drawn
    assert len({*drawn}) == len(drawn)
    assert figure.layout.height < 24 * (MOST_LINES + chain + 10)


def test_of_many_lines_the_best_are_drawn_and_others_from_first_to_last() -> None:
    few, many = list(range(MOST_LINES)), list(range(10 * MOST_LINES))
    assert best_and_spread(few) == few
    drawn, half = list(best_and_spread(many)), MOST_LINES // 2
    assert drawn[:half] == many[:half]
    assert (drawn[half], drawn[-1]) == (half, many[-1])
    assert len({*drawn}) == MOST_LINES


@pytest.mark.parametrize("unit", [1.0, 1e-5, 1e4])
def test_traces_are_drawn_to_a_thousandth_in_any_unit(unit: float) -> None:
    truth, prediction = [0.25 * unit, 0.7523456 * unit], [0.25 * unit, 0.75 * unit]
    drawn = traces([0, 1], {"a": (truth, prediction)}).data
    assert [list(trace.y) for trace in drawn] == [
        pytest.approx(truth, abs=1e-3 * unit),
        pytest.approx(prediction, abs=1e-3 * unit),
    ]
    assert drawn[0].y[1] != drawn[1].y[1]
    assert max(len(f"{value:g}") for trace in drawn for value in trace.y) < 12
