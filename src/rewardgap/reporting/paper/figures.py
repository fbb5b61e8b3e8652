"""Figures 2 to 10 of the paper, as far as there are runs, and one for any other experiment."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import pandas as pd

from rewardgap.evaluation.accuracy import CHANCE
from rewardgap.reporting.drawing import (
    PAPER,
    TIE,
    Chart,
    dots,
    panels,
    stacked_shares,
)
from rewardgap.reporting.paper.printed import OPPONENT, Level, printed
from rewardgap.reporting.paper.saving import COLUMN, PAGE, save
from rewardgap.reporting.paper.tables import TRAINING, file_name
from rewardgap.reporting.results import INITIAL, Results, Spread
from rewardgap.reporting.topics.settings import BASE

Draw = Callable[[Sequence[Results]], Chart | None]


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
    for drawing in (*PAPERS, *_further(experiments)):
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


def _compare(kind: str) -> Draw:
    """Figures 2 and 8: win rates and accuracy by category against implicit models."""

    def draw(experiments: Sequence[Results]) -> Chart | None:
        pair = (kind, OPPONENT)
        charts: list[tuple[str, alt.LayerChart]] = []
        for results in _with_pair(experiments, kind):
            rates = {place: results.win_rates(n, pair) for place, n in results.categories.items()}
            rows = [{"line": place} | (vars(r) if r else {}) for place, r in rates.items()]
            bars = stacked_shares(pd.DataFrame(rows), pair, legend=False)
            charts.append((_trained_on(results), bars))
            charts.append(("", _by_category(results, pair, "accuracy", False, [TIE])))
        return panels(charts, 2) if charts else None

    return draw


def _accuracy_and_margin(experiments: Sequence[Results]) -> Chart | None:
    """Figure 5."""
    pair = ("explicit", OPPONENT)
    charts: list[tuple[str, alt.LayerChart]] = []
    for results in _with_pair(experiments, "explicit"):
        charts.append((_trained_on(results), _by_category(results, pair, "accuracy")))
        charts.append(("", _by_category(results, pair, "margin", labels=False)))
    return panels(charts, 2) if charts else None


def _with_pair(experiments: Sequence[Results], kind: str) -> list[Results]:
    """The experiments in which some category has both kinds."""
    return [r for r in experiments if r.categories and {kind, OPPONENT} <= set(r.kinds)]


def _trained_on(results: Results) -> str:
    return f"Trained on {TRAINING[results.experiment.name]}"


def _by_category(
    results: Results,
    kinds: Sequence[str],
    metric: str,
    labels: bool = True,
    further: Sequence[str] = (),
) -> alt.LayerChart:
    spreads = {
        (place, kind): results.spread(metric, names, kind)
        for place, names in results.categories.items()
        for kind in kinds
    }
    return _dots(results, spreads, metric, "by_category", labels, further=further)


def _by_set(
    results: Results, metric: str, kinds: Sequence[str], label: str = "accuracy"
) -> alt.LayerChart:
    spreads = {
        (name, kind): results.spread(metric, [name], kind)
        for name in results.sets
        for kind in kinds
    }
    return _dots(results, spreads, metric, "by_set", label=label)


def _dots(
    results: Results,
    spreads: Mapping[tuple[str, str], Spread | None],
    metric: str,
    level: Level | None,
    labels: bool = True,
    label: str = "",
    further: Sequence[str] = (),
) -> alt.LayerChart:
    """A mark per (place, kind), ± the deviation over seeds, with the paper's of a level, if any."""
    rows = []
    for (place, kind), spread in spreads.items():
        if spread:
            paper = printed(results.experiment.name, level, place, metric, kind) if level else None
            value, deviation = spread.mean, spread.deviation or 0.0
            mark = (place, kind, value, value - deviation, value + deviation)
            rows.append((*mark, paper.mean if paper else None))
    columns = ["line", "series", "value", "low", "high", "paper"]
    reference = CHANCE if metric == "accuracy" else None
    frame = pd.DataFrame(rows, columns=columns)
    kinds = dict.fromkeys(kind for _, kind in spreads)
    legend = [*kinds, *[PAPER] * bool(frame["paper"].notna().any()), *further]
    return dots(frame, label or metric, reference, labels, legend)


