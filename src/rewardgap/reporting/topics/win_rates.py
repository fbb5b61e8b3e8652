"""Which kind wins: over models and seeds, by the paper's rule and by a test."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from rewardgap.evaluation.comparisons import Pair
from rewardgap.evaluation.win_rates import WinRates, tested_win_rates
from rewardgap.reporting.drawing import stacked_shares
from rewardgap.reporting.paper.printed import OPPONENT, printed_win_rates
from rewardgap.reporting.results import Results, by_kind
from rewardgap.reporting.topic import Figure, TextTable, Topic, once

PARTS = ("first", "tie", "second")


@dataclass(frozen=True)
class MeasuredWinRates:
    """Win rates of every two kinds that share a model and a seed, by set.

    Attributes:
        by_rule: Accuracies within 0.01 of each other are a tie, as in the paper.
        tested: A tie is what McNemar's test with Holm's correction does not separate.
    """

    by_rule: Mapping[str, Mapping[Pair, WinRates]]
    tested: Mapping[str, Mapping[Pair, WinRates]]


@once
def measure(results: Results) -> MeasuredWinRates:
    """Count wins by set and pair of kinds."""
    by_rule: dict[str, dict[Pair, WinRates]] = {}
    tested: dict[str, dict[Pair, WinRates]] = {}
    for name in results.sets:
        runs = {
            kind: {(cell.subject, cell.seed): results.sorted_rows(name, cell) for cell in cells}
            for kind, cells in by_kind(results.main_cells(name)).items()
        }
        pairs = [pair for pair in combinations(runs, 2) if runs[pair[0]].keys() & runs[pair[1]]]
        tested[name] = {pair: tested_win_rates(runs[pair[0]], runs[pair[1]]) for pair in pairs}
        rules = {pair: results.win_rates([name], pair) for pair in pairs}
        by_rule[name] = {pair: rates for pair, rates in rules.items() if rates}
    return MeasuredWinRates(by_rule, tested)


def tables(results: Results) -> Iterator[TextTable]:
    """Return the shares of wins, by the rule and tested."""
    measured = measure(results)
    yield TextTable(
        "Win rates",
        "Percentages of the models and seeds that both kinds have: first kind / tie / second kind.",
        ["set", "kinds", "the paper's 1 % rule", "tested"],
        [
            [
                name,
                f"{first} against {second}",
                _shares(by_rule),
                _shares(measured.tested[name][pair]),
            ]
            for name, pairs in measured.by_rule.items()
            for pair, by_rule in pairs.items()
            for first, second in [pair]
        ],
        2,
    )


def _shares(rates: WinRates) -> str:
    return f"{rates.first:.0f} / {rates.tie:.0f} / {rates.second:.0f}"


def figures(results: Results) -> Iterator[Figure]:
    """Return the shares of wins of every two kinds."""
    measured = measure(results)
    played = dict.fromkeys(pair for pairs in measured.tested.values() for pair in pairs)
    variants = {}
    for pair in sorted(played, key=lambda pair: pair[1] != OPPONENT):  # the paper's pairs first
        label = f"{pair[0]} against {pair[1]}"
        rows = [_row(results, name, pair) for name in results.sets]
        variants[f"{label}, the paper's 1 % rule"] = stacked_shares(pd.DataFrame(rows), pair)
        tested = [
            {"line": name} | (vars(rates) if (rates := measured.tested[name].get(pair)) else {})
            for name in results.sets
        ]
        variants[f"{label}, tested"] = stacked_shares(pd.DataFrame(tested), pair)
    yield Figure(
        "Which kind wins",
        "Share of models and seeds in which one kind's accuracy is higher. By the paper's rule, "
        "accuracies within 0.01 of each other are a tie; tested, a tie is what McNemar's test with "
        "Holm's correction does not separate. The paper's own figures are the thin bars.",
        variants,
    )


def _row(results: Results, name: str, pair: Pair) -> dict[str, object]:
    """A line of the chart: our shares by the paper's rule, and the paper's."""
    rates = measure(results).by_rule[name].get(pair)
    row: dict[str, object] = {"line": name} | (vars(rates) if rates else {})
    paper = printed_win_rates(results.experiment.name, pair[0], name)
    if paper and pair[1] == OPPONENT:
        row |= dict(zip((f"paper_{part}" for part in PARTS), paper, strict=True))
    return row


TOPIC = Topic("win_rates", measure, tables=tables, figures=figures)
