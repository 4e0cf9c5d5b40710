"""A finished sweep as a person sees it: its report from disk and its runs in the MLflow UI, in headless Chromium."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from browser import CHROMIUM, Browser
from conftest import run_command
from mlflow import MlflowClient

from siren_sweep.paths import OutputPaths, SweepPaths, sqlite_url

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: apt-get install chromium)"),
]

LAST_EXPANDER = "[...document.querySelectorAll('[data-component-id*=runnamecellrenderer]')].at(-1)"
CURVES = (
    "[...document.querySelectorAll('.plot-container')]"
    ".filter(one => one.querySelector('path.js-line')?.getBoundingClientRect().width > 100)"
)


@pytest.fixture(scope="module")
def swept(own_data: list[str], tmp_path_factory: pytest.TempPathFactory) -> SweepPaths:
    """A tiny block of four trials, with its report."""
    home = tmp_path_factory.mktemp("home")
    block = "blocks.schedule=[{n_training_frames: 8, total_steps: 40}]"
    result = run_command("-m", "blocks=tiny", block, "sweep.name=small", "outputs_dir=o u t", *own_data, cwd=home)
    assert result.returncode == 0, result.stdout + result.stderr
    paths = OutputPaths(home / "o u t").sweep("small")
    result = run_command("report", str(paths.root), cwd=home)
    assert result.returncode == 0, result.stdout + result.stderr
    return paths


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def report(swept: SweepPaths, browser: Browser) -> Browser:
    """The report, open and wide, light and with motion."""
    browser.size(1400)
    browser.media(prefers_color_scheme="light", prefers_reduced_motion="no-preference")
    browser.open(swept.report.as_uri())
    return browser


@pytest.fixture(scope="module")
def pages(swept: SweepPaths) -> Iterator[str]:
    """The address that `siren-sweep ui` prints, which must be the one of the sweep's runs."""
    script = Path(sys.executable).with_name("siren-sweep")
    command = [str(script), "ui", str(swept.root.parent)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"http_proxy": "http://127.0.0.1:9"},  # where nothing listens
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in a shell's background
    ) as ui:
        assert ui.stdout is not None
        address = ui.stdout.readline().removeprefix("small: ").strip()
        assert address.startswith("http://127.0.0.1:"), address
        family = [psutil.Process(ui.pid), *psutil.Process(ui.pid).children(recursive=True)]
        listening = {one.laddr.ip for own in family for one in own.net_connections() if one.status == "LISTEN"}
        assert listening == {"127.0.0.1"}  # this machine alone
        yield address
        ui.send_signal(signal.SIGINT)
        _, err = ui.communicate(timeout=60)
        assert (ui.returncode, err.strip()) == (0, "MLflow ends")


@pytest.fixture
def server(pages: str) -> str:
    """The address of the server alone."""
    return pages.partition("/#")[0]


@pytest.fixture(scope="module")
def runs(swept: SweepPaths) -> dict[str, str]:
    """The address of each run below the server's, by its key."""
    client = MlflowClient(sqlite_url(OutputPaths(swept.root.parent).mlflow_db))
    experiment = client.get_experiment_by_name("small")
    assert experiment is not None
    base = f"/#/experiments/{experiment.experiment_id}/runs"
    found = client.search_runs([experiment.experiment_id])
    return {run.data.tags["key"]: f"{base}/{run.info.run_id}" for run in found}


def test_report_opens_from_disk_and_asks_for_nothing_else(report: Browser, swept: SweepPaths) -> None:
    asked = {address for address in report.requests if not address.startswith(("data:", "blob:"))}
    assert asked == {swept.report.as_uri()}
    assert report.value("document.title") == "small: report"
    assert "Block 1, 8 frames" in report.text()
    report.wait("document.images.length == 1 && document.images[0].naturalWidth > 0")
    assert report.value("document.querySelectorAll('.js-plotly-plot .main-svg').length") > 6  # as soon as it has loaded


