"""What the demo's runs say together: the summary, the table and the sentence that reads it.

Everything is computed from the `metrics.json` files of the run folders.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from rewardgap.data.sources.wordings import PARTS
from rewardgap.io.run_folder import Run

# Figure 4 of the paper, in the order of `PARTS`: means over its models and seeds. Of generative
# models it says in words that they do as explicit ones.
PAPER: Mapping[str, tuple[float, ...]] = {
    "explicit": (1.0, 1.0, 1.0, 1.0),
    "implicit": (1.0, 1.0, 0.022, 0.019),
    "generative": (1.0, 1.0, 1.0, 1.0),
}
SURVIVES, FAILS = 0.9, 0.5
"""Accuracy on unseen prompts and new words from which a kind survives a paraphrase, and below which
it is worse than a coin."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (that of the seeds themselves, 0 for a single one)."""

    mean: float
    std: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of at least one value."""
        return cls(float(np.mean(values)), float(np.std(values)))


@dataclass(frozen=True)
class Results:
    """Accuracies over the seeds.

    Attributes:
        kinds: for each kind and each of `PARTS` the spread over seeds.
        baselines: for each content-blind rule and each of `PARTS` its accuracy.
    """

    kinds: Mapping[str, Mapping[str, Spread]]
    baselines: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, dict[str, dict[str, float]]]:
        """{kind: {set: {"mean", "std"}}}, the content of `summary.json`."""
        return {
            kind: {part: asdict(spread) for part, spread in parts.items()}
            for kind, parts in self.kinds.items()
        }


def gather(runs: Mapping[str, Sequence[Run]]) -> Results:
    """Read the metrics of each kind's finished runs; there is at least one of every kind.

    The content-blind rules see responses alone, so one run's figures are those of all.
    """
    metrics = {
        kind: [json.loads(run.metrics.read_text(encoding="utf-8")) for run in some]
        for kind, some in runs.items()
    }
    kinds = {
        kind: {part: Spread.of([m[part]["accuracy"]["value"] for m in some]) for part in PARTS}
        for kind, some in metrics.items()
    }
    first = next(iter(metrics.values()))[0]
    rules = first[PARTS[0]]["baselines"]
    baselines = {
        rule: {part: first[part]["baselines"][rule]["value"] for part in PARTS} for rule in rules
    }
    return Results(kinds, baselines)


def format_table(results: Results) -> str:
    """A line a kind and a line a content-blind rule; the paper's figures in brackets."""
    rows = [["", *PARTS]]
    for kind, parts in results.kinds.items():
        printed = PAPER.get(kind, [None] * len(PARTS))
        rows.append([kind, *map(_cell, parts.values(), printed)])
    for rule, accuracies in results.baselines.items():
        name = f"({rule.replace('_', ' ')})"
        rows.append([name, *(f"{value:.3f}" for value in accuracies.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _cell(spread: Spread, printed: float | None) -> str:
    measured = f"{spread.mean:.3f} ± {spread.std:.3f}"
    return measured if printed is None else f"{measured} [{printed:.3f}]"


def conclude(results: Results) -> str:
    """One sentence on who survived the paraphrase, from the measured accuracies alone."""
    originals, paraphrases = (
        {kind: parts[part].mean for kind, parts in results.kinds.items()}
        for part in ("original-test", "paraphrased-test")
    )
    unlearned = {kind: value for kind, value in originals.items() if value < SURVIVES}
    if unlearned:
        return (
            "Not every kind learned to rank unseen prompts in the wording it was trained on "
            f"({_listed(unlearned)}), so these runs say nothing about paraphrases."
        )
    best, worst = max(paraphrases.values()), min(paraphrases.values())
    learned = (
        "In the wording they were trained on, all kinds ranked the pairs of unseen prompts right "
        f"({min(originals.values()):.0%} at the least)"
    )
    if best < SURVIVES or worst >= FAILS:
        seen = _listed(paraphrases)
        return f"{learned}; reworded, they reached {seen}: the gap of the paper was not seen."
    survivors = {kind: value for kind, value in paraphrases.items() if value >= SURVIVES}
    others = {kind: value for kind, value in paraphrases.items() if value < SURVIVES}
    return (
        f"{learned}; reworded, {_listed(survivors)} survived and {_listed(others)} did not: "
        "a gap like the paper's."
    )


def caution(results: Results) -> str:
    """A sentence on the content-blind rules that survive the paraphrase too; empty without any."""
    blind = {rule: parts["paraphrased-test"] for rule, parts in results.baselines.items()}
    good = {rule.replace("_", " "): value for rule, value in blind.items() if value >= SURVIVES}
    if not good:
        return ""
    return (
        f"Mind that rules blind to content do well on these few phrases too ({_listed(good)}): "
        "surviving them is no proof of understanding."
    )


def _listed(accuracies: Mapping[str, float]) -> str:
    return " and ".join(f"{kind} ({value:.0%})" for kind, value in accuracies.items())
