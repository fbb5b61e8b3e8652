"""The tables of an experiment's statistics on the page."""

from collections.abc import Sequence
from dataclasses import dataclass

from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.comparisons import SIGNIFICANCE, Comparison, is_difference
from rewardgap.reporting.analysis import Analysis
from rewardgap.reporting.answers import Answers
from rewardgap.reporting.paper import printed_separator_shares
from rewardgap.reporting.results import Measured
from rewardgap.reporting.words import interval, listed, number, rule_name


@dataclass(frozen=True)
class TextTable:
    """A table on the page; the first `stubs` columns are labels.

    Attributes:
        title: What it shows.
        note: How its numbers were made.
        headings: Of the columns.
        rows: Its cells as text.
        stubs: Number of columns of labels.
    """

    title: str
    note: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    stubs: int


def details(measured: Measured, analysis: Analysis) -> list[TextTable]:
    """The tables of an experiment's statistics for which there is something to show."""
    made = (
        _beside_rules(analysis),
        _comparisons(analysis),
        _within_kinds(analysis),
        _groups(analysis),
        _drops(analysis),
        _styles(analysis),
        _generations(analysis),
        _forecasts(measured, analysis),
    )
    return [table for table in made if table.rows]


def _beside_rules(analysis: Analysis) -> TextTable:
    """Every kind's accuracy, beside content-blind rules and where the longer-wins rule fails."""
    rules = dict.fromkeys(
        rule
        for overall in analysis.overall.values()
        for each in overall.values()
        for rule in each.baselines
    )
    rows = [
        [
            name,
            kind,
            interval(each.accuracy),
            *(_maybe(each.baselines.get(rule)) for rule in rules),
            _maybe(each.figures.get("where_longer_fails")),
        ]
        for name, overall in analysis.overall.items()
        for kind, each in overall.items()
    ]
    return TextTable(
        "Accuracy beside content-blind rules",
        "Means over all runs of a kind with 95 % intervals. The last column is the accuracy on the "
        "records on which the rule “longer wins” is wrong.",
        ["set", "kind", "accuracy", *map(rule_name, rules), "where longer fails"],
        rows,
        2,
    )


def _maybe(value: Interval | None) -> str:
    return interval(value) if value else "–"


HOLM = (
    "Holm's and Benjamini and Hochberg's corrections are of the permutation test, over all "
    "{count} comparisons of this table; it takes the runs as they are. A difference is one where "
    "Holm's p is below 0.05 and the interval leaves out 0."
)
P_VALUES = ("permutation p", "McNemar p", "Holm p", "BH p")


def _comparisons(analysis: Analysis) -> TextTable:
    rows = [
        [name, f"{first} − {second}", *_tested(each), _verdict(first, second, each)]
        for name, comparisons in analysis.kinds.items()
        for (first, second), each in comparisons.items()
    ]
    return TextTable(
        "Kinds against each other",
        "Difference in accuracy, paired by record, over the models and seeds that both kinds have, "
        f"with its 95 % interval over records and runs. {HOLM.format(count=len(rows))}",
        ["set", "kinds", "difference", *P_VALUES, "verdict"],
        rows,
        2,
    )


def _within_kinds(analysis: Analysis) -> TextTable:
    rows = [
        [name, kind, f"{first} − {second}", *_tested(each), _verdict(first, second, each)]
        for (name, kind), comparisons in analysis.subjects.items()
        for (first, second), each in comparisons.items()
    ]
    return TextTable(
        "Initial models and settings against each other, within a kind",
        "Difference in accuracy, paired by record, over the seeds that both have, with its 95 % "
        f"interval over records and seeds. {HOLM.format(count=len(rows))}",
        ["set", "kind", "models", "difference", *P_VALUES, "verdict"],
        rows,
        3,
    )


def _groups(analysis: Analysis) -> TextTable:
    rows = [
        [name, f"{kind} models", "; ".join(map(listed, groups))]
        for (name, kind), groups in analysis.subject_groups.items()
    ]
    rows += [
        [name, "kinds", "; ".join(map(listed, groups))]
        for name, groups in analysis.groups.items()
        if analysis.kinds[name]
    ]
    return TextTable(
        "Groups that cannot be told apart",
        "No two of a group are separated by the tests of the tables above. Groups may overlap: "
        "the first may be like the second, and the second like the third, and yet the first unlike "
        "the third.",
        ["set", "of", "groups"],
        rows,
        2,
    )


