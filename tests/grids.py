"""Grids on disk with made-up rewards, as `run` would leave them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from rewardgap.evaluation.scores import ScoreRow, write_scores
from rewardgap.reporting.results import Results, read_results
from rewardgap.reporting.topic import Figure, Finding, TextTable, all_topics

Rewards = Sequence[tuple[float, float]]
"""The chosen and the rejected reward of every record."""

SCRIPT = "</script><script>document.title = 'taken over'</script>"
"""The rejected response of every set's first record."""

CHAT: Mapping[str, tuple[str, str | None]] = {
    "ultrafeedback": ("in-distribution", None),
    "ultrafeedback-paraphrased": ("token-level", "ultrafeedback"),
    "ultrafeedback-french": ("token-level", "ultrafeedback"),
    "ultrafeedback-spanish": ("token-level", "ultrafeedback"),
    "rewardbench-math": ("domain", None),
    "rewardmath": ("domain", None),
    "rewardbench-code": ("domain", None),
}
"""Category and original of the sets of the `chat` experiment."""


@dataclass(frozen=True)
class Grid:
    """A plan of runs and what they measure."""

    name: str = "chat"
    train: str = "ultrafeedback"
    models: Sequence[str] = ("small", "large")
    kinds: Sequence[str] = ("explicit", "implicit")
    seeds: Sequence[int] = (0, 1)
    variations: Sequence[str] = ("",)
    sets: Mapping[str, tuple[str, str | None]] = field(default_factory=lambda: dict(CHAT))
    records: int = 12
    words: int = 4


REWORDED = Grid(
    models=("m",),
    kinds=("explicit", "generative", "implicit"),
    seeds=(0, 1, 2),
    sets={
        "ultrafeedback": ("in-distribution", None),
        "ultrafeedback-french": ("token-level", "ultrafeedback"),
    },
    records=40,
)
"""A set and its rewording, for three kinds and three seeds."""


def made_up(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
    """Random rewards by kinds of different quality: explicit ones stand rewording best."""
    ability = {"explicit": 1.2, "generative": 0.9, "implicit": 0.8}.get(kind, 0.5)
    shifted = grid.sets[name][0] == "token-level"
    gap = ability - (0.7 if shifted and kind == "implicit" else 0.0) + 0.1 * len(model) / 10
    text = f"{grid.name}{model}{kind}{seed}{name}".encode()
    generator = np.random.default_rng(list(text))
    shared = np.random.default_rng(list(name.encode())).normal(size=grid.records)
    chosen = generator.normal(gap, 1.0, grid.records) + shared
    return list(zip(chosen.tolist(), generator.normal(0, 1, grid.records).tolist(), strict=True))


def write_grid(
    folder: Path, grid: Grid, rewards: Callable[[Grid, str, str, int, str], Rewards] = made_up
) -> Path:
    """Write a finished grid with its data, configurations, logs and scores; returns its folder."""
    data = {name: write_data(folder / "data" / f"{name}.jsonl", name, grid) for name in grid.sets}
    cells = []
    for model in grid.models:
        for kind in grid.kinds:
            for seed in grid.seeds:
                for variation in grid.variations:
                    place = Path(model, kind, f"seed-{seed}", variation.replace("=", "-"))
                    cells.append(
                        {"model": model, "kind": kind, "seed": seed, "variation": variation}
                        | {"folder": str(place)}
                    )
                    run = folder / place
                    write_run(run, model, kind, seed, data)
                    for name in grid.sets:
                        rows = score_rows(name, rewards(grid, model, kind, seed, name), grid)
                        write_scores(run / "scores" / f"{name}.jsonl", rows)
    plan = {
        "name": grid.name,
        "claim": f"What {grid.name} claims.",
        "profile": "small",
        "train": {"name": grid.train, "data": "train.jsonl"},
        "eval": {
            name: {"data": str(data[name]), "category": category, "shift_of": original}
            for name, (category, original) in grid.sets.items()
        },
        "cells": cells,
    }
    (folder / "experiment.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    return folder


def ranked(right: int, records: int) -> Rewards:
    """The first records are ranked right, the others wrong."""
    return [(1.0, 0.0)] * right + [(0.0, 1.0)] * (records - right)


def first_right(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
    """For `REWORDED`: on its two sets so many are right, with every seed the same."""
    right = {"explicit": (36, 36), "generative": (35, 35), "implicit": (36, 10)}[kind]
    return ranked(right[name == "ultrafeedback-french"], grid.records)


def write_data(path: Path, name: str, grid: Grid) -> Path:
    """The texts of an evaluation set; the first record tries to run a script."""
    generator = np.random.default_rng(list(name.encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for index in range(grid.records):
            words = generator.integers(10_000, size=3 * grid.words).astype(str).tolist()
            third = grid.words
            row = {
                "id": f"{name}-{index}",
                "prompt": f"Question {index}: " + " ".join(words[:third]),
                "chosen": "Good: " + " ".join(words[third : 2 * third]),
                "rejected": "Bad: " + " ".join(words[2 * third :]),
            }
            if index == 0:
                row["rejected"] = SCRIPT
            file.write(json.dumps(row) + "\n")
    return path


def write_run(run: Path, model: str, kind: str, seed: int, data: Mapping[str, Path]) -> None:
    """A run's configuration, log and metrics; its scores are written apart."""
    run.mkdir(parents=True, exist_ok=True)
    config = {"model": model, "kind": kind, "train": "train.jsonl", "seed": seed}
    config |= {"eval": {name: str(path) for name, path in data.items()}, "beta": None}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "metrics.json").write_text("{}")
    with (run / "log.jsonl").open("w") as file:
        for step in range(1, 31):
            line = {"step": step, "loss": 0.7 / step, "accuracy": 1 - 0.5 / step, "margin": step}
            file.write(json.dumps(line) + "\n")


def score_rows(name: str, rewards: Rewards, grid: Grid) -> list[ScoreRow]:
    """Rows with lengths and a bag of words that prefers the chosen response of even records."""
    lengths = np.random.default_rng(list(name.encode())).integers(5, 50, (len(rewards), 2)).tolist()
    return [
        ScoreRow(
            id=f"{name}-{index}",
            scores_chosen=(chosen,),
            scores_rejected=(rejected,),
            tokens_chosen=(lengths[index][0],),
            tokens_rejected=(lengths[index][1],),
            baselines={"bag_of_words": ((float(index % 2 == 0),), (float(index % 2),))},
        )
        for index, (chosen, rejected) in enumerate(rewards)
    ]


def results_of(folder: Path) -> Results:
    """Return what the report reads of a grid."""
    return read_results([str(folder)])[0]


def findings(results: Results) -> list[Finding]:
    """Return the sentences of all topics."""
    return [finding for topic in all_topics() for finding in topic.sentences(results)]


def tables(results: Results) -> dict[str, TextTable]:
    """Return the tables of all topics that have rows, by title."""
    made = [table for topic in all_topics() for table in topic.tables(results)]
    return {table.title: table for table in made if table.rows}


def figures(results: Results) -> dict[str, Figure]:
    """Return the charts of all topics that have variants, by title."""
    made = [figure for topic in all_topics() for figure in topic.figures(results)]
    return {figure.title: figure for figure in made if figure.variants}


def texts(sentences: Sequence[Finding], tone: str) -> str:
    """Return the sentences of one tone."""
    return " ".join(finding.text for finding in sentences if finding.tone == tone)
