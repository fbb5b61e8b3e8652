"""Which kind wins: over models and seeds, by the paper's rule and by a test."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import pandas as pd
from altair import LayerChart

from rewardgap.evaluation.comparisons import Pair
from rewardgap.evaluation.win_rates import WinRates, tested_win_rates
from rewardgap.reporting.drawing import stacked_shares
from rewardgap.reporting.paper.printed import OPPONENT, printed_win_rates
from rewardgap.reporting.results import Results
from rewardgap.reporting.topic import Figure, TextTable, Topic, once


@dataclass(frozen=True)
class MeasuredWinRates:
    """Win rates by set of every two kinds that share a model and a seed.

    `by_rule`, accuracies within 0.01 of each other are a tie, as in the paper; `tested`, a tie is
    what McNemar's test with Holm's correction does not separate.
    """

    by_rule: Mapping[str, Mapping[Pair, WinRates]]
    tested: Mapping[str, Mapping[Pair, WinRates]]


@once
def measure(results: Results) -> MeasuredWinRates:
    """Count wins by set and pair of kinds."""
    by_rule: dict[str, dict[Pair, WinRates]] = {}
    tested: dict[str, dict[Pair, WinRates]] = {}
    for name in results.sets:
        runs = results.runs(name)
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
        ["set", "kinds", "tested", "the paper's 1 % rule"],
        [
            [name, " against ".join(pair), _shares(measured.tested[name][pair]), _shares(rates)]
            for name, pairs in measured.by_rule.items()
            for pair, rates in pairs.items()
        ],
        2,
    )


def _shares(rates: WinRates) -> str:
    return f"{rates.first:.0f} / {rates.tie:.0f} / {rates.second:.0f}"


def figures(results: Results) -> Iterator[Figure]:
    """Return the shares of wins of every two kinds."""
    measured = measure(results)
    played = dict.fromkeys(pair for pairs in measured.tested.values() for pair in pairs)
    variants: dict[str, LayerChart] = {}
    has_paper = False
    for pair in sorted(played, key=lambda pair: pair[1] != OPPONENT):  # the paper's pairs first
        for rule, rates in (
            ("tested", measured.tested),
            ("the paper's 1 % rule", measured.by_rule),
        ):
            rows = []
            for name in results.sets:
                paper = _paper(results, name, pair) if rates is measured.by_rule else {}
                has_paper |= bool(paper)
                ours = vars(rates[name][pair]) if pair in rates[name] else {}
                rows.append({"line": name} | ours | paper)
            label = f"{pair[0]} against {pair[1]}, {rule}"
            variants[label] = stacked_shares(pd.DataFrame(rows), pair)
    thin = " The paper's own figures are the thin bars." if has_paper else ""
    yield Figure(
        "Which kind wins",
        "Share of models and seeds in which one kind is more accurate. Tested, a tie is what "
        "McNemar's test with Holm's correction does not separate; by the paper's rule, accuracies "
        f"within 0.01 of each other are a tie.{thin}",
        variants,
    )


def _paper(results: Results, name: str, pair: Pair) -> dict[str, float]:
    """Return the paper's shares of a line of the chart."""
    paper = printed_win_rates(results.experiment.name, pair[0], name)
    if not paper or pair[1] != OPPONENT:
        return {}
    return dict(zip(("paper_first", "paper_tie", "paper_second"), paper, strict=True))


TOPIC = Topic("win_rates", measure, tables=tables, figures=figures)