def _tested(comparison: Comparison) -> list[str]:
    """A difference with its interval and p-values."""
    each = comparison
    p_values = (each.permutation_p, each.mcnemar_p, each.holm_p, each.bh_p)
    return [interval(each.difference), *map(_p_value, p_values)]


def _verdict(first: str, second: str, comparison: Comparison) -> str:
    if is_difference(comparison):
        return f"{first if comparison.difference.value > 0 else second} is ahead"
    if comparison.holm_p < SIGNIFICANCE:
        return "these runs differ, others may not"
    return "cannot be told apart"


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else number(value)


def _drops(analysis: Analysis) -> TextTable:
    rows = [
        [name, kind, str(each.n), lost, interval(each.flip_rate), *p_values]
        for name, drops in analysis.drops.items()
        for kind, each in drops.items()
        for lost, *p_values in [_tested(each.loss)]
    ]
    return TextTable(
        "From a set to its rewording",
        "Accuracy lost and share of verdicts that turn, paired by record, over all runs of a kind; "
        f"95 % intervals over records and runs. {HOLM.format(count=len(rows))}",
        ["reworded set", "kind", "records", "accuracy lost", "verdicts that turn", *P_VALUES],
        rows,
        2,
    )


def _styles(analysis: Analysis) -> TextTable:
    return TextTable(
        "Where style helps and where it misleads",
        "Of sets with as many chosen as rejected responses, both from the plainest style to the "
        "most elaborate as in RM-Bench: accuracy where the rejected one is in a plainer style, "
        "in the same one, and in a more elaborate one. Means over all runs of a kind with 95 % "
        "intervals over records and runs.",
        ["set", "kind", "easy", "normal", "hard"],
        [
            [name, kind, *map(interval, (each.easy, each.normal, each.hard))]
            for name, kinds in analysis.styles.items()
            for kind, each in kinds.items()
        ],
        2,
    )


def _generations(analysis: Analysis) -> TextTable:
    rows = [
        [name, kind, each.run, interval(each.correct), _maybe(each.initial), *_change(each)]
        for (name, kind), answers in analysis.answers.items()
        for each in answers
    ]
    return TextTable(
        "Correct generations",
        "Share of sampled responses that are correct, after training and before, with exact 95 % "
        "intervals (Clopper and Pearson). McNemar's exact test is of the same prompts; Holm's "
        "correction is over all runs and sets of this table.",
        ["set", "kind", "run", "share correct", "before training", "McNemar p", "Holm p"],
        rows,
        3,
    )


def _change(answers: Answers) -> list[str]:
    change = answers.change
    return [_p_value(change.mcnemar_p), _p_value(change.holm_p)] if change else ["–", "–"]


def _printed_shares(experiment: str) -> str:
    """The end of a sentence: the paper's shares of u*, where it prints some."""
    shares = printed_separator_shares(experiment)
    said = [f"{number(share)} ({models})" for models, share in shares.items()]
    return f"; the paper prints for rewordings {listed(said)}, in footnote 3." if said else "."


def _forecasts(measured: Measured, analysis: Analysis) -> TextTable:
    rows = [
        [
            each.name,
            each.model,
            each.kind,
            f"{each.loss:.2f}",
            interval(each.accuracy),
            interval(found.accuracy),
            "–" if each.separator_share is None else number(each.separator_share),
        ]
        for each in measured.forecasts
        if (found := analysis.by_subject.get(each.name, {}).get((each.model, each.kind)))
    ]
    return TextTable(
        "Forecast and measured",
        "Accuracy forecast from the initial language model alone, and accuracy after training; "
        "95 % intervals. The share of u* is that of the pairs with a positive product with the "
        "max-margin separator of the training pairs, where these can be separated"
        + _printed_shares(measured.experiment.name),
        ["set", "initial model", "kind", "at training loss", "forecast", "measured", "share of u*"],
        rows,
        3,
    )
