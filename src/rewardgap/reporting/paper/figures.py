"""Figures 2 to 10 of the paper, as far as there are runs, and one for any other experiment."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import altair as alt
import pandas as pd

from rewardgap.evaluation.accuracy import CHANCE
from rewardgap.models.kinds.palette import COLUMN, PAGE
from rewardgap.reporting.drawing import PAPER, TIE, dots, panels, stacked_shares
from rewardgap.reporting.paper.printed import OPPONENT, Level, printed
from rewardgap.reporting.paper.saving import save
from rewardgap.reporting.paper.tables import TRAINING, file_name
from rewardgap.reporting.results import INITIAL, METRICS, Results
from rewardgap.reporting.topics import accuracy
from rewardgap.reporting.topics.settings import BASE, spread_marks

Panels = Iterator[tuple[str, alt.LayerChart]]
"""Titles and charts; none where an experiment lacks what a figure needs."""
Lines = Mapping[str, tuple[Collection[str], str, str | None]]
"""By the name of a line: the sets, the variation and the initial model (None: all) of its means."""


@dataclass(frozen=True)
class Drawing:
    """A figure of the paper; its name is that of its files without ending.

    Attributes:
        experiments: Those that it shows, any of them.
        draw: Returns the panels of an experiment with scores.
        columns: Panels in a line.
        one_axis: Whether all panels have the same horizontal axis.
        inches: Width of its canvas.
        needs: What it needs, for a report that cannot draw it.
    """

    name: str
    title: str
    experiments: Sequence[str]
    draw: Callable[[Results], Panels]
    columns: int = 2
    one_axis: bool = False
    inches: float = PAGE
    needs: str = "scores"


@dataclass(frozen=True)
class DrawnFigures:
    """The figures of a report: titles of those drawn, by name, and why others were not."""

    titles: dict[str, str]
    absent: dict[str, str]


def draw_figures(experiments: Mapping[str, Results], folder: Path) -> DrawnFigures:
    """Draw every figure that there are numbers for, in every format.

    Raises:
        UserError: A file cannot be written.
    """
    drawn = DrawnFigures({}, {})
    claimed = {name for drawing in PAPERS for name in drawing.experiments}
    further = [
        Drawing(f"{file_name(name)}-accuracy", f"{name}: {BY_SET}", [name], _by_model, *BY_MODEL)
        for name in experiments
        if name not in claimed
    ]
    for drawing in (*PAPERS, *further):
        known = [experiments[name] for name in drawing.experiments if name in experiments]
        charts = [panel for results in known if results.sets for panel in drawing.draw(results)]
        if charts:
            chart = panels(charts, drawing.columns, drawing.one_axis)
            save(chart, folder, drawing.name, drawing.inches)
            drawn.titles[drawing.name] = drawing.title
        else:
            needs = f"{drawing.needs} of the experiment {' or '.join(drawing.experiments)}"
            drawn.absent[drawing.name] = f"{drawing.title}: needs {needs}"
    return drawn


def _lines(results: Results, level: Level, variation: str = "", model: str | None = None) -> Lines:
    """Draw a line per category or per set."""
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
    """Draw a mark per line and kind, and the paper's, if any.

    With the intervals of the page where a line is a set; else ± the deviation over seeds.
    """
    kinds = kinds or results.kinds
    frame, bars = _intervals(results, lines, metric, kinds), INTERVALS
    if frame is None:
        spreads = {
            (line, kind): spread
            for line, (names, variation, model) in lines.items()
            for kind in kinds
            if (spread := results.spread(metric, names, kind, variation, model))
        }
        frame, bars = spread_marks(spreads), DEVIATIONS
    numbers = [
        printed(results.experiment.name, level, line, metric, kind) if level else None
        for line, kind in zip(frame["line"], frame["series"], strict=True)
    ]
    frame["paper"] = [number.mean if number else None for number in numbers]
    legend = [*kinds, *[PAPER] * any(numbers), *further]
    reference = CHANCE if metric == "accuracy" else None
    return dots(frame, axis or metric, reference, labels, legend, bars)


def _intervals(
    results: Results, lines: Lines, metric: str, kinds: Sequence[str]
) -> pd.DataFrame | None:
    """Return the marks of lines that are sets as the page has them; None for any others."""
    if metric not in METRICS or any(name not in results.sets for name in lines):
        return None
    measured = accuracy.measure(results)
    marks = []
    for name, (_, variation, model) in lines.items():
        subject = f"{model}, {variation}" if variation else model
        for kind in kinds:
            if subject:
                summary = measured.by_model[name].get((subject, kind))
            else:
                summary = measured.overall[name].get(kind)
            if summary:
                marks.append((name, kind, *vars(summary.figures[metric]).values()))
    return pd.DataFrame(marks, columns=["line", "series", "value", "low", "high"])


def _against_implicit(results: Results, kind: str, separation: bool = False) -> Panels:
    """Figures 2 and 8: win rates and accuracy by category; figure 5: accuracy and separation."""
    pair = (kind, OPPONENT)
    lines = _lines(results, "by_category")
    if not (lines and {*pair} <= {*results.kinds}):
        return
    by_category = partial(_dots, results, lines, "by_category", kinds=pair)
    title = f"Trained on {TRAINING[results.experiment.name]}"
    if separation:
        yield title, by_category()
        yield "", by_category("separation", labels=False)
    else:
        rates = [results.win_rates(names, pair) for names, *_ in lines.values()]
        frame = pd.DataFrame([vars(rate) if rate else {} for rate in rates])
        yield title, stacked_shares(frame.assign(line=list(lines)), pair, legend=False)
        yield "", by_category(labels=False, further=[TIE])


def _hamiltonian(results: Results) -> Panels:
    """Figure 3: verification accuracy of the kinds, and correct generations."""
    kinds = [*results.kinds, *[INITIAL] * bool(results.generations)]
    by_set = partial(_dots, results, _lines(results, "by_set"), "by_set", kinds=kinds)
    yield "Verification", by_set()
    if results.generations:
        yield "Generation", by_set("correct", axis="correct generations")


def _accuracies(results: Results, level: Level) -> Panels:
    """Figures 4 (of the controlled shift, by set) and 7 (of variants of kinds, by category)."""
    if lines := _lines(results, level):
        yield "", _dots(results, lines, level)


def _hyperparameters(results: Results) -> Panels:
    """Figure 6: accuracy by category under other learning rates and β."""
    for place, (category, names) in enumerate(results.categories.items()):
        lines = {variation or BASE: (names, variation, None) for variation in results.variations}
        yield category, _dots(results, lines, labels=place == 0)


def _by_model(results: Results) -> Panels:
    """Figures 9 and 10: accuracy by initial model and evaluation set, all kinds."""
    level: Level | None = "by_set" if len(results.models) == 1 else None
    settings = {cell.subject: (cell.variation, cell.model) for cell in results.measured}
    for place, subject in enumerate(settings):
        lines = _lines(results, "by_set", *settings[subject])
        yield subject, _dots(results, lines, level, labels=place % BY_MODEL[0] == 0)


INTERVALS, DEVIATIONS = "bars: 95 % intervals", "bars: s.d. of seeds"
"""What the bars of a figure are; intervals are over records and runs."""
BY_SET = "accuracy by model and evaluation set"
BY_MODEL = (3, True)
"""Columns of a figure with a panel for each model, and that all have one axis."""
BOTH = tuple(TRAINING)
EXPLICIT = partial(_against_implicit, kind="explicit")
SEPARATION = partial(_against_implicit, kind="explicit", separation=True)
GENERATIVE = partial(_against_implicit, kind="generative")
NEEDS = "scores of {} and implicit models"
EXPLICIT_NEEDS, GENERATIVE_NEEDS = map(NEEDS.format, ("explicit", "generative"))
PERSONA, VARIANTS = (partial(_accuracies, level=level) for level in ("by_set", "by_category"))
CYCLES = "Verifying and generating Hamiltonian cycles"
PAPERS = (
    Drawing("figure-2", "Explicit and implicit by category", BOTH, EXPLICIT, needs=EXPLICIT_NEEDS),
    Drawing("figure-3", CYCLES, ["hamiltonian"], _hamiltonian),
    Drawing("figure-4", "The controlled token-level shift", ["persona"], PERSONA, inches=COLUMN),
    Drawing("figure-5", "Accuracy and separation", BOTH, SEPARATION, needs=EXPLICIT_NEEDS),
    Drawing(
        "figure-6", "Other learning rates and β", ["hyperparameters"], _hyperparameters, 6, True
    ),
    Drawing("figure-7", "Variants of kinds", ["variants"], VARIANTS, inches=COLUMN),
    Drawing(
        "figure-8", "Generative and implicit by category", BOTH, GENERATIVE, needs=GENERATIVE_NEEDS
    ),
    Drawing("figure-9", f"General chat: {BY_SET}", ["chat"], _by_model, *BY_MODEL),
    Drawing("figure-10", f"Math: {BY_SET}", ["math"], _by_model, *BY_MODEL),
)
