"""The suite's cases as jobs: every training and every kind's rehearsals by themselves.

A training is fitted, scored and forgotten: no weights are written. Rehearsals of a kind are those
that the forecast of all kinds then finds done.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks import forecast_suite as suite
from benchmarks.side_by_side import Job
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.prepared import PreparedData, RunData
from rewardgap.evaluation.scores import score_row, write_scores
from rewardgap.experiments.data import find_evaluation_data, find_training_data
from rewardgap.experiments.experiment import read_experiment
from rewardgap.experiments.grid import plan
from rewardgap.experiments.runner import Runner
from rewardgap.forecasting.rehearsal import rehearse
from rewardgap.io.files import write_text
from rewardgap.models.hub import locate_model
from rewardgap.models.kinds import find_kind
from rewardgap.training.loop import TreeData, fit, held_out_rewards
from rewardgap.training.train import (
    build,
    open_data,
    sole_training,
    steps_of,
    with_references,
)

CLOCK = Path(__file__).with_name("forecast_clock.json")
"""Seconds of every job of a case."""
PREFIX = "forecast"


@dataclass(frozen=True)
class Place:
    """Where models by name, data and the runs are."""

    models: Mapping[str, str]
    data: str
    runs: Path


@dataclass(frozen=True)
class Expected:
    """What the parts of a case are expected to take, in seconds."""

    training: float
    rehearsals: float
    theory: float


@cache
def shared_data() -> PreparedData:
    """Return the data of all jobs that this process does."""
    return PreparedData()


def jobs_of(name: str, place: Place, expected: Expected) -> list[Job]:
    """Return the jobs of a case: rehearsals and the forecast, and seed by seed the trainings."""
    case = suite.CASES[name]
    folder = f"{PREFIX}/{suite.folder_of(name)}"
    experiment = read_experiment(suite.configure(name, place.models, place.data, place.runs))
    kinds = experiment.kinds
    rehearsals = [
        Job(
            f"{folder}/rehearse-{kind}",
            expected.rehearsals,
            partial(rehearse_kind, name, kind, place),
        )
        for kind in kinds
    ]
    needs = [job.name for job in rehearsals]
    whole = Job(f"{folder}/forecast", expected.theory, partial(forecast_case, name, place), needs)
    trainings = [
        Job(
            f"{folder}/train-{kind}-{seed}",
            expected.training,
            partial(train_cell, name, kind, seed, place),
        )
        for seed in case.options["seeds"]
        for kind in kinds
    ]
    first = len(kinds)  # one training of every kind, so that the forecast has something to tell
    return [*rehearsals, *trainings[:first], whole, *trainings[first:]]


def open_case(name: str, place: Place) -> Runner:
    """Return the grid of a case, with nothing done."""
    config = suite.configure(name, place.models, place.data, place.runs)
    experiment = read_experiment(config)
    held_out = find_evaluation_data(experiment, config.data_dir)
    grid = plan(experiment, config.out, find_training_data(experiment, config.data_dir), held_out)
    folders = {model: locate_model(path) for model, path in grid.models.items()}
    return Runner(grid, folders, (), shared_data())


def train_cell(name: str, kind: str, seed: int, place: Place) -> dict[str, float]:
    """Train a cell and write its score files; return what its parts took, in seconds."""
    runner = open_case(name, place)
    (cell,) = (c for c in runner.grid.cells if (c.kind, c.seed) == (kind, seed))
    return fit_and_score(runner.config(cell), runner.data)


def fit_and_score(config: TrainConfig, shared: PreparedData) -> dict[str, float]:
    """Train and score without writing weights; return the seconds of the optimiser's steps."""
    shared.check(config)
    with sole_training(config, shared) as settings:
        data = open_data(settings, shared)
        model = build(config, data)
        sets = [data.training, *data.evaluation.values()]
        training, *held_out = with_references(settings, model, sets)
        fit(model, training, steps_of(config, data), {}, settings)
        _score(dict(zip(data.evaluation, held_out, strict=True)), model, settings, data)
        rows = [json.loads(line) for line in settings.run.log.read_text("utf-8").splitlines()]
    pairs = config.batch_size
    return {"steps": len(rows), "in steps": sum(pairs / row["pairs_per_second"] for row in rows)}


