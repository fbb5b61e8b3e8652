"""The parts that the report's figures are drawn from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rewardgap.evaluation.accuracy import CHANCE
from rewardgap.evaluation.win_rates import WinRates
from rewardgap.io.files import whole_file
from rewardgap.reporting.colours import TIE, colour, markers
from rewardgap.reporting.paper import Printed
from rewardgap.reporting.results import Spread

DPI = 150
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "figure.dpi": DPI,
    "figure.constrained_layout.w_pad": 0.1,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "rewardgap",  # the same numbers give the same file
}
FORMATS: Mapping[str, Mapping[str, Any]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {},
}
PAPER = "the paper"

Values = Mapping[str, Sequence[Spread | None]]
"""For each kind one value a place."""

Marks = Mapping[str, Sequence[Printed | None]]
"""For each kind the paper's value at each place."""


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure in every format.

    Raises:
        UserError: a file cannot be written.
    """
    paths = [folder / f"{name}.{ending}" for ending in FORMATS]
    with rc_context(STYLE):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not again for every format
        for path, metadata in zip(paths, FORMATS.values(), strict=True):
            with whole_file(path) as unfinished:
                figure.savefig(unfinished, format=path.suffix[1:], dpi=DPI, metadata=dict(metadata))
    return paths


def grouped_bars(axes: Axes, places: Sequence[str], values: Values, printed: Marks) -> None:
    """Bars of every kind at every place, with deviations and the paper's values as diamonds."""
    width = 0.8 / len(values)
    for number, (kind, spreads) in enumerate(values.items()):
        shift = (number - (len(values) - 1) / 2) * width
        at = [x + shift for x in range(len(places))]
        shown = [(x, each) for x, each in zip(at, spreads, strict=True) if each]
        axes.bar(
            [x for x, _ in shown],
            [each.mean for _, each in shown],
            0.92 * width,
            yerr=[each.deviation or 0.0 for _, each in shown],
            color=colour(kind),
            error_kw={"elinewidth": 1, "capsize": 2.5, "ecolor": "0.2"},
            label=kind,
        )
        marks = [(x, each.mean) for x, each in zip(at, printed.get(kind, ()), strict=False) if each]
        axes.scatter(
            [x for x, _ in marks],
            [mean for _, mean in marks],
            marker="D",
            s=20,
            facecolor="white",
            edgecolor="0.1",
            linewidth=1,
            zorder=3,
            label=PAPER if marks else None,
        )
    axes.set_xticks(range(len(places)), places)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y")


def dots(axes: Axes, places: Sequence[str], values: Values) -> None:
    """A line a place, from the top down, with a dot and its deviation for each kind."""
    step = 0.6 / max(len(values) - 1, 1)
    shapes = markers(values)
    for number, (kind, spreads) in enumerate(values.items()):
        shown = [(y, each) for y, each in enumerate(spreads) if each]
        axes.errorbar(
            [each.mean for _, each in shown],
            [y + (number - (len(values) - 1) / 2) * step for y, _ in shown],
            xerr=[each.deviation or 0.0 for _, each in shown],
            fmt=shapes[kind],
            color=colour(kind),
            markersize=5,
            elinewidth=1.4,
            capsize=2.5,
            label=kind,
        )
    for y in range(len(places) - 1):
        axes.axhline(y + 0.5, color="0.92", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(places)), places)
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def stacked_shares(
    axes: Axes, places: Sequence[str], rates: Sequence[WinRates | None], kinds: tuple[str, str]
) -> None:
    """A bar a place, from the top down: wins of the first kind, ties, wins of the second."""
    parts = {
        kinds[0]: (colour(kinds[0]), [each.first if each else 0.0 for each in rates]),
        "tie": (TIE, [each.tie if each else 0.0 for each in rates]),
        kinds[1]: (colour(kinds[1]), [each.second if each else 0.0 for each in rates]),
    }
    left = [0.0] * len(places)
    for name, (shade, shares) in parts.items():
        axes.barh(range(len(places)), shares, 0.62, left=left, color=shade, label=name)
        for y, (share, start) in enumerate(zip(shares, left, strict=True)):
            if share >= 7:
                ink = "0.1" if name == "tie" else "white"
                text = f"{share:.0f}"
                axes.text(start + share / 2, y, text, ha="center", va="center", color=ink)
        left = [start + share for start, share in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(places)), places)
    axes.set_ylim(len(places) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.tick_params(axis="y", length=0)


def chance_line(axes: Axes, horizontal: bool = True) -> None:
    """Where a coin would be."""
    draw = axes.axhline if horizontal else axes.axvline
    draw(CHANCE, color="0.45", linewidth=1, linestyle=":", zorder=1)


def legend_below(figure: Figure, *panels: Axes) -> None:
    """One legend of all panels, each label once."""
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if PAPER in handles:
        handles[PAPER] = handles.pop(PAPER)  # to the end
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=max(len(handles), 1)
    )
