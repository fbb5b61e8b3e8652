"""What the commands score and metrics return."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rewardgap.evaluation.measures import summarise
from rewardgap.evaluation.scores import read_scores
from rewardgap.evaluation.text import counted
from rewardgap.evaluation.unlabelled import count_rewards
from rewardgap.io.notebook import NotebookResult


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

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        figures = self.figures()
        if "responses" in figures:
            prompts = counted(figures["prompts"], "prompt")
            text = f"rewards of {figures['responses']:,} responses to {prompts}"
        else:
            accuracy = figures["accuracy"]["value"]
            text = f"{counted(figures['n'], 'record')}, accuracy {accuracy:.3f}"
        return f"ScoreResult({str(self.path)!r}: {text})"

    def figures(self) -> dict[str, Any]:
        """Return the measures, or where there are no labels, how many responses are scored."""
        counts = count_rewards(self.path)
        if counts is None:
            return summarise(read_scores(self.path)).to_json()
        return {"responses": counts[0], "prompts": counts[1]}

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each response: its record's id, its side, its reward and its length."""
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [response for line in lines for response in _responses(json.loads(line))]


def _responses(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key in ("scores_chosen", "scores_rejected", "scores"):
        if key in record:
            sides = record[key], record[key.replace("scores", "tokens")]
            rewards, lengths = (side if isinstance(side, list) else [side] for side in sides)
            name = key.partition("_")[2] or "response"
            for index, (reward, length) in enumerate(zip(rewards, lengths, strict=True)):
                yield {
                    **{"id": record["id"], "response": name, "index": index},
                    **{"reward": reward, "tokens": length, "truncated": record["truncated"]},
                }