def _score(sets: Mapping[str, TreeData], model: Any, settings: Any, data: RunData) -> None:
    """Write score files as training does, by the model in memory."""
    rewards = held_out_rewards(model, sets, settings)
    for name, sides in rewards.items():
        records, trees = data.evaluation_set(name, data.encoder, data.config.max_length)
        rows = [
            score_row(record, tree, [*chosen, *rejected], None)
            for record, tree, (chosen, rejected) in zip(records, trees, sides, strict=True)
        ]
        write_scores(settings.run.scores(name), rows)


def rehearse_kind(name: str, kind: str, place: Place) -> dict[str, float]:
    """Rehearse a kind; return its share of the training by the forecast's own count."""
    runner = open_case(name, place)
    (model,) = runner.grid.models
    config = runner.forecast_config(model, list(runner.grid.experiment.kinds))
    template = ChatTemplate.load(locate_model(config.model), config.template)
    encoder = find_kind(kind).encoding(template, KindConfig.of(config))
    runner.data.check(config)
    data = RunData.open(config, encoder, runner.data)
    rehearsed = rehearse(config, kind, data, runner.data)
    return {"share": rehearsed.share, "seeds": rehearsed.plan.seeds}


def forecast_case(name: str, place: Place) -> dict[str, Any]:
    """Forecast all kinds from their rehearsals; return the forecast, too."""
    runner = open_case(name, place)
    (model,) = runner.grid.models
    runner.forecast(model)
    return {}


def take_in(jobs: Mapping[str, Mapping[str, Any]], runs: Path) -> list[str]:
    """Put the cases whose forecast is done into the suite's results; return their names.

    The seconds of all their jobs go into `forecast_clock.json`.
    """
    results = json.loads(suite.RESULTS.read_text())
    clock = json.loads(CLOCK.read_text()) if CLOCK.exists() else {}
    taken = []
    for name in suite.CASES:
        folder = f"{PREFIX}/{suite.folder_of(name)}"
        trained = [job for job in jobs if job.startswith(f"{folder}/train-")]
        if f"{folder}/forecast" in jobs and trained:
            results[name] = suite.compare(runs / suite.folder_of(name))
            taken.append(name)
        of_case = {
            job.rpartition("/")[2]: {"seconds": entry["seconds"], **(entry["result"] or {})}
            for job, entry in jobs.items()
            if job.startswith(f"{folder}/")
        }
        clock |= {name: of_case} if of_case else {}
    write_text(suite.RESULTS, json.dumps(results, indent=1) + "\n")
    write_text(CLOCK, json.dumps(clock, indent=1) + "\n")
    return taken


def costs(clock: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[tuple[str, ...]]:
    """Return lines on what forecasts took beside the training of each kind once."""
    lines = [("case", "rehearsals", "theory", "training every kind once", "share")]
    for name, jobs in clock.items():
        rehearsals = sum(of["seconds"] for job, of in jobs.items() if job.startswith("rehearse-"))
        theory = jobs.get("forecast", {}).get("seconds")
        kinds = {job.split("-", 1)[1].rpartition("-")[0] for job in jobs if "train-" in job}
        means = [
            sum(seconds) / len(seconds)
            for kind in kinds
            if (seconds := [of["seconds"] for job, of in jobs.items() if f"train-{kind}-" in job])
        ]
        if theory is not None and means:
            share = (rehearsals + theory) / sum(means)
            figures = (rehearsals, theory, sum(means))
            lines.append((name, *(f"{figure:.0f} s" for figure in figures), f"{share:.2f}"))
    return lines
