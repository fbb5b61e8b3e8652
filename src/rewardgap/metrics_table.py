"""The report of `rewardgap metrics`: score files in, JSON and a plain-text table out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardgap.configs import MetricsConfig
from rewardgap.metrics import Interval, Summary, summarise
from rewardgap.scores import read_scores
from rewardgap.statistics import Comparison, compare_all

SIGNIFICANCE = 0.05

Comparisons = Mapping[tuple[str, str], Comparison]


def metrics(config: MetricsConfig) -> tuple[dict[str, Any], str]:
    """The command `metrics`: see `report_metrics`."""
    return report_metrics(config.scores)


def report_metrics(paths: Sequence[str | Path]) -> tuple[dict[str, Any], str]:
    """Summarise score files and compare those of the same records.

    Returns:
        (for `--json`, for the terminal): a dictionary from file to its summary, with a key
        `compared` ({other file: {difference, mcnemar_p, holm_p}}) where another file has the
        same ids, and the text of `format_table`.

    Raises:
        UserError: If a file cannot be read, see `read_scores`.
    """
    files = {str(path): read_scores(path) for path in paths}
    summaries = {name: summarise(rows) for name, rows in files.items()}
    comparisons = compare_all(files)
    report = {name: summary.to_json() for name, summary in summaries.items()}
    for (first, second), comparison in comparisons.items():
        report[first].setdefault("compared", {})[second] = comparison.to_json()
        report[second].setdefault("compared", {})[first] = comparison.reversed().to_json()
    return report, format_table(summaries, comparisons)


def format_table(summaries: Mapping[str, Summary], comparisons: Comparisons) -> str:
    """Plain text: a line a file, its content-blind rules below it, then the comparisons in words.

    Intervals are 95 %; `ties` counts pairs with equal rewards.
    """
    lines = [("", "accuracy", "margin", "ties", "records")]
    for name, summary in summaries.items():
        figures = (_interval(summary.accuracy), _interval(summary.margin))
        lines.append((name, *figures, str(summary.ties), str(summary.n)))
        lines.extend(
            (f"  {rule}", _interval(accuracy), "", "", "")
            for rule, accuracy in summary.baselines.items()
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join(table + _in_words(comparisons)) + "\n"


def _interval(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _in_words(comparisons: Comparisons) -> list[str]:
    if not comparisons:
        return []
    family = "" if len(comparisons) == 1 else f", Holm over {len(comparisons)} comparisons"
    title = f"Paired accuracy (McNemar's exact test{family}):"
    return ["", title, *(_sentence(*names, found) for names, found in comparisons.items())]


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
