"""The report's page: what is in it, that it is safe, and that a browser shows it."""

import base64
import gzip
import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from accessibility import find_faults
from grids import SCRIPT, Grid, figures, results_of, tables, write_grid

from rewardgap.configs.experiments import ReportConfig
from rewardgap.evaluation.scores import ScoreRow, write_scores
from rewardgap.reporting.page import embedded
from rewardgap.reporting.paper import saving
from rewardgap.reporting.records import Texts, pack
from rewardgap.reporting.report import report
from rewardgap.reporting.topic import TextTable
from rewardgap.reporting.topics import accuracy

RECORDS = 60
GRID = Grid(
    name="chat <b>",
    kinds=("explicit", "generative", "implicit"),
    records=RECORDS,
    sets={
        "ultrafeedback": ("in-distribution", None),
        "ultrafeedback-french": ("token-level", "ultrafeedback"),
    },
)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    grid = write_grid(folder / "grid", GRID)
    forecast = {
        name: {"explicit": {"accuracy": {"value": 0.7, "low": 0.6, "high": 0.8}, "loss": 0.3}}
        for name in GRID.sets
    }
    (grid / "forecasts/small").mkdir(parents=True)
    (grid / "forecasts/small/forecast.json").write_text(json.dumps(forecast))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(saving, "FORMATS", ("svg",))
        return report(ReportConfig(folders=[str(grid)], out=str(folder / "out")))


