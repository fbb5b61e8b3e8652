"""What the paper prints, to show beside what was measured.

The figures are those of Razin, Lin, Yao and Arora, *Why is Your Language Model a Poor Implicit
Reward Model?* (2025), tables 1 to 10 and figures 3 and 4. They are looked up by the name of our
experiment that repeats them: `chat` (trained on UltraFeedback), `math` (on RewardMATH),
`hamiltonian` and `persona`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

OPPONENT = "implicit"
"""The kind that the paper's tables compare the others with."""
SAME_DATA = {"demo": "persona"}
"""Experiments on the same evaluation sets as one of the paper's."""

Level = Literal["by_category", "by_set"]


@dataclass(frozen=True)
class Printed:
    """A printed mean over models, with the standard deviation over seeds where it is printed.

    `largest_deviation` is what the paper says that no deviation of a whole figure exceeds.
    """

    mean: float
    deviation: float | None = None
    largest_deviation: float | None = None


def printed(experiment: str, level: Level, place: str, metric: str, kind: str) -> Printed | None:
    """Return the paper's number for one of our experiments; None where it prints none.

    `place` is a category or an evaluation set; `metric` is "accuracy", "separation" (which the
    paper calls the absolute reward margin) or "correct" (the share of correct generations).
    """
    experiment = SAME_DATA.get(experiment, experiment)
    values = _figures()[level].get(experiment, {}).get(place, {}).get(metric, {}).get(kind)
    return Printed(*values) if values else None


def printed_win_rates(experiment: str, kind: str, name: str) -> tuple[float, float, float] | None:
    """Return the paper's win rates on a set, in percent, as (kind, tie, implicit); or None."""
    values = _figures()["win_rates"].get(experiment, {}).get(kind, {}).get(name)
    return tuple(values) if values else None


def printed_separator_shares(experiment: str) -> Mapping[str, float]:
    """Return by models the share of reworded pairs with a positive product with u* (footnote 3)."""
    shares: Mapping[str, float] = _figures()["separator_shares"].get(experiment, {})
    return shares


def source() -> str:
    """Return the paper's authors, title and year."""
    return str(_figures()["source"])


@cache
def _figures() -> Mapping[str, Any]:
    text = files("rewardgap.reporting.paper").joinpath("paper.json").read_text(encoding="utf-8")
    figures: Mapping[str, Any] = json.loads(text)
    return figures
