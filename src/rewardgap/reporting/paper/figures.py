"""Figures 2 to 10 of the paper, as far as there are runs, and one for any other experiment."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import altair as alt
import pandas as pd

from rewardgap.evaluation.accuracy import CHANCE
from rewardgap.reporting.drawing import PAPER, TIE, Chart, dots, panels, stacked_shares
from rewardgap.reporting.paper.printed import OPPONENT, Level, printed
from rewardgap.reporting.paper.saving import COLUMN, PAGE, save
from rewardgap.reporting.paper.tables import TRAINING, file_name
from rewardgap.reporting.results import INITIAL, Results
from rewardgap.reporting.topics.settings import BASE, spread_marks

Draw = Callable[[Sequence[Results]], Chart | None]
Lines = Mapping[str, tuple[Collection[str], str, str | None]]
"""By the name of a line: the sets, the variation and the initial model (None: all) of its means."""


@dataclass(frozen=True)
class Drawing:
    """A figure of the paper.

    Attributes:
        name: Its file name without ending.
        title: What it shows.
        experiments: Those that it shows, any of them.
        draw: Returns the chart from these experiments, all with scores; None if they lack some.
        inches: Width of its canvas.
        needs: What it needs, for a report that cannot draw it.
    """

    name: str
    title: str
    experiments: Sequence[str]
    draw: Draw
    inches: float = PAGE
    needs: str = "scores"


@dataclass(frozen=True)
class DrawnFigures:
    """The figures of a report: titles of those drawn, by name, and why others were not."""

    titles: Mapping[str, str]
    absent: Mapping[str, str]


def draw_figures(experiments: Mapping[str, Results], folder: Path) -> DrawnFigures:
    """Draw every figure that there are numbers for, in every format.

    Raises:
        UserError: A file cannot be written.
    """
    titles: dict[str, str] = {}
    absent: dict[str, str] = {}
    claimed = {name for drawing in PAPERS for name in drawing.experiments}
    further = [
        Drawing(f"{file_name(name)}-accuracy", f"{name}: {BY_SET}", [name], _by_model)
        for name in experiments
        if name not in claimed
    ]
    for drawing in (*PAPERS, *further):
        known = [experiments[name] for name in drawing.experiments if name in experiments]
        known = [results for results in known if results.sets]
        chart = drawing.draw(known) if known else None
        if chart is None:
            needs = f"{drawing.needs} of the experiment {' or '.join(drawing.experiments)}"
            absent[drawing.name] = f"{drawing.title}: needs {needs}"
        else:
            save(chart, folder, drawing.name, drawing.inches)
            titles[drawing.name] = drawing.title
    return DrawnFigures(titles, absent)


def _lines(results: Results, level: Level, variation: str = "", model: str | None = None) -> Lines:
    """A line per category or per set."""
    sets = {name: (name,) for name in results.sets}
    places = results.categories if level == "by_category" else sets
    return {place: (names, variation, model) for place, names in places.items()}


def _dots(
    results: Results,
    lines: Lines,
    level: Level | None = None,
    metric: str = "accuracy",
    kinds: Sequence[str] = (),
    labels: bool = True,
    axis: str = "",
    further: Sequence[str] = (),
) -> alt.LayerChart:
    """A mark per line and kind, ± the deviation over seeds, with the paper's of a level, if any."""
    kinds = kinds or results.kinds
    spreads = {
        (line, kind): spread
        for line, (names, variation, model) in lines.items()
        for kind in kinds
        if (spread := results.spread(metric, names, kind, variation, model))
    }
    frame = spread_marks(spreads)
    numbers = [
        printed(results.experiment.name, level, line, metric, kind) if level else None
        for line, kind in spreads
    ]
    frame["paper"] = [number.mean if number else None for number in numbers]
    legend = [*kinds, *[PAPER] * any(numbers), *further]
    return dots(frame, axis or metric, CHANCE if metric == "accuracy" else None, labels, legend)