class Elements(HTMLParser):
    """Tags with their attributes, and the texts of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append(data)


@pytest.fixture(scope="module")
def elements(page) -> Elements:
    return Elements(page.read_text())


def test_nothing_is_loaded(elements):
    for tag, attributes in elements.tags:
        for name in ("src", "srcset", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
        if "href" in attributes and tag != "link":
            assert attributes["href"].startswith(("#", "figures/")), attributes
    (policy,) = [a["content"] for t, a in elements.tags if "Content-Security-Policy" in a.values()]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline'; img" in policy and "unsafe-eval" not in policy
    assert not re.search(r"script-src[^;]*unsafe", policy)


def test_names_and_data_are_escaped(page, elements):
    """One script element a script of ours, and two of data, whatever names and texts hold."""
    assert [a.get("type") for t, a in elements.tags if t == "script"] == [
        "application/json",
        "application/octet-stream",
        *[None] * 4,
    ]
    text = page.read_text()
    assert "chat &lt;b&gt;" in text and "chat <b>" not in text
    assert SCRIPT not in text
    assert "<" not in elements.scripts[0]
    assert embedded({"<b>": SCRIPT}).startswith('{"\\u003cb\\u003e":"\\u003c/script')


def test_the_page_says_what_the_report_found(page):
    text = page.read_text()
    content = json.loads((page.parent / "report.json").read_text())
    for finding in content["experiments"]["chat <b>"]["findings"]:
        assert finding["text"].split("“")[0] in text


def unpacked(page: Path) -> dict[str, Any]:
    (packed,) = [t for t in Elements(page.read_text()).scripts if t.startswith("H4sI")]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_records_travel_with_texts_and_rewards(page):
    data = unpacked(page)
    first = data["collections"][0]
    assert (first["set"], len(first["ids"]), len(first["cells"])) == ("ultrafeedback", RECORDS, 12)
    assert data["texts"][first["rejected"][0][0]] == SCRIPT
    assert data["texts"][first["prompts"][1]].startswith("Question 1")
    assert data["collections"][1]["shift_of"] == "ultrafeedback"
    scores = next(read for read in (page.parent.parent / "grid").rglob("ultrafeedback.jsonl"))
    row = json.loads(scores.read_text().splitlines()[0])
    rewards = {tuple(cell["rewards"][:2]) for cell in first["cells"]}
    wanted = (row["scores_chosen"], row["scores_rejected"])
    assert any(each == pytest.approx(wanted, rel=1e-5) for each in rewards)


def collection_of(folder: Path) -> dict[str, Any]:
    data = json.loads(gzip.decompress(base64.b64decode(pack([results_of(folder)]))))
    return data["collections"][0]


def test_rounding_makes_no_tie(tmp_path):
    grid = replace(GRID, records=1, models=("m",), kinds=("explicit",), seeds=(0,))
    folder = write_grid(tmp_path, grid, lambda *_: [(1.00000001, 1.0)])
    assert collection_of(folder)["cells"][0]["rewards"] == [1.00000001, 1.0]


def test_records_of_several_responses_have_sizes(tmp_path):
    grid = replace(GRID, records=1, models=("m",), kinds=("explicit",), seeds=(0,))
    folder = write_grid(tmp_path, grid)
    path = folder / "m/explicit/seed-0/scores/ultrafeedback.jsonl"
    write_scores(path, [ScoreRow("ultrafeedback-0", (1.0, 2.0), (3.0,))])
    collection = collection_of(folder)
    assert collection["sizes"] == [[2, 1]]
    assert collection["cells"][0]["rewards"] == [1.0, 2.0, 3.0]


def test_texts_that_cannot_be_had_are_missed_in_a_sentence(tmp_path):
    folder = write_grid(tmp_path, GRID)
    (folder / "data/ultrafeedback.jsonl").unlink()
    collection = collection_of(folder)
    assert "prompts" not in collection
    assert re.search("Texts are not shown: .*ultrafeedback.jsonl", collection["without_texts"])


def test_texts_of_other_records_are_not_shown(tmp_path):
    folder = write_grid(tmp_path, GRID)
    path = folder / "data/ultrafeedback.jsonl"
    path.write_text(path.read_text().replace('"ultrafeedback-3"', '"another"'))
    assert "no longer holds the records" in collection_of(folder)["without_texts"]


def test_a_very_long_text_is_cut():
    texts = Texts()
    assert texts.number("a") == texts.number("a") == 0
    assert texts.number("b" * 20_000) == 1
    assert texts.all()[1].endswith("… (8,000 more characters)")


def test_vega_knows_every_chart(page):
    made = figures(results_of(page.parent.parent / "grid"))
    assert list(made) == [
        "Accuracy",
        "Separation",
        "Training",
        "Which kind wins",
        "What rewording costs",
        "Forecast and measured",
    ]
    for figure in made.values():
        for chart in figure.variants.values():
            chart.to_dict()  # refuses unknown keys and values


@pytest.mark.parametrize("share, cell", [(0.25, "0.250"), (None, "–")])
def test_the_share_of_the_separator_stands_beside_the_papers(page, share, cell):
    measured = results_of(page.parent.parent / "grid")
    forecasts = [replace(each, separator_share=share) for each in measured.forecasts]
    measured = replace(measured, forecasts=forecasts)

    def table(name: str) -> TextTable:
        named = replace(measured, experiment=replace(measured.experiment, name=name))
        return tables(named)["Forecast and measured"]

    assert {row[-1] for row in table("chat").rows} == {cell}
    assert table("chat").note.endswith("can be separated.")
    note = "the paper prints for rewordings 1.000 (instruct) and 0.970 (base), in footnote 3."
    assert table("persona").note.endswith(note)


def test_the_accuracy_chart_shows_kinds_baselines_and_intervals(page):
    results = results_of(page.parent.parent / "grid")
    figure = figures(results)["Accuracy"]
    assert list(figure.variants) == ["all models together", "small", "large"]
    spec = figure.variants["all models together"].to_dict()
    marks = [mark for rows in spec["datasets"].values() for mark in rows if "series" in mark]
    overall = accuracy.measure(results).overall["ultrafeedback"]["explicit"].accuracy
    (explicit,) = [
        mark for mark in marks if (mark["line"], mark["series"]) == ("ultrafeedback", "explicit")
    ]
    ends = (explicit["value"], explicit["low"], explicit["high"])
    assert ends == pytest.approx((overall.value, overall.low, overall.high), rel=1e-3)
    assert {"longer wins", "shorter wins", "bag of words"} <= {mark["series"] for mark in marks}


# In a browser.


class Shown:
    """The page in a browser."""

    def __init__(self, driver: Any, page: Path) -> None:
        from selenium.webdriver.support.wait import WebDriverWait

        self.driver = driver
        self.wait = WebDriverWait(driver, 30)
        driver.get(page.as_uri())
        self.wait.until(lambda _: self.all("#records[data-ready]"))

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def rows(self) -> list[str]:
        return [row.text for row in self.all("[data-part=rows] tr")]

    def status(self) -> str:
        return self.one("[data-part=status]").text

    def focused(self) -> str:
        return self.run("return document.activeElement.innerText")


@pytest.fixture
def shown(browser, page) -> Shown:
    return Shown(browser, page)


def test_it_loads_without_an_error_and_draws(shown):
    for figure in shown.all("main > section > figure[data-chart]"):
        shown.run("arguments[0].scrollIntoView()", figure)
        shown.driver.implicitly_wait(10)
        assert figure.find_elements("css selector", "svg.marks path")
    assert shown.driver.get_log("browser") == []


def test_nothing_keeps_people_from_reading_it(browser, page):
    assert find_faults(browser, page, "#records[data-ready]") == []


def test_search_and_filters(shown):
    assert shown.status() == f"{RECORDS} of {RECORDS} records."
    assert len(shown.rows()) == 50
    shown.one("[data-part=more]").click()
    assert len(shown.rows()) == RECORDS
    shown.one("[data-part=search]").send_keys("question 7:")
    assert shown.status() == f"1 of {RECORDS} records."
    shown.one("[data-part=search]").clear()
    shown.one("[data-part=search]").send_keys("ultrafeedback-12")  # an id
    assert "Question 12" in shown.rows()[0]


def disagreeing(page: Path) -> int:
    """Records on which not all kinds' verdicts agree, for the model `small`, over both seeds."""
    collection = unpacked(page)["collections"][0]
    count = 0
    for index in range(RECORDS):
        verdicts = set()
        for kind in GRID.kinds:
            margins = [
                cell["rewards"][2 * index] - cell["rewards"][2 * index + 1]
                for cell in collection["cells"]
                if (cell["kind"], cell["subject"]) == (kind, "small")
            ]
            right = sum(margin > 0 for margin in margins)
            verdicts.add((right > 1) - (right < 1))
        count += len(verdicts) > 1
    return count


