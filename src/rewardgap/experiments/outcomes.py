"""What the runs of an experiment came to: accuracies by kind and set, and how fast they trained."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from statistics import fmean
from typing import Any

from rewardgap.errors import UserError
from rewardgap.evaluation.text import align_columns
from rewardgap.io.files import read_json
from rewardgap.io.grid_folder import Cell

Accuracies = Mapping[tuple[str, str], Mapping[str, list[float]]]
"""By (model and variation, kind) and evaluation set, the accuracy of each seed's run."""


def read_accuracies(cells: Iterable[Cell]) -> Accuracies:
    """Return the accuracies of the runs that are measured."""
    accuracies: dict[tuple[str, str], dict[str, list[float]]] = {}
    for cell in cells:
        if cell.run.metrics.exists():
            of_cells = accuracies.setdefault((cell.subject, cell.kind), {})
            for name, figures in read_json(cell.run.metrics).items():
                of_cells.setdefault(name, []).append(figures["accuracy"]["value"])
    return accuracies


def as_rows(accuracies: Accuracies) -> list[dict[str, Any]]:
    """Return a row for each model, kind and set, with the mean over seeds."""
    return [
        {
            **{"model": subject, "kind": kind, "set": name},
            **{"accuracy": fmean(values), "seeds": len(values)},
        }
        for (subject, kind), sets in accuracies.items()
        for name, values in sets.items()
    ]


def format_accuracies(accuracies: Accuracies) -> str:
    """Return a line for each model and kind, with the mean accuracy on every set."""
    if not accuracies:
        return ""
    sets = list(dict.fromkeys(name for of_cells in accuracies.values() for name in of_cells))
    rows = [("accuracy", "", *sets, "runs")]
    for (subject, kind), of_cells in accuracies.items():
        means = [f"{fmean(of_cells[name]):.3f}" if name in of_cells else "" for name in sets]
        rows.append((subject, kind, *means, str(max(map(len, of_cells.values()), default=0))))
    return align_columns(rows, right=range(2, len(sets) + 3)) + "\n"


def read_speeds(cells: Iterable[Cell]) -> dict[tuple[str, str], float]:
    """Return tokens trained per second, by model and kind, of runs that have begun here."""
    speeds: dict[tuple[str, str], list[float]] = {}
    for cell in cells:
        with suppress(UserError, ValueError, KeyError):
            seconds = [1 / row["tokens_per_second"] for row in cell.run.read_log()]
            speeds.setdefault((cell.model, cell.kind), []).append(1 / fmean(seconds))
    return {key: fmean(values) for key, values in speeds.items()}
