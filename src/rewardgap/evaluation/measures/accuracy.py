"""Accuracy (definition 1 of the paper): the share of chosen x rejected pairs ranked rightly."""

from rewardgap.evaluation.measure import Measure

MEASURE = Measure(
    name="accuracy",
    title="accuracy",
    meaning="share of pairs ranked right (a tie counts ½)",
    compute=lambda scored: scored.mean(scored.accuracies),
    is_column=True,
)