def test_the_filter_of_disagreeing_kinds(shown, page):
    shown.one("[data-part=disagree]").click()
    expected = disagreeing(page)
    assert 0 < expected < RECORDS
    assert shown.status() == f"{expected} of {RECORDS} records."


def test_sorting(shown):
    button = shown.one("[data-part=head] th[data-key='0'] button")
    button.click()
    numbers = [
        float(re.search(r"[+−]\d+\.\d+", cell.text)[0].replace("−", "-"))
        for cell in shown.all("[data-part=rows] tr td:nth-child(3)")
    ]
    assert numbers == sorted(numbers)
    assert shown.one("[data-key='0']").get_attribute("aria-sort") == "ascending"
    shown.one("[data-part=head] th[data-key='0'] button").click()
    assert shown.one("[data-key='0']").get_attribute("aria-sort") == "descending"


def test_a_script_in_a_response_is_text(shown, page):
    title = shown.driver.title
    shown.all("[data-part=rows] tr")[0].click()
    assert SCRIPT in [each.text for each in shown.all("#record .text")]
    assert len(shown.all("#record tbody tr")) == 6  # three kinds, two seeds
    assert shown.driver.title == title


def test_records_by_keyboard(shown):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(key: str) -> None:
        ActionChains(shown.driver).send_keys(key).perform()

    shown.run("document.querySelector('[data-part=rows] tr').focus()")
    press(Keys.ARROW_DOWN)
    assert "Question 1:" in shown.focused()
    press(Keys.ENTER)
    assert shown.one("#record h3").text == "ultrafeedback, record 2"
    press(Keys.ARROW_RIGHT)
    assert shown.one("#record h3").text == "ultrafeedback, record 3"
    press(Keys.ESCAPE)
    assert not shown.run("return document.getElementById('record').open")
    # A dialog tells of its end in a task of its own, after it is shut.
    shown.wait.until(lambda _: "Question 2:" in shown.focused())


def test_the_command_that_explains_a_record_can_be_copied(shown, page):
    shown.all("[data-part=rows] tr")[2].click()
    shown.one("#record summary").click()
    commands = [shlex.split(each.text) for each in shown.all("#record .command code")]
    run = page.parent.parent / "grid/small/explicit/seed-0"
    data = page.parent.parent / "grid/data/ultrafeedback.jsonl"
    (known,) = [command for command in commands if command[2] == str(run)]
    record = ["--id", "ultrafeedback-2", "--out", "explicit-0-record-3.html"]
    assert known == ["rewardgap", "explain", str(run), "--data", str(data), *record]
    shown.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    shown.one("#record .command button").click()
    assert shlex.split(shown.run("return window.copied")) == commands[0]


def test_the_same_record_in_other_words(shown):
    shown.all("[data-part=rows] tr")[2].click()
    shown.one(".related button").click()
    assert shown.one("#record h3").text == "ultrafeedback-french, record 3"


def test_light_and_dark(shown):
    def background() -> str:
        return shown.run("return getComputedStyle(document.body).backgroundColor")

    light = background()
    shown.one("#theme").click()
    assert background() != light
    assert shown.one("#theme").get_attribute("aria-pressed") == "true"
    shown.one("#theme").click()
    assert background() == light


def test_a_phone_needs_no_sideways_scrolling(shown):
    shown.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True},
    )
    for each in shown.all("details"):
        shown.run("arguments[0].open = true", each)
    assert shown.run("return document.documentElement.scrollWidth") <= 390
    shown.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
