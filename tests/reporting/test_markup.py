"""Names of models, kinds, sets and variations are words in charts and pages, never markup."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from grids import REWORDED, Grid, write_grid

from rewardgap.configs.experiments import ReportConfig
from rewardgap.reporting.paper import saving
from rewardgap.reporting.report import report

LINK = '<a href="https://example.org/{}">{}</a><b>bold</b>'
KIND = LINK.format("kind", "explicit")
SET = LINK.format("set", "test").replace("/", "|")  # it names a file
GRID = Grid(
    name=LINK.format("name", "chat"),
    models=(LINK.format("model", "small"), "m2"),
    kinds=(KIND, "implicit"),
    variations=("", LINK.format("variation", "beta")),
    sets={SET: ("in-distribution", None), "reworded": ("token-level", SET)},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("markup")
    grids = write_grid(top / "grid", GRID), write_grid(top / "plain", replace(REWORDED, records=6))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(saving, "FORMATS", ("svg",))
        report(ReportConfig(folders=[str(grid) for grid in grids], out=str(top / "out")))
    return top / "out"


def test_figures_have_names_as_text(folder):
    texts, tags = set(), set()
    for path in folder.rglob("*.svg"):
        for element in ElementTree.parse(path).iter():
            tags.add(element.tag.rpartition("}")[2])
            texts.add(element.text)
    assert any(text and "<b>bold</b>" in text for text in texts)
    assert tags <= {
        "svg",
        "g",
        "path",
        "rect",
        "text",
        "tspan",
        "line",
        "defs",
        "clipPath",
        "style",
    }


def test_a_browser_shows_names_as_text(folder: Path, browser: Any):
    from selenium.webdriver.support.wait import WebDriverWait

    browser.get((folder / "index.html").as_uri())
    wait = WebDriverWait(browser, 30)
    wait.until(lambda _: browser.find_elements("css selector", "#records[data-ready]"))
    drawn = []
    for plot in browser.find_elements("css selector", ".plot"):
        browser.execute_script("arguments[0].scrollIntoView()", plot)
        if plot.is_displayed():
            wait.until(lambda _, plot=plot: plot.find_elements("css selector", "svg text"))
            drawn += [text.text for text in plot.find_elements("css selector", "svg text")]
    assert any(text.startswith("<a href=") for text in drawn)
    links = "svg a, svg b, a[href^='http'][href*='example'], svg [style*='bold']"
    assert not browser.find_elements("css selector", links)
