"""What models generate: how often it is correct, after training and before, with tests."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rewardgap.evaluation.bootstrap import TAIL, Interval
from rewardgap.evaluation.comparisons import Comparison, adjust, compare_gains
from rewardgap.io.grid_folder import Cell
from rewardgap.reporting.artifacts import Generated


@dataclass(frozen=True)
class Answers:
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


def compare_answers(
    generations: Mapping[Cell, Mapping[str, Generated]],
) -> dict[tuple[str, str], list[Answers]]:
    """By set and kind what every run generates, beside its initial model."""
    found = [
        (name, cell, each) for cell, some in generations.items() for name, each in some.items()
    ]
    changes = adjust(
        {
            (name, cell): _change(each.n, *each.turned)
            for name, cell, each in found
            if each.turned is not None
        }
    )
    answers: dict[tuple[str, str], list[Answers]] = {}
    for name, cell, each in found:
        answers.setdefault((name, cell.kind), []).append(
            Answers(
                f"{cell.subject}, seed {cell.seed}",
                share_interval(each.correct, each.n),
                None if each.initial is None else share_interval(each.initial, each.n),
                changes.get((name, cell)),
            )
        )
    return answers


def share_interval(share: float, n: int) -> Interval:
    """A share of `n` independent responses with its exact interval (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    bounds = binomtest(round(share * n), n).proportion_ci(1 - 2 * TAIL, "exact")
    return Interval(share, float(bounds.low), float(bounds.high))


def _change(n: int, gained: int, lost: int) -> Comparison:
    """Prompts that only one of the two models answers rightly: the tests are McNemar's."""
    gains = np.repeat([1.0, -1.0, 0.0], [gained, lost, n - gained - lost])
    return compare_gains(gains, np.arange(n))
