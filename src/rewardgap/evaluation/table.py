"""The report of `rewardgap metrics`: score files in, JSON and a plain-text table out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from rewardgap.configs.scoring import MetricsConfig
from rewardgap.data.in_memory import by_keywords
from rewardgap.errors import UserError
from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.comparisons import (
    Comparison,
    Pair,
    compare_all,
    indistinguishable,
    is_significant,
)
from rewardgap.evaluation.ensembles import combine_rows, parse_ensemble
from rewardgap.evaluation.measures import MEASURES, Summary, by_subset, summarise
from rewardgap.evaluation.returned import MetricsResult
from rewardgap.evaluation.rewardbench import find_leaderboard
from rewardgap.evaluation.scores import ScoreRow, read_scores
from rewardgap.evaluation.styles import StyleAccuracies, style_accuracies
from rewardgap.evaluation.text import align_columns, format_interval
from rewardgap.io.run_folder import Run

Comparisons = Mapping[Pair, Comparison]


@by_keywords(MetricsConfig)
def metrics(config: MetricsConfig) -> MetricsResult:
    """Summarise score files and compare those of the same records.

    Returns:
        (figures, table), with `to_frame()`: A dictionary from file to its summary, with a key
        `compared` ({other file: see `Comparison.to_json`}) where another file has the same
        records, a key `styles` ({easy, normal, hard}) where asked for, a key `subsets` where the
        records are of several, see `find_leaderboard` and `by_subset`; and the text of
        `format_table`.

    Raises:
        UserError: A file cannot be read, see `read_scores`, or is no grid of styles.
    """
    files = {name: rows for given in config.scores for name, rows in _read(given).items()}
    summaries = {name: summarise(rows) for name, rows in files.items()}
    styles = {
        name: style_accuracies(rows, name=name) for name, rows in files.items() if config.styles
    }
    subsets = {name: _figures_of_parts(rows) for name, rows in files.items()}
    comparisons = compare_all(files)
    report = {name: summary.to_json() for name, summary in summaries.items()}
    for name, accuracies in styles.items():
        report[name]["styles"] = asdict(accuracies)
    for name, figures in subsets.items():
        if figures:
            report[name]["subsets"] = {part: asdict(figure) for part, figure in figures.items()}
    for (first, second), comparison in comparisons.items():
        report[first].setdefault("compared", {})[second] = comparison.to_json()
        report[second].setdefault("compared", {})[first] = comparison.reversed().to_json()
    return MetricsResult(report, format_table(summaries, comparisons, styles, subsets))


def _figures_of_parts(rows: Sequence[ScoreRow]) -> dict[str, Interval]:
    """Return what a leaderboard would show of the rows, or else the figures of their subsets."""
    leaderboard = find_leaderboard(rows)
    return leaderboard.lines if leaderboard else by_subset(rows)


def _read(name: str) -> dict[str, list[ScoreRow]]:
    """Return the rows of a score file, or of all of a run, or of an ensemble of either, by name.

    Of an ensemble of runs, the files that all members have are combined.
    """
    ensemble = parse_ensemble(name)
    if ensemble is None:
        return {file: _read_file(file) for file in _score_files(name)}
    members = [_score_files(member) for member in ensemble.members]
    if all(files == [member] for files, member in zip(members, ensemble.members, strict=True)):
        return {name: combine_rows(ensemble, [_read_file(file) for (file,) in members])}
    by_set = [{Path(file).name: file for file in files} for files in members]
    shared = [file for file in by_set[0] if all(file in files for files in by_set)]
    if not shared:
        raise UserError(f"{name}: the members have no score files of the same evaluation set")
    return {
        f"{name}/{file}": combine_rows(ensemble, [_read_file(files[file]) for files in by_set])
        for file in shared
    }


def _read_file(name: str) -> list[ScoreRow]:
    path = Path(name)
    if path.parent.name == "scores":
        Run(path.parent.parent).check_results(f"scores/{path.name}")
    return read_scores(path)


def _score_files(name: str) -> list[str]:
    """Return the score files of a run's folder; any other name is that of a file."""
    if not Path(name).is_dir():
        return [name]
    files = sorted(Run(Path(name)).scores("").parent.glob("*.jsonl"))
    if not files:
        raise UserError(f"{name} holds no score files of a run: name score files, or such a folder")
    return list(map(str, files))


def format_table(
    summaries: Mapping[str, Summary],
    comparisons: Comparisons,
    styles: Mapping[str, StyleAccuracies] | None = None,
    subsets: Mapping[str, Mapping[str, Interval]] | None = None,
) -> str:
    """Return plain text: the figures of each file, then the comparisons in words.

    A file has a line with the measures that are columns, and below it a line for each of its other
    measures, its accuracies by style, the baselines (once for files that share them), and its
    subsets. Intervals are 95 %; `ties` counts pairs with equal rewards.
    """
    columns = [measure for measure in MEASURES if measure.is_column]
    rows: list[Sequence[str]] = [("", *(measure.title for measure in columns), "ties", "records")]
    shown: list[Mapping[str, Interval]] = []
    for name, summary in summaries.items():
        figures = [summary.figures.get(measure.name) for measure in columns]
        cells = [format_interval(figure) if figure else "" for figure in figures]
        rows.append((name, *cells, str(summary.ties), str(summary.n)))
        parts = (subsets or {}).get(name, {})
        # Files of one set have the same baselines.
        baselines = {} if summary.baselines in shown else summary.baselines
        shown.append(summary.baselines)
        below = _lines_below(summary, (styles or {}).get(name))
        lines = chain(below, baselines.items(), parts.items())
        for title, figure in lines:
            rows.append((f"  {title}", format_interval(figure), *[""] * (len(columns) + 1)))
    return "\n".join([align_columns(rows), *_in_words(comparisons)]) + "\n"


def _lines_below(
    summary: Summary, styles: StyleAccuracies | None
) -> Iterator[tuple[str, Interval]]:
    """Yield the titles and figures that have no column."""
    for measure in MEASURES:
        if not measure.is_column and measure.name in summary.figures:
            yield measure.title, summary.figures[measure.name]
    yield from vars(styles).items() if styles else ()


def _in_words(comparisons: Comparisons) -> list[str]:
    if not comparisons:
        return []
    family = "" if len(comparisons) == 1 else f", Holm over {len(comparisons)} comparisons"
    lines = ["", f"Paired accuracy (McNemar's exact test{family}):"]
    lines += [_sentence(*names, comparison) for names, comparison in comparisons.items()]
    names = list(dict.fromkeys(name for pair in comparisons for name in pair))
    if len(names) > 2:
        groups = [" = ".join(group) for group in indistinguishable(names, comparisons)]
        lines.append(f"Groups of which no two can be told apart: {'; '.join(groups)}")
    return lines


def _sentence(first: str, second: str, comparison: Comparison) -> str:
    if comparison.difference.value < 0:
        first, second, comparison = second, first, comparison.reversed()
    relation = "is more accurate than" if is_significant(comparison) else "cannot be told from"
    return (
        f"- {first} {relation} {second}:\n  difference {format_interval(comparison.difference)}, "
        f"ahead on {comparison.wins} and behind on {comparison.losses} of {comparison.n} records, "
        f"p = {comparison.holm_p:.2g}"
    )