def _against_implicit(kind: str, margin: bool = False) -> Draw:
    """Figures 2 and 8: win rates and accuracy by category; figure 5: accuracy and margin."""
    pair = (kind, OPPONENT)

    def draw(experiments: Sequence[Results]) -> Chart | None:
        charts: list[tuple[str, alt.LayerChart]] = []
        for results in experiments:
            lines = _lines(results, "by_category")
            if not (lines and set(pair) <= set(results.kinds)):
                continue
            by_category = partial(_dots, results, lines, "by_category", kinds=pair)
            if margin:
                left, right = by_category(), by_category("margin", labels=False)
            else:
                rates = {
                    line: results.win_rates(names, pair) for line, (names, *_) in lines.items()
                }
                rows = [
                    {"line": line} | (vars(rate) if rate else {}) for line, rate in rates.items()
                ]
                left = stacked_shares(pd.DataFrame(rows), pair, legend=False)
                right = by_category(labels=False, further=[TIE])
            title = f"Trained on {TRAINING[results.experiment.name]}"
            charts += [(title, left), ("", right)]
        return panels(charts, 2) if charts else None

    return draw


def _hamiltonian(experiments: Sequence[Results]) -> Chart | None:
    """Figure 3: verification accuracy of the kinds, and correct generations."""
    (results,) = experiments
    kinds = [*results.kinds, *[INITIAL] * bool(results.generations)]
    by_set = partial(_dots, results, _lines(results, "by_set"), "by_set", kinds=kinds)
    charts = [("Verification", by_set())]
    if results.generations:
        charts.append(("Generation", by_set("correct", axis="correct generations")))
    return panels(charts, 2)


def _accuracies(level: Level) -> Draw:
    """Figures 4 (of the controlled shift, by set) and 7 (of variants of kinds, by category)."""

    def draw(experiments: Sequence[Results]) -> Chart | None:
        lines = _lines(experiments[0], level)
        return _dots(experiments[0], lines, level) if lines else None

    return draw


def _hyperparameters(experiments: Sequence[Results]) -> Chart | None:
    """Figure 6: accuracy by category under other learning rates and β."""
    (results,) = experiments
    charts: list[tuple[str, alt.LayerChart]] = []
    for category, names in results.categories.items():
        lines = {variation or BASE: (names, variation, None) for variation in results.variations}
        charts.append((category, _dots(results, lines, labels=not charts)))
    return panels(charts, len(charts), one_axis=True) if charts else None


def _by_model(experiments: Sequence[Results]) -> Chart | None:
    """Figures 9 and 10: accuracy by initial model and evaluation set, all kinds."""
    (results,) = experiments
    columns = min(3, len(results.models))
    level: Level | None = "by_set" if len(results.models) == 1 else None
    settings = {cell.subject: (cell.variation, cell.model) for cell in results.measured}
    charts: list[tuple[str, alt.LayerChart]] = []
    for place, subject in enumerate(settings):
        lines = _lines(results, "by_set", *settings[subject])
        charts.append((subject, _dots(results, lines, level, labels=place % columns == 0)))
    return panels(charts, columns, one_axis=True)


BY_SET = "accuracy by model and evaluation set"
BOTH = tuple(TRAINING)
EXPLICIT, GENERATIVE = (f"scores of {k} and implicit models" for k in ("explicit", "generative"))
PAPERS = (
    Drawing(
        "figure-2", "Explicit and implicit by category", BOTH, _against_implicit("explicit"),
        needs=EXPLICIT,
    ),
    Drawing(
        "figure-3", "Verifying and generating Hamiltonian cycles", ["hamiltonian"], _hamiltonian
    ),
    Drawing(
        "figure-4", "The controlled token-level shift", ["persona"], _accuracies("by_set"), COLUMN
    ),
    Drawing(
        "figure-5", "Accuracy and margin by category", BOTH, _against_implicit("explicit", True),
        needs=EXPLICIT,
    ),
    Drawing("figure-6", "Other learning rates and β", ["hyperparameters"], _hyperparameters),
    Drawing("figure-7", "Variants of kinds", ["variants"], _accuracies("by_category"), COLUMN),
    Drawing(
        "figure-8", f"Generative and {OPPONENT} by category", BOTH, _against_implicit("generative"),
        needs=GENERATIVE,
    ),
    Drawing("figure-9", f"General chat: {BY_SET}", ["chat"], _by_model),
    Drawing("figure-10", f"Math: {BY_SET}", ["math"], _by_model),
)  # fmt: skip
