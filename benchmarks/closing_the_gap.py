"""What closes the gap of implicit models: every candidate trained, and measured along training.

    python -m benchmarks.closing_the_gap --data DIR --model FOLDER --candidate NAME ... [--seeds N]

Every candidate is trained on the original wording of a source, and measured on others several times
along the way; no weights are kept. Runs that are done are read. The results go into
`benchmarks/closing_the_gap.json`, and as a table into docs/closing-the-gap.md.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks.documentation import write_tables
from rewardgap.configs.training import TrainConfig
from rewardgap.data.load import load
from rewardgap.data.prepared import PreparedData
from rewardgap.data.records import record_row
from rewardgap.data.shifting import shifting
from rewardgap.evaluation.text import align_columns, markdown_table
from rewardgap.io.files import write_text
from rewardgap.io.run_folder import Run
from rewardgap.models.kinds.implicit import Implicit
from rewardgap.training.loop import fit
from rewardgap.training.train import (
    add_references,
    build,
    open_data,
    sole_training,
    steps_of,
)

RESULTS = Path(__file__).with_suffix(".json")
DOCS = Path(__file__).parents[1] / "docs" / "closing-the-gap.md"
PUT_ASIDE = "put-aside"
"""A set in other words, by whose accuracy training may be stopped."""


@dataclass(frozen=True)
class Source:
    """What is trained on, and what is measured.

    Attributes:
        train: Specifications of the training pairs; {data} stands for the folder of data.
        sets: Evaluation sets by name, the first in distribution.
        put_aside: The shift of the first set by which training may be stopped.
    """

    train: Sequence[str]
    sets: Mapping[str, str]
    put_aside: str

    @property
    def shown(self) -> list[str]:
        """Names of the sets of the table, all but the first."""
        return list(self.sets)[1:]


def _wordings(spec: str) -> Source:
    parts = ("original-test", "paraphrased-test", "crossed-test")
    sets = {part: spec.format(part=part, data="{data}") for part in parts}
    return Source([spec.format(part="original-train", data="{data}")], sets, "quotes")


ROWS = "?limit=100"
SOURCES = {
    "persona": _wordings("persona:{part}?path={data}/persona_agreeableness.jsonl"),
    "agreement": _wordings("agreement:{part}"),
    "math": Source(
        ["{data}/rewardmath_train.jsonl?limit=500"],
        {
            "rewardmath": "{data}/rewardmath_test.jsonl" + ROWS,
            "rewardbench-math": "{data}/rewardbench_math_test.jsonl" + ROWS,
        },
        "synonyms",
    ),
    "chat": Source(
        [
            "{data}/uf_train200.jsonl",
            "ultrafeedback:pairs?path={data}/uf_extra_train.jsonl&limit=300",
        ],
        {
            "ultrafeedback": "{data}/uf_test.jsonl" + ROWS,
            "paraphrased": "{data}/uf_paraphrase_test.jsonl" + ROWS,
            "french": "{data}/uf_french_test.jsonl" + ROWS,
            "spanish": "{data}/uf_spanish_test.jsonl" + ROWS,
        },
        "synonyms",
    ),
}
SHORT = {"epochs": 50, "batch_size": 16, "eval_steps": 5}
LONG = {"epochs": 50, "batch_size": 8, "eval_steps": 25, "max_length": 1024, "token_budget": 8192}
SMALL = SHORT | {"learning_rate": 5e-5, "max_steps": 100}
REAL = SHORT | {"learning_rate": 1e-5, "max_steps": 50, "dtype": "bfloat16"}
REAL_LONG = LONG | {"learning_rate": 2e-5, "max_steps": 125, "dtype": "bfloat16"}
SMALL_LONG = LONG | {"learning_rate": 3e-5, "max_steps": 75, "batch_size": 16}
SETTINGS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "chat-4m": dict.fromkeys(("persona", "agreement"), SMALL)
    | dict.fromkeys(("math", "chat"), SMALL_LONG),
    "smollm2-135m": dict.fromkeys(("persona", "agreement"), REAL)
    | dict.fromkeys(("math", "chat"), REAL_LONG),
}
"""Keys of `train` by model and source; epochs are more than any run comes to."""
SMOOTH = 2
"""The loss of a step is the mean over so many steps to either side, too."""
LOSS = 0.15
"""Candidates are compared where the training loss has fallen to this."""
NATS = (24, 37, 51, 63, 80, 105, 123, 139, 165, 210)
"""Margins over β at which accuracies are told."""
NEAR = 0.04
"""A point counts for a number of nats if it is off by no larger share."""

Curve: TypeAlias = Sequence[Mapping[str, float]]
"""What was measured at several points of a run."""


@dataclass(frozen=True)
class Candidate:
    """One way to train an implicit model.

    Attributes:
        words: What it does, for the table.
        kind: The kind.
        changes: Keys of `train`.
        shifts: Shifts whose copies of the training pairs are learnt, too.
        twin: The shift of the text that stands beside every response in its record.
        pace: By what the learning rate is multiplied.
    """

    words: str
    kind: str = "implicit"
    changes: Mapping[str, Any] = field(default_factory=dict)
    shifts: Sequence[str] = ()
    twin: str = ""
    pace: float = 1.0


WORDS = ("delete-words&rate=0.5", "shuffle-words", "opener", "closer")
LETTERS = ("typos&rate=0.3", "upper-case", "random-case", "look-alikes&rate=0.3")
CANDIDATES = {
    "plain": Candidate("β = 0.01"),
    "explicit": Candidate("explicit, to compare", "explicit"),
    "beta-0.1": Candidate("β = 0.1", changes={"beta": 0.1}),
    "low-rank": Candidate("rank 8, ten times the rate", "benchmarks.gap_kinds:LowRank", pace=10),
    "without-first": Candidate("first four tokens left out", "benchmarks.gap_kinds:WithoutFirst"),
    "consistent": Candidate(
        "equal rewards of twins without some words",
        "benchmarks.gap_kinds:Consistent",
        twin="delete-words&rate=0.5",
    ),
    "slower": Candidate("a third of the rate", pace=0.3),
    "beta-0.3": Candidate("β = 0.3", changes={"beta": 0.3}),
    "explicit-text": Candidate(
        "explicit with text in its loss", "benchmarks.gap_kinds:KeepingTextExplicit"
    ),
    "beta-0.03": Candidate("β = 0.03", changes={"beta": 0.03}),
    "more-likelihood": Candidate("more likelihood", "benchmarks.gap_kinds:KeepingText"),
    "mean-reference-free": Candidate(
        "mean without a reference, β = 2", "benchmarks.gap_kinds:MeanWithoutReference"
    ),
    "words": Candidate("with copies in which words are missing, shuffled or added", shifts=WORDS),
    "very-consistent": Candidate(
        "equal rewards of such twins × 100",
        "benchmarks.gap_kinds:VeryConsistent",
        twin="delete-words&rate=0.5",
    ),
    "low-rank-faster": Candidate(
        "rank 8, 30 times the rate", "benchmarks.gap_kinds:LowRank", pace=30
    ),
    "unexpected": Candidate("tokens weighted by 1 − π_ref", "benchmarks.gap_kinds:Unexpected"),
    "beta-1": Candidate("β = 1", changes={"beta": 1.0}),
    "mean": Candidate("mean over tokens, β = 0.25", "benchmarks.gap_kinds:MeanOfTokens"),
    "slower-beta-0.1": Candidate("a third of the rate, β = 0.1", changes={"beta": 0.1}, pace=0.3),
    "reference-free": Candidate("without a reference", "implicit-no-reference"),
    "likelihood": Candidate("likelihood in the loss", "benchmarks.gap_kinds:WithLikelihood"),
    "beta-0.003": Candidate("β = 0.003", changes={"beta": 0.003}),
    "small-ratios": Candidate("squared log-ratios", "benchmarks.gap_kinds:WithSmallRatios"),
    "letters": Candidate("with copies in other letters and cases", shifts=LETTERS),
    "frozen": Candidate("output embedding alone", changes={"frozen_backbone": True}),
    "explicit-slower": Candidate("explicit, a third of the rate", "explicit", pace=0.3),
    "end-weighted": Candidate("end of turn × 100", "benchmarks.gap_kinds:EndWeighted"),
    "end-alone": Candidate("end of turn alone × 100", "benchmarks.gap_kinds:EndAlone"),
}
"""In the order of what they may tell."""
BETAS = {
    name: candidate.changes.get("beta", Implicit.default_beta)
    for name, candidate in CANDIDATES.items()
    if replace(candidate, words="", changes={}) == Candidate("")
    and {*candidate.changes} <= {"beta"}
}
"""β of the candidates that differ in it alone."""


def main() -> None:
    """Train what is asked for, and write what all results say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.closing_the_gap")
    parser.add_argument("--data", required=True, help="folder of prepared local files")
    parser.add_argument(
        "--model", required=True, help="folder of the language model, or NAME=FOLDER"
    )
    parser.add_argument("--source", default="persona", choices=list(SOURCES))
    parser.add_argument("--candidate", action="append", choices=list(CANDIDATES), default=[])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", default="runs/closing-the-gap", help="folder of the runs")
    arguments = parser.parse_args()
    name, _, folder = arguments.model.rpartition("=")
    place = Place(name or Path(folder).name, folder, arguments.data, Path(arguments.out))
    for candidate, seed in product(arguments.candidate, range(arguments.seeds)):
        curve = measure(arguments.source, candidate, seed, place)
        take_in([(f"{place.name} {arguments.source}", candidate, seed, curve)])
    results = json.loads(RESULTS.read_text())
    write_tables(DOCS, markdown(results))
    for lines in (by_nats(results), rows(results)):
        print(align_columns(lines), end="\n\n")


