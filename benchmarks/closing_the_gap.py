"""What closes the gap of implicit models: every candidate trained, and measured along training.

    python -m benchmarks.closing_the_gap --data DIR --model FOLDER --candidate NAME ... [--seeds N]

Every candidate is trained on the original wording of `persona` or `agreement`, and measured on the
paraphrased and the crossed ones every five steps. Runs that are done are read. The results go into
`benchmarks/closing_the_gap.json`, and as a table into docs/closing-the-gap.md.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.documentation import write_tables
from rewardgap.configs.training import TrainConfig
from rewardgap.evaluation.text import align_columns, markdown_table
from rewardgap.io.files import write_text
from rewardgap.io.run_folder import Run
from rewardgap.training.train import train

RESULTS = Path(__file__).with_suffix(".json")
DOCS = Path(__file__).parents[1] / "docs" / "closing-the-gap.md"
PARTS = ("original-test", "paraphrased-test", "crossed-test")
SMALL = {"epochs": 20, "batch_size": 16, "learning_rate": 5e-5}
SMOOTH = 2
"""The loss of a step is the mean over so many steps to either side, too."""
LOSS = 0.15
"""Candidates are compared where the training loss has fallen to this."""
NATS = (24, 37, 51, 63, 80, 105, 123, 139, 165, 210)
"""Margins over β at which accuracies are told."""
NEAR = 0.04
"""A point counts for a number of nats if it is off by no larger share."""


@dataclass(frozen=True)
class Candidate:
    """One way to train an implicit model.

    Attributes:
        words: What it does, for the table.
        kind: The kind.
        changes: Keys of `train`.
        shifts: Shifts whose copies of the training pairs are learnt, too.
    """

    words: str
    kind: str = "implicit"
    changes: Mapping[str, Any] = field(default_factory=dict)
    shifts: Sequence[str] = ()


WORDS = ("delete-words&rate=0.5", "shuffle-words", "opener", "closer")
LETTERS = ("typos&rate=0.3", "upper-case", "random-case", "look-alikes&rate=0.3")
CANDIDATES = {
    "plain": Candidate("β = 0.01"),
    "beta-0.03": Candidate("β = 0.03", changes={"beta": 0.03}),
    "beta-0.1": Candidate("β = 0.1", changes={"beta": 0.1}),
    "words": Candidate("with copies in which words are missing, shuffled or added", shifts=WORDS),
    "letters": Candidate("with copies in other letters and cases", shifts=LETTERS),
    "end-weighted": Candidate("end of turn × 100", "benchmarks.gap_kinds:EndWeighted"),
    "end-alone": Candidate("end of turn alone × 100", "benchmarks.gap_kinds:EndAlone"),
    "without-first": Candidate("first four tokens left out", "benchmarks.gap_kinds:WithoutFirst"),
    "mean": Candidate("mean over tokens, β = 0.25", "benchmarks.gap_kinds:MeanOfTokens"),
    "likelihood": Candidate("likelihood in the loss", "benchmarks.gap_kinds:WithLikelihood"),
    "small-ratios": Candidate("squared log-ratios", "benchmarks.gap_kinds:WithSmallRatios"),
    "explicit": Candidate("explicit, to compare", "explicit"),
}
BETAS = {"plain": 0.01, "beta-0.03": 0.03, "beta-0.1": 0.1}
"""β of the candidates that differ in it alone."""


def main() -> None:
    """Train what is asked for, and write what all results say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.closing_the_gap")
    parser.add_argument("--data", required=True, help="folder with persona_agreeableness.jsonl")
    parser.add_argument("--model", required=True, help="folder of the language model")
    parser.add_argument("--source", default="persona", choices=["persona", "agreement"])
    parser.add_argument("--candidate", action="append", choices=list(CANDIDATES), default=[])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", default="runs/closing-the-gap", help="folder of the runs")
    arguments = parser.parse_args()
    model = Path(arguments.model).name
    for name, seed in product(arguments.candidate, range(arguments.seeds)):
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        place = results.setdefault(f"{model} {arguments.source}", {}).setdefault(name, {})
        run = Run(train(configure(arguments, CANDIDATES[name], name, seed)))
        place[str(seed)] = along(run)
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    results = json.loads(RESULTS.read_text())
    write_tables(DOCS, markdown(results))
    for lines in (by_nats(results), rows(results)):
        print(align_columns(lines), end="\n\n")


