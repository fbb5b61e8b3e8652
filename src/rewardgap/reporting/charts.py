"""The charts of an experiment on the page."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rewardgap.evaluation.accuracy import CHANCE
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.robustness import Drop
from rewardgap.evaluation.summary import Summary
from rewardgap.reporting.analysis import Analysis
from rewardgap.reporting.artifacts import CURVES
from rewardgap.reporting.colours import colour
from rewardgap.reporting.paper import printed, printed_win_rates
from rewardgap.reporting.paper.tables import BASE, METRICS, OPPONENT, paired_win_rates
from rewardgap.reporting.plots import (
    CURVE_HEIGHT,
    SYMBOLS,
    Plot,
    Series,
    dot_plot,
    errors,
    kind_series,
    short,
    stacked_shares,
)
from rewardgap.reporting.results import Measured, Spread
from rewardgap.reporting.words import rule_name

RULE_SYMBOLS = {"longer": "triangle-right-open", "shorter": "triangle-left-open"}
TOGETHER = "all models together"


@dataclass(frozen=True)
class Chart:
    """A chart with one or several variants to choose from.

    Attributes:
        title: What it shows.
        note: How to read it.
        variants: Plotly figures by the name that is chosen.
        folded: Whether it is shown only when asked for.
    """

    title: str
    note: str
    variants: Mapping[str, Plot]
    folded: bool = False


def charts(measured: Measured, analysis: Analysis) -> Iterator[Chart]:
    """The charts of an experiment for which there is something to show."""
    made = (
        _win_rates(measured, analysis),
        _accuracies(measured, analysis),
        _margins(measured, analysis),
        _drops(measured, analysis),
        _variations(measured),
        _forecasts(measured, analysis),
        _curves(measured),
    )
    yield from (chart for chart in made if chart.variants)


def _win_rates(measured: Measured, analysis: Analysis) -> Chart:
    names = measured.sets
    found = dict.fromkeys(pair for tested in analysis.tested.values() for pair in tested)
    pairs = sorted(found, key=lambda pair: pair[1] != OPPONENT)  # first as in the paper's tables
    experiment = measured.experiment.name
    variants = {}
    for pair in pairs:
        first, second = pair
        by_rule = [paired_win_rates(measured, [name], pair) for name in names]
        paper = [
            printed_win_rates(experiment, first, name) if second == OPPONENT else None
            for name in names
        ]
        label = f"{first} against {second}"
        variants[f"{label}, the paper's 1 % rule"] = stacked_shares(names, pair, by_rule, paper)
        tested = [analysis.tested[name].get(pair) for name in names]
        nothing = [None] * len(names)
        variants[f"{label}, tested"] = stacked_shares(names, pair, tested, nothing)
    return Chart(
        "Which kind wins",
        "Share of models and seeds in which one kind's accuracy is higher. By the paper's rule, "
        "accuracies within 0.01 of each other are a tie; tested, a tie is what McNemar's test with "
        "Holm's correction does not separate. The paper's own figures are the thin bars.",
        variants,
    )


def _accuracies(measured: Measured, analysis: Analysis) -> Chart:
    def rules(summaries: Mapping[str, Mapping[str, Summary]]) -> list[Series]:
        """The content-blind rules; they are the same for every kind."""
        firsts = [next(iter(each.values()), None) for each in summaries.values()]
        found = dict.fromkeys(rule for each in firsts if each for rule in each.baselines)
        return [
            Series(
                rule_name(rule),
                [_alone(each.baselines.get(rule)) if each else None for each in firsts],
                None,
                RULE_SYMBOLS.get(rule, "x-thin-open"),
                0.38,
            )
            for rule in found
        ]

    return Chart(
        "Accuracy",
        "Share of pairs ranked right (a tie counts ½) with 95 % intervals over records and runs, "
        "which are wide where runs are few and differ. Grey marks below: content-blind "
        "rules. Open diamonds: the paper. Dotted: chance.",
        _by_subject(measured, analysis, "accuracy", rules),
    )


def _margins(measured: Measured, analysis: Analysis) -> Chart:
    return Chart(
        "Margin",
        "Mean distance between the chosen and the rejected reward, in standard deviations of all "
        "rewards of the model on the set. Open diamonds: the paper.",
        _by_subject(measured, analysis, "margin", lambda summaries: []),
        folded=True,
    )


def _alone(value: Interval | None) -> Interval | None:
    """A value without its interval, which would hide others."""
    return Interval(value.value, value.value, value.value) if value else None


def _by_subject(
    measured: Measured,
    analysis: Analysis,
    metric: str,
    further: Callable[[Mapping[str, Mapping[str, Summary]]], list[Series]],
) -> dict[str, Plot]:
    """A variant for all models together, and one for each subject where there are several."""
    names = measured.sets
    reference = {"accuracy": CHANCE}.get(metric)

    def plot(summaries: Mapping[str, Mapping[str, Summary]], marks: list[Series]) -> Plot:
        kinds = [
            kind for kind in measured.kinds if any(kind in each for each in summaries.values())
        ]
        values = {
            kind: [
                getattr(each[kind], metric) if kind in each else None for each in summaries.values()
            ]
            for kind in kinds
        }
        return dot_plot(
            names, [*kind_series(values), *marks, *further(summaries)], metric, reference
        )

    variants = {TOGETHER: plot(analysis.overall, _paper_marks(measured, analysis, metric))}
    if len(measured.subjects) > 1:
        for subject in measured.subjects:
            own = {
                name: {kind: each for (whose, kind), each in found.items() if whose == subject}
                for name, found in analysis.by_subject.items()
            }
            variants[subject] = plot(own, [])
    return variants


def _paper_marks(measured: Measured, analysis: Analysis, metric: str) -> list[Series]:
    """The paper's values at the height of each kind's own."""
    experiment, names = measured.experiment.name, measured.sets
    kinds = [
        kind for kind in measured.kinds if any(kind in each for each in analysis.overall.values())
    ]
    found = {
        kind: [printed(experiment, "by_set", name, metric, kind) for name in names]
        for kind in kinds
    }
    values = {
        kind: [Interval(each.mean, each.mean, each.mean) if each else None for each in some]
        for kind, some in found.items()
    }
    return [
        Series(f"{each.name}, the paper", each.values, each.colour, "diamond-open", each.offset)
        for each in kind_series(values)
        if any(each.values)
    ]


def _drops(measured: Measured, analysis: Analysis) -> Chart:
    parts: Mapping[str, Callable[[Drop], Interval]] = {
        "accuracy lost": lambda each: each.drop,
        "share of verdicts that turn": lambda each: each.flip_rate,
    }
    names = [name for name, drops in analysis.drops.items() if drops]
    variants = {}
    for label, get in parts.items() if names else ():
        values = {
            kind: [
                get(analysis.drops[name][kind]) if kind in analysis.drops[name] else None
                for name in names
            ]
            for kind in measured.kinds
        }
        variants[label] = dot_plot(names, kind_series(values), label, reference=0.0)
    return Chart(
        "What rewording costs",
        "From a set to the same records reworded, paired record by record: the accuracy that is "
        "lost, and the share of pairs whose verdict turns, which may cost nothing on balance. "
        "Intervals are over records and runs.",
        variants,
    )


def _variations(measured: Measured) -> Chart:
    variations = list(dict.fromkeys(cell.variation for cell in measured.experiment.cells))
    places = measured.categories or {name: (name,) for name in measured.sets}
    variants = {}
    for place, names in places.items() if len(variations) > 1 else ():
        values = {
            kind: [
                _deviations(measured.spread(names, measured.cells(kind, each), METRICS["accuracy"]))
                for each in variations
            ]
            for kind in measured.kinds
        }
        lines = [each or BASE for each in variations]
        variants[place] = dot_plot(lines, kind_series(values), "accuracy", CHANCE)
    return Chart(
        "Other settings",
        "Accuracy by what differs from the experiment's own settings; mean over models, ± the "
        "standard deviation over seeds.",
        variants,
    )


def _deviations(spread: Spread | None) -> Interval | None:
    if spread is None:
        return None
    deviation = spread.deviation or 0.0
    return Interval(spread.mean, spread.mean - deviation, spread.mean + deviation)


def _forecasts(measured: Measured, analysis: Analysis) -> Chart:
    models = dict.fromkeys(each.model for each in measured.forecasts)
    plots = {model: _forecast_plot(measured, analysis, model) for model in models}
    return Chart(
        "Forecast and measured",
        "Accuracy forecast from the initial language model alone, and what was measured after "
        "training. On the dotted line both agree. A forecast holds at the training loss that the "
        "table names: runs that stopped above it have learnt less.",
        {model: plot for model, plot in plots.items() if plot["data"]},
    )


def _forecast_plot(measured: Measured, analysis: Analysis, model: str) -> Plot:
    data = []
    for kind in measured.kinds:
        pairs = [
            (each.name, each.accuracy, analysis.by_subject[each.name][model, kind].accuracy)
            for each in measured.forecasts
            if (each.model, each.kind) == (model, kind)
            and (model, kind) in analysis.by_subject.get(each.name, {})
        ]
        if pairs:
            shade = colour(kind)
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": kind,
                    "x": [short(forecast.value) for _, forecast, _ in pairs],
                    "y": [short(accuracy.value) for _, _, accuracy in pairs],
                    "error_x": errors([forecast for _, forecast, _ in pairs]),
                    "error_y": errors([accuracy for _, _, accuracy in pairs]),
                    "text": [name for name, _, _ in pairs],
                    "hovertemplate": "%{text}: forecast %{x:.3f}, measured %{y:.3f}",
                    "marker": {"color": shade, "symbol": SYMBOLS.get(kind, "hexagon"), "size": 11},
                }
            )
    diagonal = {"type": "line", "x0": 0, "x1": 1, "y0": 0, "y1": 1, "layer": "below"}
    layout = {
        "height": CURVE_HEIGHT + 60,
        "xaxis": {"title": {"text": "forecast accuracy"}, "range": [-0.03, 1.03]},
        "yaxis": {"title": {"text": "measured accuracy"}, "range": [-0.03, 1.03]},
        "shapes": [diagonal],
    }
    return {"data": data, "layout": layout}


def _curves(measured: Measured) -> Chart:
    found = {name for curve in measured.curves.values() for name in curve.values}
    return Chart(
        "Training",
        "Every run's training pairs, step by step; a line a run, coloured by kind.",
        {name: _curve_plot(measured, name) for name in CURVES if name in found},
        folded=True,
    )


def _curve_plot(measured: Measured, name: str) -> Plot:
    data = []
    seen: set[str] = set()
    for cell, curve in measured.curves.items():
        if name in curve.values:
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "name": cell.kind,
                    "legendgroup": cell.kind,
                    "showlegend": cell.kind not in seen,
                    "x": list(curve.steps),
                    "y": [short(value) for value in curve.values[name]],
                    "line": {"color": colour(cell.kind), "width": 1.3},
                    "opacity": 0.75,
                    "hovertemplate": "%{y:.3f}<extra>" + _plain(str(cell)) + "</extra>",
                }
            )
            seen.add(cell.kind)
    layout = {
        "height": CURVE_HEIGHT,
        "xaxis": {"title": {"text": "step"}},
        "yaxis": {"title": {"text": name}},
    }
    return {"data": data, "layout": layout}


def _plain(text: str) -> str:
    """Text that Plotly reads as text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")
