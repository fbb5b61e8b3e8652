"""The command run: a grid of models, kinds and seeds from one YAML file."""

from dataclasses import asdict
from typing import Any

from rewardgap.commands.command import Command, advise_report, resume_grid


def _say(config: Any, plan: Any) -> str:
    return str(plan.table) if config.dry_run else f"{plan}wrote {plan.folder}\n"


def _figures(plan: Any) -> Any:
    from rewardgap.experiments.outcomes import as_rows

    cells = [{"cell": place, "state": state, **asdict(cost)} for place, state, cost in plan.lines]
    accuracies = as_rows(plan.accuracies)
    return {"folder": str(plan.folder), "cells": cells, "accuracies": accuracies}


def _advise(config: Any) -> str:
    from rewardgap.experiments.executors import EXECUTORS

    if config.dry_run:
        return ""
    submission = EXECUTORS[config.executor].next_command(config)
    return f"next: {submission}" if submission else advise_report(config)


RUN = Command(
    "run",
    ".experiments.run:run",
    ".configs.experiments:RunConfig",
    _say,
    "rewardgap run experiments/math.yaml --profile small --models MODEL --out runs/math",
    positional="experiment",
    settings=".configs.training:TrainConfig",
    check=".experiments.experiment:read_experiment",
    advice=_advise,
    figures=_figures,
    resumed=resume_grid,
)
