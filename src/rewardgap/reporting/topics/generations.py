"""What models generate: how often it is correct, after training and before, with tests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rewardgap.evaluation.bootstrap import Interval
from rewardgap.evaluation.comparisons import Comparison, adjust, compare_gains, is_difference
from rewardgap.evaluation.text import join_names
from rewardgap.reporting.results import Results, share_interval
from rewardgap.reporting.topic import (
    NOTHING,
    Finding,
    TextTable,
    Tone,
    Topic,
    interval,
    once,
    p_value,
)
from rewardgap.reporting.topics import accuracy


@dataclass(frozen=True)
class RunGenerations:
    """The responses that a run's model generates to the prompts of a set.

    Attributes:
        run: Initial model and seed.
        correct: Share that is correct, with its exact 95 % interval.
        initial: The same of the model before training, where it is known.
        change: The first compared with the second, prompt by prompt; None where only the shares
            are known. P-values are adjusted for all runs and sets of the experiment.
    """

    run: str
    correct: Interval
    initial: Interval | None
    change: Comparison | None


@once
def measure(results: Results) -> Mapping[tuple[str, str], Sequence[RunGenerations]]:
    """Compare by set and kind what every run generates with its initial model."""
    shares = [
        (name, cell, generated)
        for cell, by_set in results.generations.items()
        for name, generated in by_set.items()
    ]
    changes = adjust(
        {
            (name, cell): _change(generated.n, *generated.turned)
            for name, cell, generated in shares
            if generated.turned is not None
        }
    )
    runs: dict[tuple[str, str], list[RunGenerations]] = {}
    for name, cell, generated in shares:
        before, n = generated.initial, generated.n
        run = RunGenerations(
            f"{cell.subject}, seed {cell.seed}",
            share_interval(generated.correct, n),
            None if before is None else share_interval(before, n),
            changes.get((name, cell)),
        )
        runs.setdefault((name, cell.kind), []).append(run)
    return runs


def _change(n: int, gained: int, lost: int) -> Comparison:
    """Prompts that only one of the two models answers rightly: the tests are McNemar's."""
    gains = np.repeat([1.0, -1.0, 0.0], [gained, lost, n - gained - lost])
    return compare_gains(gains, np.arange(n))


def sentences(results: Results) -> Iterator[Finding]:
    """Return how well models verify, how often they generate what is right, and the change."""
    overall = accuracy.measure(results).overall
    for (name, kind), runs in measure(results).items():
        known = overall.get(name, {}).get(kind)
        before = [run.initial.value for run in runs if run.initial]
        if known and len(before) == len(runs):
            share = sum(run.correct.value for run in runs) / len(runs)
            low = min(run.correct.low for run in runs)
            high = max(run.correct.high for run in runs)
            tone, change = _said(runs, sum(before) / len(runs))
            yield Finding(
                tone,
                f"On {name}, {kind} models rank responses with accuracy "
                f"{interval(known.accuracy)}, while {share:.1%} (each run's interval within "
                f"{low:.1%} to {high:.1%}) of those that they generate themselves are correct; "
                f"{change}.",
            )


def _said(runs: Sequence[RunGenerations], initial: float) -> tuple[Tone, str]:
    """What tests say of the share of correct generations beside that before training."""
    changes = [run.change for run in runs if run.change]
    if len(changes) < len(runs):
        return "caution", f"before training {initial:.1%} were, which is not tested"
    more = sum(is_difference(change) and change.difference.value > 0 for change in changes)
    fewer = sum(is_difference(change) and change.difference.value < 0 for change in changes)
    if not more and not fewer:
        return "alike", f"no run's share can be told from the {initial:.1%} before training"
    counts = [
        f"{direction} in {count} of {len(changes)} runs"
        for count, direction in ((more, "more"), (fewer, "fewer"))
        if count
    ]
    return "difference", f"before training {initial:.1%} were: a test finds {join_names(counts)}"


def tables(results: Results) -> Iterator[TextTable]:
    """Return the shares of every run, and McNemar's test."""
    yield TextTable(
        "Correct generations",
        "Share of sampled responses that are correct, after training and before, with exact 95 % "
        "intervals (Clopper and Pearson). McNemar's exact test is of the same prompts; Holm's "
        "correction is over all runs and sets of this table.",
        ["set", "kind", "run", "share correct", "before training", "McNemar p", "Holm p"],
        [
            [name, kind, run.run, interval(run.correct), interval(run.initial), *_p_values(run)]
            for (name, kind), runs in measure(results).items()
            for run in runs
        ],
        3,
    )


def _p_values(run: RunGenerations) -> list[str]:
    if run.change is None:
        return [NOTHING, NOTHING]
    return [p_value(run.change.mcnemar_p), p_value(run.change.holm_p)]


TOPIC = Topic("generations", measure, sentences=sentences, tables=tables)
