"""Best of n: accuracy or gold score of the best response by n and KL, and over-optimisation."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from rewardgap.evaluation.best_of_n import BestOfN, curve_of_rows
from rewardgap.evaluation.scores import ScoreRow
from rewardgap.reporting.drawing import curves, short
from rewardgap.reporting.results import Results
from rewardgap.reporting.topic import NOTHING, Figure, Finding, TextTable, Topic, interval, once

LEAST = 3
"""Responses that every prompt must have: with two, best of n is accuracy."""


@once
def measure(results: Results) -> Mapping[str, Mapping[str, BestOfN]]:
    """Compute by set and kind the curve of best of n, where every prompt has several responses."""
    return {
        name: {kind: curve_of_rows(*runs.values()) for kind, runs in results.runs(name).items()}
        for name in results.sets
        if all(_responses(row) >= LEAST for rows in _rows(results, name) for row in rows)
    }


def _rows(results: Results, name: str) -> Iterator[Sequence[ScoreRow]]:
    for runs in results.runs(name).values():
        yield from runs.values()


def _responses(row: ScoreRow) -> int:
    return len(row.scores_chosen) + len(row.scores_rejected)


def _has_gold(results: Results, name: str) -> bool:
    return any(row.gold for rows in _rows(results, name) for row in rows)


def sentences(results: Results) -> Iterator[Finding]:
    """Return where choosing among more responses by the reward makes them worse."""
    for name, kinds in measure(results).items():
        for kind, best in kinds.items():
            if best.is_over_optimised:
                yield Finding(
                    "caution",
                    f"{kind} over-optimises on {name}: the best of {best.peak} responses is worth "
                    f"more than the best of {best.sizes[-1]}, by {interval(best.fall)}.",
                )


def tables(results: Results) -> Iterator[TextTable]:
    """Return what the best response is worth at every n."""
    measured = measure(results)
    sizes = sorted(
        {n for kinds in measured.values() for best in kinds.values() for n in best.sizes}
    )
    yield TextTable(
        "Best of n",
        "Mean gold score of the response of the highest reward among n or, where the data have no "
        "gold scores, the share that is a chosen one; n = 1 is a response at random. Over all "
        "subsets of n responses, with 95 % intervals over prompts and runs.",
        ["set", "kind", *(f"n = {n}" for n in sizes)],
        [
            [name, kind, *(_worth(best, n) for n in sizes)]
            for name, kinds in measured.items()
            for kind, best in kinds.items()
        ],
        2,
    )


def _worth(best: BestOfN, n: int) -> str:
    return interval(best.gold[best.sizes.index(n)]) if n in best.sizes else NOTHING


def figures(results: Results) -> Iterator[Figure]:
    """Return gold score, or accuracy, and reward of the best of n."""
    variants = {}
    for name in measure(results):
        worth = "gold score" if _has_gold(results, name) else "accuracy"
        for against in ("KL (nats)", "n"):
            variants[f"{name}: {worth} against {against}"] = curves(
                _frame(results, name, against == "n", "gold"), against, f"{worth} of the best"
            )
        variants[f"{name}: reward against KL"] = curves(
            _frame(results, name, False, "proxy"), "KL (nats)", "reward of the best (deviations)"
        )
    yield Figure(
        "Best of n",
        "What the response of the highest reward among n is worth, and its reward, against n and "
        "against ln n − (n − 1)/n, a bound of the divergence from the model that wrote the "
        "responses. Where worth falls while reward rises, the reward is over-optimised.",
        variants,
    )


def _frame(results: Results, name: str, by_size: bool, column: str) -> pd.DataFrame:
    """Return a point per kind and n."""
    return pd.DataFrame(
        [
            (kind, kind, n, short(n if by_size else kl), short(figure.value))
            for kind, best in measure(results)[name].items()
            for n, kl, figure in zip(
                best.sizes, best.divergences, getattr(best, column), strict=True
            )
        ],
        columns=["run", "kind", "order", "x", "y"],
    )


TOPIC = Topic("best_of_n", measure, sentences=sentences, tables=tables, figures=figures)