@dataclass(frozen=True)
class Place:
    """The model by name, where it and the data are, and where runs go."""

    name: str
    model: str
    data: str
    out: Path


def take_in(curves: Sequence[tuple[str, str, int, Curve]]) -> None:
    """Put curves of a model and source, a candidate and a seed among the results."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for place, candidate, seed, curve in curves:
        results.setdefault(place, {}).setdefault(candidate, {})[str(seed)] = curve
    write_text(RESULTS, json.dumps(results, indent=1) + "\n")


def measure(source: str, name: str, seed: int, place: Place) -> Curve:
    """Train a candidate, unless that was done, and return what was measured along the way."""
    config, shared = configure(source, name, seed, place), PreparedData()
    shared.check(config)
    with sole_training(config, shared) as settings:
        done = settings.run.folder / "curve.json"
        if not done.exists():
            data = open_data(settings, shared)
            model = build(config, data)
            training, held_out = add_references(settings, model, data)
            fit(model, training, steps_of(config, data), held_out, settings)
            write_text(done, json.dumps(along(settings.run, list(config.eval))) + "\n")
        curve: Curve = json.loads(done.read_text())
        return curve


def configure(source: str, name: str, seed: int, place: Place) -> TrainConfig:
    """Return the configuration of a run."""
    candidate, of_source = CANDIDATES[name], SOURCES[source]
    original = [spec.format(data=place.data) for spec in of_source.train]
    train = [*original, *(_shifted(spec, to) for to in candidate.shifts for spec in original)]
    settings = dict(SETTINGS[place.name][source]) | dict(candidate.changes)
    settings["learning_rate"] *= candidate.pace
    if candidate.twin:
        path = _write_twins(
            original, candidate.twin, place.out / "twins" / f"{source}-{name}-{seed}"
        )
        train = [f"{path}?layout=responses"]
        settings["batch_size"] *= 4  # pairs of a record
    sets = {part: spec.format(data=place.data) for part, spec in of_source.sets.items()}
    first = next(iter(sets.values()))
    return TrainConfig(
        model=place.model,
        kind=candidate.kind,
        train=train,
        eval=sets | {PUT_ASIDE: _shifted(first, of_source.put_aside)},
        out=f"{place.out}/{place.name}/{source}/{name}-{seed}",
        seed=seed,
        resume=True,
        identical_pairs="drop",
        checkpoint_steps=0,
        **settings,
    )


def _shifted(spec: str, shift: str) -> str:
    return f"{spec}{'&' if '?' in spec else '?'}shift={shift}"


def _write_twins(specs: Sequence[str], shift: str, folder: Path) -> Path:
    """Write records in which every response is followed by its own text in other words."""
    name, _, rate = shift.partition("&rate=")
    change = shifting(name, float(rate) if rate else None)
    lines = []
    for record in load(specs, "drop"):
        row, twin = record_row(record), record_row(change.record(record))
        sides = {side: [row[side], twin[side]] for side in ("chosen", "rejected")}
        if not set(sides["chosen"]) & set(sides["rejected"]):
            lines.append(json.dumps({"prompt": row["prompt"], **sides}))
    write_text(folder / "twins.jsonl", "\n".join(lines) + "\n")
    return folder / "twins.jsonl"


def along(run: Run, sets: Sequence[str]) -> Curve:
    """Return what was measured along a run: step, loss, margin, accuracy on each set."""
    log = [json.loads(line) for line in run.log.read_text().splitlines()]
    losses = np.array([row["loss"] for row in log])
    return [
        {
            "step": row["step"],
            "loss": float(losses[max(0, i - SMOOTH) : i + SMOOTH + 1].mean()),
            "margin": row["margin"],
            **{part: row[f"eval_accuracy/{part}"] for part in sets},
        }
        for i, row in enumerate(log)
        if f"eval_accuracy/{sets[0]}" in row
    ]


def rows(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table: a line for every model, data and candidate, means over its seeds."""
    header = ("model and data", "implicit, trained", "seeds", f"at loss {LOSS:g}", "at the end")
    header += ("highest on the way", "stopped by a set put aside", "stopped by the other set")
    lines = [header]
    for place, candidates in results.items():
        parts = SOURCES[place.rpartition(" ")[2]].shown
        for name, seeds in candidates.items():
            curves = list(seeds.values())
            lines.append(
                (
                    *(place, CANDIDATES[name].words, str(len(curves))),
                    _mean([_at_loss(curve) for curve in curves], parts),
                    _mean([curve[-1] for curve in curves], parts),
                    _mean([{x: max(p[x] for p in c) for x in parts} for c in curves], parts),
                    _mean([_stopped(curve) for curve in curves], parts),
                    _mean([_stopped_by_others(curve, parts) for curve in curves], parts),
                )
            )
    return lines