def configure(
    arguments: argparse.Namespace, candidate: Candidate, name: str, seed: int
) -> TrainConfig:
    """Return the configuration of a run."""
    data = {"persona": f"?path={arguments.data}/persona_agreeableness.jsonl", "agreement": ""}
    place = data[arguments.source]
    original = f"{arguments.source}:original-train{place}"
    joined = f"{original}{'&' if place else '?'}shift="
    settings = SMALL | {"max_steps": 100} | dict(candidate.changes)
    return TrainConfig(
        model=arguments.model,
        kind=candidate.kind,
        train=[original, *(joined + shift for shift in candidate.shifts)],
        eval={part: f"{arguments.source}:{part}{place}" for part in PARTS},
        out=f"{arguments.out}/{Path(arguments.model).name}/{arguments.source}/{name}-{seed}",
        eval_steps=5,
        seed=seed,
        resume=True,
        **settings,
    )


def along(run: Run) -> list[dict[str, float]]:
    """Return what was measured along a run: step, loss, margin, accuracy on each set."""
    log = [json.loads(line) for line in run.log.read_text().splitlines()]
    losses = np.array([row["loss"] for row in log])
    return [
        {
            "step": row["step"],
            "loss": float(losses[max(0, i - SMOOTH) : i + SMOOTH + 1].mean()),
            "margin": row["margin"],
            **{part: row[f"eval_accuracy/{part}"] for part in PARTS},
        }
        for i, row in enumerate(log)
        if f"eval_accuracy/{PARTS[0]}" in row
    ]


def rows(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table: a line for every model, data and candidate, means over its seeds."""
    header = ("model and data", "implicit, trained", "seeds", f"at loss {LOSS:g}", "at the end")
    lines = [(*header, "highest on the way")]
    for place, candidates in results.items():
        for name, seeds in candidates.items():
            curves = list(seeds.values())
            lines.append(
                (
                    *(place, CANDIDATES[name].words, str(len(curves))),
                    *(_mean([_at_loss(curve) for curve in curves]),),
                    *(_mean([curve[-1] for curve in curves]),),
                    _mean([{part: max(p[part] for p in c) for part in PARTS} for c in curves]),
                )
            )
    return lines


def _at_loss(curve: Sequence[dict[str, float]]) -> dict[str, float] | None:
    return next((point for point in curve if point["loss"] <= LOSS), None)


def _mean(points: Sequence[Mapping[str, float] | None]) -> str:
    """Return mean accuracies on the paraphrased and the crossed set; a dash if one is missing."""
    there = [point for point in points if point is not None]
    if len(there) < len(points):
        return "–"
    return ", ".join(f"{np.mean([point[part] for point in there]):.2f}" for part in PARTS[1:])


def by_nats(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return accuracies at several margins over β, of candidates that differ in β alone."""
    lines = [("model and data", "accuracy", *map(str, NATS))]
    for place, candidates in results.items():
        for name in (name for name in candidates if name in BETAS):
            points = [point for curve in candidates[name].values() for point in curve]
            for part in PARTS[1:]:
                cells = [_near(points, part, nats * BETAS[name]) for nats in NATS]
                lines.append((place, f"{CANDIDATES[name].words}, {part}", *cells))
    return lines


def _near(points: Sequence[Mapping[str, float]], part: str, margin: float) -> str:
    """Return the mean accuracy where the margin is about this, nothing if it is nowhere."""
    values = [point[part] for point in points if abs(point["margin"] - margin) <= NEAR * margin]
    return f"{np.mean(values):.2f}" if values else ""


def markdown(results: Mapping[str, Any]) -> str:
    """Return the tables as they stand in the documentation."""
    tables = (markdown_table(lines, left=2) for lines in (by_nats(results), rows(results)))
    return "\n\n".join(tables) + "\n"


if __name__ == "__main__":
    main()
