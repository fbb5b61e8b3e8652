"""Figures 2 to 10 of the paper, as far as there are runs, and one for any other experiment."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rewardgap.reporting.drawing import (
    STYLE,
    Marks,
    Values,
    chance_line,
    dots,
    grouped_bars,
    legend_below,
    save,
    stacked_shares,
)
from rewardgap.reporting.paper import Level, printed
from rewardgap.reporting.paper.tables import (
    BASE,
    METRICS,
    OPPONENT,
    TRAINING,
    file_name,
    paired_win_rates,
)
from rewardgap.reporting.results import Measured, Spread

Experiments = Mapping[str, Measured]
Draw = Callable[[Experiments], Figure | None]


@dataclass(frozen=True)
class Drawing:
    """A figure of the paper: its file name, what it shows, what it needs, how it is drawn."""

    name: str
    title: str
    needs: str
    draw: Draw


@dataclass(frozen=True)
class Drawn:
    """The figures of a report: titles of those drawn, by name, and why others were not."""

    titles: Mapping[str, str]
    absent: Mapping[str, str]


def draw_figures(experiments: Experiments, folder: Path) -> Drawn:
    """Draw every figure that there are numbers for, in every format.

    Raises:
        UserError: a file cannot be written.
    """
    titles: dict[str, str] = {}
    absent: dict[str, str] = {}
    with rc_context(STYLE):
        for drawing in (*PAPERS, *_own(experiments)):
            figure = drawing.draw(experiments)
            if figure is None:
                absent[drawing.name] = f"{drawing.title}: needs {drawing.needs}"
            else:
                save(figure, folder, drawing.name)
                titles[drawing.name] = drawing.title
    return Drawn(titles, absent)


def _compare(kind: str) -> Draw:
    """Figures 2 and 8: win rates and accuracy by category against implicit models."""

    def draw(experiments: Experiments) -> Figure | None:
        present = _with_both(experiments, kind)
        if not present:
            return None
        figure = Figure(figsize=(8.2, 0.4 + 2.5 * len(present)), layout="constrained")
        panels = figure.subplots(len(present), 2, squeeze=False)
        for (left, right), measured in zip(panels, present, strict=True):
            places = list(measured.categories)
            rates = [
                paired_win_rates(measured, measured.categories[place], (kind, OPPONENT))
                for place in places
            ]
            stacked_shares(left, places, rates, (kind, OPPONENT))
            left.set_xlabel("win rate (%)")
            left.set_title(f"Trained on {TRAINING[measured.experiment.name]}")
            _category_bars(right, measured, (kind, OPPONENT), "accuracy")
        legend_below(figure, *panels.flat)
        return figure

    return draw


def _accuracy_and_margin(experiments: Experiments) -> Figure | None:
    """Figure 5."""
    present = _with_both(experiments, "explicit")
    if not present:
        return None
    figure = Figure(figsize=(8.2, 0.4 + 2.5 * len(present)), layout="constrained")
    panels = figure.subplots(len(present), 2, squeeze=False)
    for row, measured in zip(panels, present, strict=True):
        for axes, metric in zip(row, METRICS, strict=True):
            _category_bars(axes, measured, ("explicit", OPPONENT), metric)
        row[0].set_title(f"Trained on {TRAINING[measured.experiment.name]}")
    legend_below(figure, *panels.flat)
    return figure


def _with_both(experiments: Experiments, kind: str) -> list[Measured]:
    """The paper's two experiments, where some category has both kinds."""
    found = [experiments[name] for name in TRAINING if name in experiments]
    return [each for each in found if each.categories and {kind, OPPONENT} <= set(each.kinds)]


def _category_bars(
    axes: Axes, measured: Measured, kinds: Sequence[str], metric: str, variation: str = ""
) -> None:
    places = list(measured.categories)
    values = {
        kind: [
            _spread(measured, measured.categories[each], kind, metric, variation) for each in places
        ]
        for kind in kinds
    }
    _bars(axes, places, values, _marks(measured, "by_category", places, metric, kinds), metric)


def _bars(axes: Axes, places: Sequence[str], values: Values, marks: Marks, metric: str) -> None:
    grouped_bars(axes, [place.replace("-", "-\n", 1) for place in places], values, marks)
    axes.set_ylabel(metric)
    if metric == "accuracy":
        chance_line(axes)
        axes.set_ylim(0, 1.04)


def _spread(
    measured: Measured, names: Sequence[str], kind: str, metric: str, variation: str = ""
) -> Spread | None:
    return measured.spread(names, measured.cells(kind, variation), METRICS[metric])


def _marks(
    measured: Measured, level: Level, places: Sequence[str], metric: str, kinds: Sequence[str]
) -> Marks:
    name = measured.experiment.name
    return {kind: [printed(name, level, place, metric, kind) for place in places] for kind in kinds}