def _at_loss(curve: Curve) -> Mapping[str, float] | None:
    return next((point for point in curve if point["loss"] <= LOSS), None)


def _stopped(curve: Curve) -> Mapping[str, float] | None:
    """Return the last of the points that are best on the set put aside, if there is one."""
    known = [point for point in reversed(curve) if PUT_ASIDE in point]
    return max(known, key=lambda point: point[PUT_ASIDE], default=None)


def _stopped_by_others(curve: Curve, parts: Sequence[str]) -> Mapping[str, float] | None:
    """Return each set's accuracy at the last of the points that are best on the other sets."""
    if len(parts) < 2:
        return None
    return {
        part: max(
            reversed(curve), key=lambda point: sum(point[other] for other in parts if other != part)
        )[part]
        for part in parts
    }


def _mean(points: Sequence[Mapping[str, float] | None], parts: Sequence[str]) -> str:
    """Return mean accuracies on the sets that are shown; a dash if a point is missing."""
    there = [point for point in points if point is not None]
    if len(there) < len(points):
        return "–"
    return ", ".join(f"{np.mean([point[part] for point in there]):.2f}" for part in parts)


def by_nats(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return accuracies at several margins over β, of candidates that differ in β alone."""
    lines = [("model and data", "accuracy", *map(str, NATS))]
    for place, candidates in results.items():
        parts = SOURCES[place.rpartition(" ")[2]].shown
        for name in (name for name in candidates if name in BETAS):
            points = [point for curve in candidates[name].values() for point in curve]
            for part in parts:
                cells = [_near(points, part, nats * BETAS[name]) for nats in NATS]
                if any(cells):
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