@pytest.mark.parametrize("width", [420, 1300])
def test_report_fits_the_window(report: Browser, width: int) -> None:
    report.size(width)
    assert report.value("innerWidth") == width
    report.value("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert report.value("document.documentElement.scrollWidth") <= width
    texts = "[...document.querySelectorAll('.main-svg text')]"
    shown = f"{texts}.filter(one => one.textContent.trim() && one.checkVisibility())"
    report.wait(f"{shown}.length > 20")
    assert report.value(f"Math.min(...{shown}.map(one => one.getBoundingClientRect().height))") >= 9
    heights = "[...document.querySelectorAll('.js-plotly-plot')].map(one => one.clientHeight)"
    assert report.value(f"Math.min(...{heights})") > 100
    wide = "(one => one.offsetWidth - one.parentElement.clientWidth)(document.getElementById('trials'))"
    assert width < 1300 or report.value(wide) <= 0


@pytest.mark.parametrize("width", [420, 1300])
def test_no_block_s_name_lies_over_a_mark(report: Browser, width: int) -> None:
    report.size(width)
    boxes = "[...document.querySelectorAll('[data-chart=r2-by-block] {}')].map(one => one.getBoundingClientRect().{})"
    names = boxes.format('.annotation-text[data-unformatted^="1<br>"]', "top")
    assert report.wait(f"{names}.length") == 1
    marks = boxes.format(".points path", "bottom")
    assert report.value(f"Math.min(...{names}) >= Math.max(...{marks})")


@pytest.mark.parametrize("width", [420, 1300])
@pytest.mark.parametrize("chart", ["r2-by-block", "curves-1"])
def test_the_line_of_an_excellent_r2_is_named_beside_the_marks(report: Browser, chart: str, width: int) -> None:
    report.size(width)
    boxes = "[...document.querySelectorAll('[data-chart=" + chart + "] {}')].map(one => one.getBoundingClientRect().{})"
    name = boxes.format(".annotation-text[data-unformatted*=R²]", "left")
    assert report.wait(f"{name}.length") == 1
    marks = boxes.format(".scatterlayer path", "right")
    assert report.value(f"{name}[0] >= Math.max(...{marks})")


def test_nothing_is_wider_than_a_sheet_of_letter_paper(report: Browser) -> None:
    report.size(739)
    report.media("print")
    report.open(report.value("location.href"))
    assert report.value("document.documentElement.scrollWidth") <= 739
    tables = "[...document.querySelectorAll('table')].map(one => one.getBoundingClientRect().right)"
    assert report.value(f"Math.max(...{tables})") <= 739


def test_trials_are_sorted_filtered_and_copied_by_a_click(report: Browser) -> None:
    column = "[...document.querySelectorAll('#trials tbody tr')].map(one => Number(one.cells[{}].dataset.sort))"
    heads = report.value("[...document.querySelectorAll('#trials thead th')].map(one => one.textContent.trim())")
    place = heads.index("R²")
    for order in (1, -1):
        report.value(f"document.querySelectorAll('#trials thead button')[{place}].click()")
        values = report.value(column.format(place))
        assert len(set(values)) > 2
        assert values == sorted(values, reverse=order < 0)
    rows = "[...document.querySelectorAll('#trials tbody tr')].filter(one => !one.hidden).length"
    assert report.value(rows) == len(values)
    report.value('document.querySelector(\'[data-value="supported"], [data-value="inconclusive"]\').click()')
    assert 0 < report.value(rows) < len(values)
    report.value("document.querySelector('.copy').click()")
    report.wait("document.querySelector('.copy').textContent == 'copied'")


def test_a_chart_answers_to_the_pointer_and_a_trial_leads_to_its_run(report: Browser) -> None:
    report.value(
        "Plotly.Fx.hover(document.querySelector('[data-chart=r2-by-block]'), [{curveNumber: 0, pointNumber: 0}])"
    )
    assert report.wait("document.querySelector('.hoverlayer text')?.textContent").startswith("block 1, trial ")
    links = report.value("[...document.querySelectorAll('#trials a')].map(one => one.href)")
    assert len(links) == 4
    assert all("/#/experiments/" in link and link.endswith("workflowType=machine_learning") for link in links)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_the_page(report: Browser, scheme: str) -> None:
    report.media(prefers_color_scheme=scheme)
    page = report.value("getComputedStyle(document.body).backgroundColor")
    assert (luminance(page) < 0.1) == (scheme == "dark")
    inks = report.value(
        "[...new Set([...document.querySelectorAll('p, td, th, a, .main-svg text:not(.hoverlayer text)')].map(one => {"
        "const style = getComputedStyle(one); return one.closest('svg') ? style.fill : style.color}))]"
    )
    assert inks
    for ink in inks:
        lighter, darker = sorted((luminance(ink) + 0.05, luminance(page) + 0.05), reverse=True)
        assert lighter / darker >= 4.5, f"{ink} on {page}"


def luminance(colour: str) -> float:
    """Relative luminance of an `rgb(...)` (WCAG 2.2, definitions)."""
    channels = [int(text) / 255 for text in re.findall(r"\d+", colour)[:3]]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_video_can_be_halted_and_begins_as_the_system_prefers(report: Browser, motion: str) -> None:
    report.media(prefers_reduced_motion=motion)
    report.open(report.value("location.href"))
    shown = "[...document.querySelectorAll('.film img, .film canvas')].filter(one => one.offsetWidth)[0].tagName"
    before, after = ("IMG", "CANVAS") if motion == "no-preference" else ("CANVAS", "IMG")
    report.wait(f"{shown} == '{before}'")
    report.value("document.querySelector('.film label').click()")
    report.wait(f"{shown} == '{after}'")


def test_mlflow_opens_on_the_runs_nested_sweep_block_trial(browser: Browser, pages: str) -> None:
    browser.size(1600)
    browser.open(pages)
    browser.wait("document.body.innerText.includes('matching runs')")
    assert "block 1" not in browser.text()
    assert "Model registry" in browser.text()  # the pages of training runs, and not of language models
    for name in ("block 1", "trial 0"):
        browser.wait(f"!!{LAST_EXPANDER}")
        browser.value(f"{LAST_EXPANDER}.click()")
        browser.wait(f"document.body.innerText.includes('{name}')")


def test_a_block_s_description_leads_to_its_trials_side_by_side(
    browser: Browser, server: str, runs: dict[str, str]
) -> None:
    browser.size(1600)
    browser.open(server + runs["block_01"])
    link = "[...document.querySelectorAll('a')].find(one => one.innerText == 'its trials beside each other')"
    browser.wait(f"!!{link}")
    browser.open(f"{server}/{browser.value(f'{link}.hash')}")
    browser.wait("document.body.innerText.includes('Comparing 4 Runs')")
    assert browser.wait("document.querySelectorAll('.parcoords-line-layers, .parcoords').length") >= 1


def test_mlflow_shows_a_metric_as_a_curve(browser: Browser, server: str, runs: dict[str, str]) -> None:
    browser.size(1600)
    browser.open(server + runs["block_01/trial_0000"] + "/model-metrics")
    browser.wait("document.body.innerText.includes('trial 0 (r2)')")
    assert browser.wait(f"{CURVES}.length") >= 1


def test_mlflow_shows_the_picture_of_a_block(browser: Browser, server: str, runs: dict[str, str]) -> None:
    browser.size(1600)
    browser.open(server + runs["block_01"] + "/artifacts/block_01.png")
    assert browser.wait("document.querySelector('img[alt=\"block_01.png\"]')?.naturalWidth") > 500
