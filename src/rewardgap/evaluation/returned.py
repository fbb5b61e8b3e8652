"""What the commands score and metrics return."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rewardgap.evaluation.accuracy import record_accuracies
from rewardgap.io.notebook import NotebookResult

SIDES = {"scores_chosen": "chosen", "scores_rejected": "rejected", "scores": "response"}


class _Metrics(NamedTuple):
    figures: dict[str, Any]
    table: str


class MetricsResult(NotebookResult, _Metrics):
    """Figures by score file, as `rewardgap metrics --json` has them, and the table as text."""

    __slots__ = ()

    def __repr__(self) -> str:
        accuracies = ", ".join(
            f"{file} {figures['accuracy']['value']:.3f}" for file, figures in self.figures.items()
        )
        return f"MetricsResult(accuracy: {accuracies})"

    def __str__(self) -> str:
        return self.table

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each file: records, ties, and every measure with its interval."""
        return [
            {"file": file, "records": figures["n"], "ties": figures["ties"], **_columns(figures)}
            for file, figures in self.figures.items()
        ]


def _columns(figures: dict[str, Any]) -> dict[str, float]:
    """Return measures and baselines, each with the ends of its interval."""
    return {
        name if part == "value" else f"{name}_{part}": number
        for name, interval in (figures | figures["baselines"]).items()
        if isinstance(interval, dict) and interval.keys() == {"value", "low", "high"}
        for part, number in interval.items()
    }


@dataclass(frozen=True, repr=False)
class ScoreResult(NotebookResult, os.PathLike[str]):
    """A score file; it stands for its path wherever a path is wanted."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        rows = list(self._records())
        labelled = [(row["scores_chosen"], row["scores_rejected"]) for row in rows[:1] if "scores_chosen" in row]
        rewards = [
            tuple(tuple(values) if isinstance(values, list) else (values,) for values in sides)
            for sides in labelled
        ]
        accuracy = f", accuracy {record_accuracies(rewards).mean():.3f}" if rewards else ""
        return f"ScoreResult({str(self.path)!r}: {len(rows)} records{accuracy})"

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each response: the record's id, its side, its reward and length."""
        return [response for record in self._records() for response in _responses(record)]

    def _records(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)
