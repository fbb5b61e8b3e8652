"""Figures 2 to 10 of the paper, as far as there are runs, and one for any other experiment."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import pandas as pd

from rewardgap.evaluation.accuracy import CHANCE
from rewardgap.reporting.drawing import (
    COLUMN,
    PAGE,
    Chart,
    dots,
    panels,
    save,
    stacked_shares,
)
from rewardgap.reporting.paper import OPPONENT, Level, printed
from rewardgap.reporting.paper.tables import TRAINING, file_name
from rewardgap.reporting.results import Results, Spread
from rewardgap.reporting.topics.settings import BASE

Experiments = Mapping[str, Results]
Draw = Callable[[Experiments], Chart | None]


@dataclass(frozen=True)
class Drawing:
    """A figure of the paper.

    Attributes:
        name: Its file name without ending.
        title: What it shows.
        needs: The scores that it needs.
        draw: Returns the chart; None without these scores.
        inches: Width of its canvas.
    """

    name: str
    title: str
    needs: str
    draw: Draw
    inches: float = PAGE


@dataclass(frozen=True)
class DrawnFigures:
    """The figures of a report: titles of those drawn, by name, and why others were not."""

    titles: Mapping[str, str]
    absent: Mapping[str, str]


def draw_figures(experiments: Experiments, folder: Path) -> DrawnFigures:
    """Draw every figure that there are numbers for, in every format.

    Raises:
        UserError: A file cannot be written.
    """
    titles: dict[str, str] = {}
    absent: dict[str, str] = {}
    for drawing in (*PAPERS, *_further(experiments)):
        chart = drawing.draw(experiments)
        if chart is None:
            absent[drawing.name] = f"{drawing.title}: needs {drawing.needs}"
        else:
            save(chart, folder, drawing.name, drawing.inches)
            titles[drawing.name] = drawing.title
    return DrawnFigures(titles, absent)


def _compare(kind: str) -> Draw:
    """Figures 2 and 8: win rates and accuracy by category against implicit models."""

    def draw(experiments: Experiments) -> Chart | None:
        charts: list[tuple[str, alt.LayerChart]] = []
        for results in _with_pair(experiments, kind):
            pair = (kind, OPPONENT)
            rates = [
                {"line": place} | (vars(found) if (found := results.win_rates(names, pair)) else {})
                for place, names in results.categories.items()
            ]
            charts.append(
                (_trained_on(results), stacked_shares(pd.DataFrame(rates), pair, legend=False))
            )
            charts.append(("", _by_category(results, pair, "accuracy", False, with_tie=True)))
        return panels(charts, 2) if charts else None

    return draw


def _accuracy_and_margin(experiments: Experiments) -> Chart | None:
    """Figure 5."""
    charts: list[tuple[str, alt.LayerChart]] = []
    for results in _with_pair(experiments, "explicit"):
        pair = ("explicit", OPPONENT)
        charts.append((_trained_on(results), _by_category(results, pair, "accuracy")))
        charts.append(("", _by_category(results, pair, "margin", labels=False)))
    return panels(charts, 2) if charts else None


def _with_pair(experiments: Experiments, kind: str) -> list[Results]:
    """The paper's two experiments, where some category has both kinds."""
    known = [experiments[name] for name in TRAINING if name in experiments]
    return [
        results
        for results in known
        if results.categories and {kind, OPPONENT} <= set(results.kinds)
    ]


def _trained_on(results: Results) -> str:
    return f"Trained on {TRAINING[results.experiment.name]}"


def _by_category(
    results: Results,
    kinds: Sequence[str],
    metric: str,
    labels: bool = True,
    with_tie: bool = False,
) -> alt.LayerChart:
    spreads = {
        (place, kind): results.spread(metric, names, kind)
        for place, names in results.categories.items()
        for kind in kinds
    }
    return _dots(results, spreads, metric, "by_category", labels, with_tie=with_tie)


def _by_set(results: Results, metric: str, label: str = "accuracy") -> alt.LayerChart:
    frame = results.frame[results.frame["metric"] == metric]
    spreads = {
        (name, kind): results.spread(metric, [name], kind)
        for name in dict.fromkeys(frame["set"])
        for kind in dict.fromkeys(frame["kind"])
    }
    return _dots(results, spreads, metric, "by_set", label=label)