def _hamiltonian(experiments: Experiments) -> Figure | None:
    """Figure 3: verification accuracy of the kinds, and correct generations."""
    measured = experiments.get("hamiltonian")
    if measured is None or not measured.sets:
        return None
    figure = Figure(figsize=(8.2, 3.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    _set_bars(left, measured, measured.sets)
    left.set_title("Verification")
    _generation_bars(right, measured)
    right.set_title("Generation")
    legend_below(figure, left, right)
    return figure


def _set_bars(axes: Axes, measured: Measured, names: Sequence[str]) -> None:
    values = {
        kind: [_spread(measured, [name], kind, "accuracy") for name in names]
        for kind in measured.kinds
    }
    marks = _marks(measured, "by_set", names, "accuracy", measured.kinds)
    _bars(axes, names, values, marks, "accuracy")


def _generation_bars(axes: Axes, measured: Measured) -> None:
    """Share of correct generations by set: of each kind that generates, and before training."""
    shares = measured.correct_generations
    places = list(dict.fromkeys(name for name, _ in shares))
    kinds = list(dict.fromkeys(kind for _, kind in shares))
    values = {kind: [shares.get((place, kind)) for place in places] for kind in kinds}
    if values:
        grouped_bars(axes, places, values, _marks(measured, "by_set", places, "correct", kinds))
    axes.set_ylabel("correct generations")
    axes.set_ylim(0, 1.04)


def _persona(experiments: Experiments) -> Figure | None:
    """Figure 4: accuracy on original and reworded responses, on seen and unseen prompts."""
    measured = experiments.get("persona")
    if measured is None or not measured.sets:
        return None
    figure = Figure(figsize=(1.6 + 1.4 * len(measured.sets), 3.3), layout="constrained")
    axes = figure.subplots()
    _set_bars(axes, measured, measured.sets)
    legend_below(figure, axes)
    return figure


def _hyperparameters(experiments: Experiments) -> Figure | None:
    """Figure 6: accuracy by category under other learning rates and β."""
    measured = experiments.get("hyperparameters")
    if measured is None or not measured.categories:
        return None
    variations = list(dict.fromkeys(cell.variation for cell in measured.experiment.cells))
    width = len(measured.categories)
    figure = Figure(figsize=(2.0 + 2.6 * width, 1.3 + 0.42 * len(variations)), layout="constrained")
    panels = figure.subplots(1, width, sharey=True, squeeze=False)[0]
    for axes, (category, names) in zip(panels, measured.categories.items(), strict=True):
        values = {
            kind: [_spread(measured, names, kind, "accuracy", each) for each in variations]
            for kind in measured.kinds
        }
        dots(axes, [each or BASE for each in variations], values)
        chance_line(axes, horizontal=False)
        axes.set_title(category)
        axes.set_xlabel("accuracy")
    legend_below(figure, *panels)
    return figure


def _variants(experiments: Experiments) -> Figure | None:
    """Figure 7: accuracy by category of variants of the explicit and the implicit kind."""
    measured = experiments.get("variants")
    if measured is None or not measured.categories:
        return None
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    _category_bars(axes, measured, measured.kinds, "accuracy")
    legend_below(figure, axes)
    return figure


def _by_model(name: str) -> Draw:
    """Figures 9 and 10: accuracy by initial model and evaluation set, all kinds."""

    def draw(experiments: Experiments) -> Figure | None:
        measured = experiments.get(name)
        if measured is None or not measured.subjects:
            return None
        columns = min(3, len(measured.subjects))
        lines = -(-len(measured.subjects) // columns)
        height = 0.6 + lines * (0.8 + 0.34 * len(measured.sets))
        figure = Figure(figsize=(1.9 + 2.4 * columns, height), layout="constrained")
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axes in panels.flat[len(measured.subjects) :]:
            axes.set_visible(False)
        used = panels.flat[: len(measured.subjects)]
        for axes, subject in zip(used, measured.subjects, strict=True):
            dots(axes, measured.sets, measured.by_set(subject, METRICS["accuracy"]))
            chance_line(axes, horizontal=False)
            axes.set_title(subject)
        for axes in panels[-1]:
            axes.set_xlabel("accuracy")
        legend_below(figure, *used)
        return figure

    return draw


def _own(experiments: Experiments) -> Iterator[Drawing]:
    """A figure for every experiment that is none of the paper's."""
    for name in (name for name in experiments if name not in CLAIMS):
        title = f"{name}: accuracy by model and evaluation set"
        yield Drawing(f"{file_name(name)}-accuracy", title, f"scores of {name}", _by_model(name))


CLAIMS = {*TRAINING, "hamiltonian", "persona", "hyperparameters", "variants"}
"""The experiments that the figures below show."""

_SCORES = "scores of explicit and implicit models of the experiment chat or math"
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
    ),
    Drawing("figure-5", "Accuracy and margin by category", _SCORES, _accuracy_and_margin),
    Drawing(
        "figure-6",
        "Other learning rates and β",
        "scores of the experiment hyperparameters",
        _hyperparameters,
    ),
    Drawing("figure-7", "Variants of kinds", "scores of the experiment variants", _variants),
    Drawing(
        "figure-8",
        "Generative and implicit by category",
        _SCORES.replace("explicit", "generative"),
        _compare("generative"),
    ),
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