def _hamiltonian(experiments: Sequence[Results]) -> Chart | None:
    """Figure 3: verification accuracy of the kinds, and correct generations."""
    (results,) = experiments
    kinds = [*results.kinds, *[INITIAL] * bool(results.generations)]
    charts = [("Verification", _by_set(results, "accuracy", kinds))]
    if results.generations:
        charts.append(("Generation", _by_set(results, "correct", kinds, "correct generations")))
    return panels(charts, 2)


def _persona(experiments: Sequence[Results]) -> Chart | None:
    """Figure 4: accuracy on original and reworded responses, on seen and unseen prompts."""
    return _by_set(experiments[0], "accuracy", experiments[0].kinds)


def _hyperparameters(experiments: Sequence[Results]) -> Chart | None:
    """Figure 6: accuracy by category under other learning rates and β."""
    (results,) = experiments
    charts: list[tuple[str, alt.LayerChart]] = []
    for category, names in results.categories.items():
        spreads = {
            (variation or BASE, kind): results.spread("accuracy", names, kind, variation)
            for variation in results.variations
            for kind in results.kinds
        }
        labels = not charts
        charts.append((category, _dots(results, spreads, "accuracy", None, labels)))
    return panels(charts, len(charts), True) if charts else None


def _variants(experiments: Sequence[Results]) -> Chart | None:
    """Figure 7: accuracy by category of variants of the explicit and the implicit kind."""
    (results,) = experiments
    return _by_category(results, results.kinds, "accuracy") if results.categories else None


def _by_model(experiments: Sequence[Results]) -> Chart | None:
    """Figures 9 and 10: accuracy by initial model and evaluation set, all kinds."""
    (results,) = experiments
    columns = min(3, len(results.models))
    level: Level | None = "by_set" if len(results.models) == 1 else None
    cells = {cell.subject: (cell.variation, cell.model) for cell in results.measured}
    charts: list[tuple[str, alt.LayerChart]] = []
    for place, (model, settings) in enumerate(cells.items()):
        spreads = {
            (name, kind): results.spread("accuracy", [name], kind, *settings)
            for name in results.sets
            for kind in results.kinds
        }
        labels = place % columns == 0
        charts.append((model, _dots(results, spreads, "accuracy", level, labels)))
    return panels(charts, columns, one_axis=True)


BY_SET = "accuracy by model and evaluation set"
BOTH = tuple(TRAINING)
EXPLICIT, GENERATIVE = (f"scores of {k} and implicit models" for k in ("explicit", "generative"))
HAMILTONIAN = "Verifying and generating Hamiltonian cycles"
PAPERS = (
    Drawing(
        "figure-2", "Explicit and implicit by category", BOTH, _compare("explicit"), PAGE, EXPLICIT
    ),
    Drawing("figure-3", HAMILTONIAN, ["hamiltonian"], _hamiltonian),
    Drawing("figure-4", "The controlled token-level shift", ["persona"], _persona, COLUMN),
    Drawing(
        "figure-5", "Accuracy and margin by category", BOTH, _accuracy_and_margin, PAGE, EXPLICIT
    ),
    Drawing("figure-6", "Other learning rates and β", ["hyperparameters"], _hyperparameters),
    Drawing("figure-7", "Variants of kinds", ["variants"], _variants, COLUMN),
    Drawing(
        "figure-8", f"Generative and {OPPONENT} by category", BOTH, _compare("generative"), PAGE,
        GENERATIVE,
    ),
    Drawing("figure-9", f"General chat: {BY_SET}", ["chat"], _by_model),
    Drawing("figure-10", f"Math: {BY_SET}", ["math"], _by_model),
)  # fmt: skip


def _further(experiments: Iterable[str]) -> Iterator[Drawing]:
    """A figure for every experiment that is none of the paper's."""
    claims = {name for drawing in PAPERS for name in drawing.experiments}
    for name in experiments:
        if name not in claims:
            title = f"{name}: {BY_SET}"
            yield Drawing(f"{file_name(name)}-accuracy", title, [name], _by_model)