def _dots(
    results: Results,
    spreads: Mapping[tuple[str, str], Spread | None],
    metric: str,
    level: Level | None,
    labels: bool = True,
    label: str = "",
    with_tie: bool = False,
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
    return dots(pd.DataFrame(rows, columns=columns), label or metric, reference, labels, with_tie)


def _hamiltonian(experiments: Experiments) -> Chart | None:
    """Figure 3: verification accuracy of the kinds, and correct generations."""
    results = experiments.get("hamiltonian")
    if results is None or not results.sets:
        return None
    charts = [("Verification", _by_set(results, "accuracy"))]
    if results.generations:
        charts.append(("Generation", _by_set(results, "correct", "correct generations")))
    return panels(charts, 2)


def _persona(experiments: Experiments) -> Chart | None:
    """Figure 4: accuracy on original and reworded responses, on seen and unseen prompts."""
    results = experiments.get("persona")
    return _by_set(results, "accuracy") if results and results.sets else None


def _hyperparameters(experiments: Experiments) -> Chart | None:
    """Figure 6: accuracy by category under other learning rates and β."""
    results = experiments.get("hyperparameters")
    if results is None or not results.categories:
        return None
    charts = []
    for place, (category, names) in enumerate(results.categories.items()):
        spreads = {
            (variation or BASE, kind): results.spread("accuracy", names, kind, variation)
            for variation in results.variations
            for kind in results.kinds
        }
        charts.append((category, _dots(results, spreads, "accuracy", None, labels=place == 0)))
    return panels(charts, len(charts))


def _variants(experiments: Experiments) -> Chart | None:
    """Figure 7: accuracy by category of variants of the explicit and the implicit kind."""
    results = experiments.get("variants")
    if results is None or not results.categories:
        return None
    return _by_category(results, results.kinds, "accuracy")


def _by_model(name: str) -> Draw:
    """Figures 9 and 10: accuracy by initial model and evaluation set, all kinds."""

    def draw(experiments: Experiments) -> Chart | None:
        results = experiments.get(name)
        if results is None or not results.models:
            return None
        columns = min(3, len(results.models))
        level: Level | None = "by_set" if len(results.models) == 1 else None
        charts = []
        for place, (model, cells) in enumerate(_cells_by_model(results).items()):
            spreads = {
                (evaluation, kind): results.spread("accuracy", [evaluation], kind, *cells)
                for evaluation in results.sets
                for kind in results.kinds
            }
            labels = place % columns == 0
            charts.append((model, _dots(results, spreads, "accuracy", level, labels)))
        return panels(charts, columns)

    return draw


def _cells_by_model(results: Results) -> dict[str, tuple[str, str]]:
    """By initial model with its variation (variation, model)."""
    return {cell.subject: (cell.variation, cell.model) for cell in results.measured}


def _further(experiments: Iterable[str]) -> Iterator[Drawing]:
    """A figure for every experiment that is none of the paper's."""
    for name in experiments:
        if name not in CLAIMS:
            title = f"{name}: accuracy by model and evaluation set"
            yield Drawing(
                f"{file_name(name)}-accuracy", title, f"scores of {name}", _by_model(name)
            )


CLAIMS = {*TRAINING, "hamiltonian", "persona", "hyperparameters", "variants"}
"""The experiments that the figures below show."""

_SCORES = "scores of explicit and implicit models of the experiment chat or math"
_GENERATIVE = _SCORES.replace("explicit", "generative")
PAPERS = (
    Drawing("figure-2", "Explicit and implicit by category", _SCORES, _compare("explicit")),
    Drawing(
        "figure-3",
        "Verifying and generating Hamiltonian cycles",
        "scores of the experiment hamiltonian",
        _hamiltonian,
    ),
    Drawing(
        "figure-4",
        "The controlled token-level shift",
        "scores of the experiment persona",
        _persona,
        COLUMN,
    ),
    Drawing("figure-5", "Accuracy and margin by category", _SCORES, _accuracy_and_margin),
    Drawing(
        "figure-6",
        "Other learning rates and β",
        "scores of the experiment hyperparameters",
        _hyperparameters,
    ),
    Drawing(
        "figure-7",
        "Variants of kinds",
        "scores of the experiment variants",
        _variants,
        COLUMN,
    ),
    Drawing("figure-8", "Generative and implicit by category", _GENERATIVE, _compare("generative")),
    Drawing(
        "figure-9",
        "General chat: accuracy by model and evaluation set",
        "scores of the experiment chat",
        _by_model("chat"),
    ),
    Drawing(
        "figure-10",
        "Math: accuracy by model and evaluation set",
        "scores of the experiment math",
        _by_model("math"),
    ),
)
