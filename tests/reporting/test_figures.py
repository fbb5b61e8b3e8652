"""Figures of the report: which are drawn, why others are not, and what is in them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from grids import Grid, write_grid
from matplotlib.figure import Figure

from rewardgap.evaluation.win_rates import WinRates
from rewardgap.reporting import drawing
from rewardgap.reporting.colours import KNOWN
from rewardgap.reporting.drawing import FORMATS, dots, grouped_bars, stacked_shares
from rewardgap.reporting.grid import read_grids
from rewardgap.reporting.paper import Printed
from rewardgap.reporting.paper.figures import PAPERS, draw_figures
from rewardgap.reporting.results import Measured, Spread, measure

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


def experiments(folder: Path, *grids: Grid) -> dict[str, Measured]:
    for grid in grids:
        write_grid(folder / grid.name, grid)
    return {each.name: measure(each) for each in read_grids([str(folder)])}


@pytest.fixture
def one_format(monkeypatch):
    """Most of the time of a figure goes into the other two."""
    monkeypatch.setattr(drawing, "FORMATS", {"svg": FORMATS["svg"]})


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
        assert (tmp_path / f"{name}.svg").read_text().startswith("<?xml")


def test_the_same_numbers_give_the_same_files_in_every_format(tmp_path):
    found = experiments(tmp_path / "grids", replace(TINY, name="my own"))
    for name in ("a", "b"):
        draw_figures(found, tmp_path / name)
    files = {path.suffix: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert {suffix: content[:4] for suffix, content in files.items()} == {
        ".svg": b"<?xm",
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


def spread(mean: float, deviation: float | None = 0.1) -> Spread:
    return Spread(mean, deviation, 3, 3, 3)


def test_bars_have_their_kinds_colour_deviation_and_the_papers_mark():
    axes = Figure().subplots()
    values = {"explicit": [spread(0.7), None], "implicit": [spread(0.4), spread(0.2, None)]}
    grouped_bars(axes, ["a", "b"], values, {"explicit": [Printed(0.9), None]})
    assert [round(bar.get_height(), 3) for bar in axes.patches] == [0.7, 0.4, 0.2]
    shade = tuple(int(KNOWN["explicit"][i : i + 2], 16) / 255 for i in (1, 3, 5))
    assert axes.patches[0].get_facecolor()[:3] == pytest.approx(shade)
    (marks,) = [each for each in axes.collections if each.get_label() == "the paper"]
    assert marks.get_offsets()[0].tolist() == pytest.approx([-0.2, 0.9])


def test_dots_stand_at_their_values():
    axes = Figure().subplots()
    dots(axes, ["a", "b"], {"explicit": [spread(0.7), spread(0.6)]})
    (line, *_) = axes.containers[0]
    assert line.get_xdata().tolist() == [0.7, 0.6]
    assert axes.get_ylim() == (1.5, -0.5)  # the first place on top


def test_shares_are_stacked_to_a_whole():
    axes = Figure().subplots()
    stacked_shares(axes, ["a", "b"], [WinRates(50, 20, 30, 10), None], ("explicit", "implicit"))
    firsts = [bars.patches[0] for bars in axes.containers]
    assert [bar.get_x() for bar in firsts] == [0, 50, 70]
    assert [bar.get_width() for bar in firsts] == [50, 20, 30]
