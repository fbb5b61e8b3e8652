"""Accuracy on the records on which the longer-wins rule is right less than half of the time."""

import numpy as np

from rewardgap.evaluation.accuracy import CHANCE
from rewardgap.evaluation.bootstrap import Interval, mean_interval
from rewardgap.evaluation.measure import Measure, ScoredRuns


def accuracy_where_longer_fails(scored: ScoredRuns) -> Interval | None:
    """Return the accuracy; None where there are no such records, or lengths are unknown."""
    if "longer" not in scored.baselines:
        return None
    fails = scored.baselines["longer"].mean(axis=1) < CHANCE
    if not fails.any():
        return None
    without_gaps = np.unique(scored.clusters[fails], return_inverse=True)[1]
    return mean_interval(scored.accuracies[fails], without_gaps, scored.seed)


MEASURE = Measure(
    name="where_longer_fails",
    title="where longer fails",
    meaning="accuracy on the records on which the longer response loses",
    compute=accuracy_where_longer_fails,
)
