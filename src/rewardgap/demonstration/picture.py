"""The demo's picture: accuracies by set and kind, beside those of the paper's figure 4."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rewardgap.data.sources.wordings import PARTS
from rewardgap.demonstration.results import PAPER, Spread
from rewardgap.io.files import whole_file

# Okabe and Ito's colours, which the colour-blind tell apart too.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "rewardgap",  # the same numbers give the same file
}


def draw(kinds: Mapping[str, Mapping[str, Spread]], path: Path) -> None:
    """Write the picture in the format of the path's ending (.png or .svg).

    Args:
        kinds: for each kind and each of `PARTS` the spread over seeds.
        path: the file.

    Raises:
        UserError: the file cannot be written.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.subplots()
        for place, (kind, parts) in enumerate(kinds.items()):
            _bars(axes, kind, list(parts.values()), place, len(kinds))
        _decorate(axes)
        figure.legend(loc="outside upper center", ncols=len(kinds) + 1, frameon=False)
        ending = path.suffix.removeprefix(".")
        with whole_file(path) as unfinished:
            figure.savefig(
                unfinished,
                format=ending,
                dpi=150,
                metadata={"Date": None} if ending == "svg" else None,
            )


def _bars(axes: Axes, kind: str, spreads: list[Spread], place: int, kinds: int) -> None:
    """One kind's bars, with the standard deviation over seeds and the paper's figures."""
    width = 0.8 / kinds
    at = [x + (place - (kinds - 1) / 2) * width for x in range(len(spreads))]
    means = [spread.mean for spread in spreads]
    axes.bar(
        at,
        means,
        0.9 * width,
        yerr=[spread.std for spread in spreads],
        color=COLOURS[place % len(COLOURS)],
        alpha=0.85,
        error_kw={"elinewidth": 1, "capsize": 3},
        label=kind,
    )
    printed = PAPER.get(kind, (0.0,) * len(at))
    for x, spread, other in zip(at, spreads, printed, strict=True):
        top = max(spread.mean + spread.std, other) + 0.03
        axes.text(x, top, f"{spread.mean:.2f}", ha="center", fontsize=9, color="0.25")
    if kind in PAPER:
        label = "the paper" if place == 0 else None
        axes.scatter(at, printed, marker="D", s=26, color="0.15", zorder=3, label=label)


def _decorate(axes: Axes) -> None:
    axes.axhline(0.5, color="0.6", linewidth=1, linestyle=":", zorder=0)
    axes.annotate("chance", (1, 0.5), xycoords=("axes fraction", "data"), color="0.45", va="center")
    labels = ["{}\n{} prompts".format(*part.split("-")) for part in PARTS]
    axes.set_xticks(range(len(PARTS)), labels)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1.1)
