"""Figures of the report: which are drawn, why others are not, and what is in them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pytest
from grids import Grid, write_grid

from rewardgap.models.kinds import KINDS
from rewardgap.models.kinds.palette import COLOURS
from rewardgap.reporting.drawing import dots, kind_style, stacked_shares
from rewardgap.reporting.paper import saving
from rewardgap.reporting.paper.figures import PAPERS, _by_model, draw_figures
from rewardgap.reporting.results import Results, measure
from rewardgap.reporting.runs import read_grids
from rewardgap.reporting.topics import accuracy

TINY = Grid(
    models=("m",),
    seeds=(0,),
    records=4,
    sets={"ultrafeedback": ("in-distribution", None), "rewardmath": ("domain", None)},
)
ALL = (
    replace(TINY, kinds=("explicit", "generative", "implicit")),
    replace(TINY, name="math", train="rewardmath"),
    replace(TINY, name="hyperparameters", variations=("", "beta=0.1")),
    replace(TINY, name="variants", kinds=("explicit", "explicit-mean", "implicit")),
    replace(TINY, name="persona"),
    replace(TINY, name="hamiltonian", sets={"test": ("in-distribution", None)}),
    replace(TINY, name="my own"),
)


def experiments(folder: Path, *grids: Grid) -> dict[str, Results]:
    for grid in grids:
        write_grid(folder / grid.name, grid)
    return {each.name: measure(each) for each in read_grids([str(folder)])}


@pytest.fixture
def one_format(monkeypatch):
    """Most of the time of a figure goes into the other two."""
    monkeypatch.setattr(saving, "FORMATS", ("svg",))


def test_all_figures_are_drawn(tmp_path, one_format):
    found = experiments(tmp_path / "grids", *ALL)
    share = {"test": {"correct": 0.25, "initial": 0.5, "n": 8}}
    folder = tmp_path / "grids/hamiltonian/m/implicit/seed-0"
    (folder / "generations.json").write_text(json.dumps(share))
    found["hamiltonian"] = measure(found["hamiltonian"].experiment)
    drawn = draw_figures(found, tmp_path)
    assert drawn.absent == {}
    assert list(drawn.titles) == [*(f"figure-{n}" for n in range(2, 11)), "my-own-accuracy"]
    for name in drawn.titles:
        assert (tmp_path / f"{name}.svg").read_text().startswith("<svg")


def test_the_same_numbers_give_the_same_files_in_every_format(tmp_path):
    found = experiments(tmp_path / "grids", replace(TINY, name="my own"))
    for name in ("a", "b"):
        draw_figures(found, tmp_path / name)
    files = {path.suffix: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert {suffix: content[:4] for suffix, content in files.items()} == {
        ".svg": b"<svg",
        ".pdf": b"%PDF",
        ".png": b"\x89PNG",
    }
    assert {path.suffix: path.read_bytes() for path in (tmp_path / "b").iterdir()} == files


def test_figures_without_cells_are_named_with_what_they_need(tmp_path, one_format):
    drawn = draw_figures(experiments(tmp_path / "grids", TINY), tmp_path)
    assert list(drawn.titles) == ["figure-2", "figure-5", "figure-9"]
    assert drawn.absent["figure-3"].endswith("needs scores of the experiment hamiltonian")
    assert drawn.absent["figure-8"].endswith(
        "needs scores of generative and implicit models of the experiment chat or math"
    )


def test_an_experiment_without_scores_draws_nothing(tmp_path):
    found = experiments(tmp_path / "grids", *ALL)
    for path in (tmp_path / "grids").rglob("scores/*.jsonl"):
        path.unlink()
    found = {name: measure(each.experiment) for name, each in found.items()}
    assert not draw_figures(found, tmp_path / "out").titles
    assert len(PAPERS) == 9


def marks(chart: alt.LayerChart) -> list[dict[str, Any]]:
    """The rows of a chart's data that have a line."""
    rows = [row for data in chart.to_dict()["datasets"].values() for row in data]
    return [row for row in rows if "line" in row]


def scale(chart: alt.LayerChart, channel: str) -> dict[str, str]:
    """What a channel shows by the name in the legend."""
    (first, *_) = (e[channel] for e in encodings(chart) if "scale" in e.get(channel, {}))
    return dict(zip(first["scale"]["domain"], first["scale"]["range"], strict=True))


def encodings(chart: alt.LayerChart) -> list[dict[str, Any]]:
    return [layer["encoding"] for layer in chart.to_dict()["layer"]]


