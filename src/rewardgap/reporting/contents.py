"""The topics of a report, in the order of the page; a new one is a file and a line here."""

from rewardgap.reporting.topics import (
    accuracy,
    baselines,
    comparisons,
    forecasts,
    generations,
    robustness,
    settings,
    styles,
    training,
    win_rates,
)

TOPICS = (
    comparisons.TOPIC,
    win_rates.TOPIC,
    accuracy.TOPIC,
    baselines.TOPIC,
    robustness.TOPIC,
    styles.TOPIC,
    settings.TOPIC,
    generations.TOPIC,
    forecasts.TOPIC,
    training.TOPIC,
)
