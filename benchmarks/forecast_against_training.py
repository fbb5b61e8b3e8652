"""How right a forecast was: its accuracies beside those of trained models, at equal training loss.

    python benchmarks/forecast_against_training.py FORECAST RUN...

FORECAST is a folder that `rewardgap forecast` wrote, each RUN one of `rewardgap train` on the same
data with the same names of evaluation sets. The loss of a run is the mean over its last epoch; the
forecast is read off its curve where the curve first falls to that loss, or at its end. A generative
model's log counts the probability of words that are neither Yes nor No as well, which the forecast
leaves out: it is compared at the loss that the forecast was asked for. Prints a
line a set and kind (the mean over runs of the kind), the mean absolute error over all of them,
Spearman's rank correlation, and how often the better of two kinds was named rightly where
the measured difference is larger than 0.05.
"""

import json
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from statistics import mean

from scipy.stats import spearmanr

CLEAR = 0.05
"""A difference in accuracy between two kinds below which naming the better one is luck."""


def last_losses(run: Path) -> float:
    """Mean training loss of a run's last epoch."""
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    last = rows[-1]["epoch"] - 1
    return mean(row["loss"] for row in rows if row["epoch"] > last)


def read_off(curve: list[dict[str, float]], loss: float) -> float:
    """Return the forecast accuracy where the curve first falls to a loss, or at its end."""
    return next((p["accuracy"] for p in curve if p["loss"] <= loss), curve[-1]["accuracy"])


def main(forecast: str, *runs: str) -> None:
    """Print the comparison."""
    expected = json.loads((Path(forecast) / "forecast.json").read_text())
    cells: dict[tuple[str, str], list[tuple[float, float, float]]] = defaultdict(list)
    for run in map(Path, runs):
        kind = json.loads((run / "reward_model" / "rewardgap.json").read_text())["kind"]
        loss = last_losses(run)
        for name, measured in json.loads((run / "metrics.json").read_text()).items():
            outcome = expected[name][kind]
            point = outcome["loss"] if kind == "generative" else loss
            predicted = read_off(outcome["curve"], point)
            cells[name, kind].append((loss, predicted, measured["accuracy"]["value"]))
    means = {key: tuple(map(mean, zip(*values, strict=True))) for key, values in cells.items()}
    print(f"{'set':<26}{'kind':<14}{'loss':>7}{'forecast':>10}{'trained':>9}{'error':>8}")
    for (name, kind), (loss, predicted, measured) in means.items():
        error = predicted - measured
        print(f"{name:<26}{kind:<14}{loss:7.3f}{predicted:10.3f}{measured:9.3f}{error:+8.3f}")
    predicted, measured = zip(*((p, m) for _, p, m in means.values()), strict=True)
    errors = [abs(p - m) for p, m in zip(predicted, measured, strict=True)]
    print(f"mean absolute error {mean(errors):.3f}, largest {max(errors):.3f}", end="; ")
    print(f"rank correlation {spearmanr(predicted, measured).statistic:.2f}", end="; ")
    pairs = [
        (means[name, a], means[name, b])
        for name in dict.fromkeys(name for name, _ in means)
        for a, b in combinations(dict.fromkeys(kind for _, kind in means), 2)
        if abs(means[name, a][2] - means[name, b][2]) > CLEAR
    ]
    right = sum((a[1] - b[1]) * (a[2] - b[2]) > 0 for a, b in pairs)
    print(f"better kind named rightly {right} of {len(pairs)} times")


if __name__ == "__main__":
    main(*sys.argv[1:])