def test_kinds_have_a_colour_and_a_shape_by_their_place_in_the_registry(monkeypatch):
    styles = [kind_style(kind) for kind in KINDS]
    assert [style.colour for style in styles] == list(COLOURS[: len(KINDS)])
    assert len({style.shape for style in styles}) == len(KINDS)
    monkeypatch.setitem(KINDS, "outside", "elsewhere:Outside")
    assert kind_style("outside").colour == COLOURS[len(KINDS) - 1]
    assert kind_style("never heard of") == kind_style("never heard of")


def test_dots_have_their_kinds_style_intervals_and_the_papers_diamond():
    frame = pd.DataFrame(
        [
            ("a", "explicit", 0.7, 0.6, 0.8, 0.9, False),
            ("a", "implicit", 0.4, 0.3, 0.5, None, False),
            ("b", "implicit", 0.2, 0.2, 0.2, None, False),
            ("a", "longer wins", 0.5, None, None, None, True),
        ],
        columns=["line", "series", "value", "low", "high", "paper", "baseline"],
    )
    chart = dots(frame, "accuracy", 0.5)
    values = {(m["line"], m["series"]): (m["low"], m["value"], m["high"]) for m in marks(chart)}
    assert values["a", "explicit"] == (0.6, 0.7, 0.8)
    assert values["b", "implicit"] == (0.2, 0.2, 0.2)
    assert {m["slot"] for m in marks(chart)} == {"explicit", "implicit", "baselines"}
    colours = scale(chart, "color")
    assert list(colours) == ["explicit", "implicit", "the paper", "longer wins"]
    assert colours["explicit"] == "#0072B2" and colours["the paper"] == colours["longer wins"]
    assert next(e["y"]["sort"] for e in encodings(chart) if "y" in e) == ["a", "b"]
    (diamond,) = [e for e in encodings(chart) if e["x"].get("field") == "paper"]
    assert diamond["shape"] == {"value": "diamond"}
    (reference,) = [data for data in chart.to_dict()["datasets"].values() if "at" in data[0]]
    assert reference == [{"at": 0.5}]


def test_figures_say_what_their_bars_are(tmp_path):
    """A line that is a set has the page's interval, one seed or many; a category s.d. of seeds."""
    results = experiments(tmp_path / "grids", replace(TINY, name="my own"))["my own"]
    ((_, chart),) = _by_model(results)
    across = [encoding["x"].get("title") for encoding in encodings(chart)]
    titles = {tuple(title) for title in across if isinstance(title, list)}
    assert titles == {("accuracy", "bars: 95 % intervals")}
    (ends,) = [m for m in marks(chart) if (m["line"], m["series"]) == ("ultrafeedback", "explicit")]
    summary = accuracy.measure(results).overall["ultrafeedback"]["explicit"].accuracy
    assert (ends["low"], ends["high"]) == pytest.approx((summary.low, summary.high), rel=1e-3)


def test_shares_are_stacked_to_a_whole():
    frame = pd.DataFrame(
        [
            {"line": "a", "first": 50.0, "tie": 20.0, "second": 30.0}
            | {"paper_first": 60.0, "paper_tie": 0.0, "paper_second": 40.0},
            {"line": "b"},
        ]
    )
    chart = stacked_shares(frame, ("explicit", "implicit"))
    segments = [(m["who"], m["start"], m["end"]) for m in marks(chart)]
    ours = [("explicit", 0, 50), ("tie", 50, 70), ("implicit", 70, 100)]
    paper = [("explicit", 0, 60), ("tie", 60, 60), ("implicit", 60, 100)]
    assert sorted(segments) == sorted(ours + paper)
    assert {m["line"] for m in marks(chart)} == {"a"}


@pytest.mark.parametrize(("name", "inches"), [("figure-4", 3.25), ("figure-5", 5.5)])
def test_figures_have_the_papers_width_and_type_of_8_points(tmp_path, name, inches):
    grids = (replace(TINY, name="persona"), TINY)
    draw_figures(experiments(tmp_path / "grids", *grids), tmp_path)
    pdf = (tmp_path / f"{name}.pdf").read_bytes()
    box = re.search(rb"MediaBox \[0 0 ([\d.]+) ([\d.]+)", pdf)
    assert float(box[1]) == pytest.approx(72 * inches, abs=1.5)
    svg = (tmp_path / f"{name}.svg").read_text()
    width = re.search(r'width="([\d.]+)pt" height="[\d.]+pt" viewBox="0 0 ([\d.]+)', svg)
    shrunk = float(width[1]) / float(width[2])
    sizes = {float(size) * shrunk for size in re.findall(r'font-size="([\d.]+)px"', svg)}
    assert min(sizes) > 7.3 and max(sizes) == pytest.approx(8, abs=0.01)
