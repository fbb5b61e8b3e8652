"""The report of `rewardgap metrics`: score files in, JSON and a plain-text table out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rewardgap.configs.scoring import MetricsConfig
from rewardgap.evaluation.accuracy import Interval, Summary, summarise
from rewardgap.evaluation.comparisons import (
    SIGNIFICANCE,
    Comparison,
    compare_all,
    indistinguishable,
)
from rewardgap.evaluation.scores import read_scores
from rewardgap.evaluation.styles import StyleAccuracies, style_accuracies

Comparisons = Mapping[tuple[str, str], Comparison]
Styles = Mapping[str, StyleAccuracies]


def metrics(config: MetricsConfig) -> tuple[dict[str, Any], str]:
    """The command `metrics`: see `report_metrics`."""
    return report_metrics(config.scores, config.styles)


def report_metrics(
    paths: Sequence[str | Path], with_styles: bool = False
) -> tuple[dict[str, Any], str]:
    """Summarise score files and compare those of the same records.

    Args:
        paths: Score files.
        with_styles: Whether their records are grids of styles, see `style_accuracies`.

    Returns:
        (for `--json`, for the terminal): a dictionary from file to its summary, with a key
        `compared` ({other file: see `Comparison.to_json`}) where another file has the same
        records and a key `styles` ({easy, normal, hard}) where asked for, and the text of
        `format_table`.

    Raises:
        UserError: If a file cannot be read, see `read_scores`, or is no grid of styles.
    """
    files = {str(path): read_scores(path) for path in paths}
    summaries = {name: summarise(rows) for name, rows in files.items()}
    styles = {
        name: style_accuracies(rows, name=name) for name, rows in files.items() if with_styles
    }
    comparisons = compare_all(files)
    report = {name: summary.to_json() for name, summary in summaries.items()}
    for name, accuracies in styles.items():
        report[name]["styles"] = asdict(accuracies)
    for (first, second), comparison in comparisons.items():
        report[first].setdefault("compared", {})[second] = comparison.to_json()
        report[second].setdefault("compared", {})[first] = comparison.reversed().to_json()
    return report, format_table(summaries, comparisons, styles)


def format_table(
    summaries: Mapping[str, Summary], comparisons: Comparisons, styles: Styles | None = None
) -> str:
    """Plain text: a line a file, what stands beside it below, then the comparisons in words.

    Below a file stand its accuracy where the longer-wins rule fails, its accuracies by style, and
    the content-blind rules. Intervals are 95 %; `ties` counts pairs with equal rewards.
    """
    lines = [("", "accuracy", "margin", "ties", "records")]
    for name, summary in summaries.items():
        figures = (_interval(summary.accuracy), _interval(summary.margin))
        lines.append((name, *figures, str(summary.ties), str(summary.n)))
        lines.extend(
            (f"  {what}", _interval(accuracy), "", "", "")
            for what, accuracy in _beside(summary, (styles or {}).get(name))
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join(table + _in_words(comparisons)) + "\n"


def _beside(summary: Summary, styles: StyleAccuracies | None) -> Iterator[tuple[str, Interval]]:
    """Further accuracies on the records of a summary."""
    if summary.where_longer_fails:
        yield "where longer fails", summary.where_longer_fails
    if styles:
        yield from (("easy", styles.easy), ("normal", styles.normal), ("hard", styles.hard))
    yield from summary.baselines.items()


def _interval(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _in_words(comparisons: Comparisons) -> list[str]:
    if not comparisons:
        return []
    family = "" if len(comparisons) == 1 else f", Holm over {len(comparisons)} comparisons"
    title = f"Paired accuracy (McNemar's exact test{family}):"
    sentences = [_sentence(*names, found) for names, found in comparisons.items()]
    return ["", title, *sentences, *_groups(comparisons)]


def _groups(comparisons: Comparisons) -> list[str]:
    """What three files or more come to, in a line."""
    names = list(dict.fromkeys(name for pair in comparisons for name in pair))
    if len(names) < 3:
        return []
    groups = [" = ".join(group) for group in indistinguishable(names, comparisons)]
    return [f"Groups of which no two can be told apart: {'; '.join(groups)}"]


def _sentence(first: str, second: str, comparison: Comparison) -> str:
    if comparison.difference.value < 0:
        first, second, comparison = second, first, comparison.reversed()
    separated = comparison.holm_p < SIGNIFICANCE
    verdict = "is more accurate than" if separated else "cannot be told from"
    return (
        f"- {first} {verdict} {second}: difference {_interval(comparison.difference)}, "
        f"ahead on {comparison.wins} and behind on {comparison.losses} of {comparison.n} records, "
        f"p = {comparison.holm_p:.2g}"
    )
