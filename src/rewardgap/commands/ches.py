"""The command ches: pairs whose chosen response is displaced most."""

from collections.abc import Sequence
from typing import Any

from rewardgap.commands.command import Command

SHOWN, WIDTH = 5, 28
"""Pairs, and characters of a response."""


def _say(config: Any, result: Any) -> str:
    """Return the pairs whose chosen response is displaced most, whatever the lengths."""
    from rewardgap.evaluation.text import align_columns

    rows: list[Sequence[str]] = [("CHES", "row", "record", "chosen", "rejected")]
    for score in result.worst[:SHOWN]:
        texts = (" ".join(text.split()) for text in result.texts(score))
        shown = (text if len(text) <= WIDTH else f"{text[:WIDTH]}…" for text in texts)
        rows.append((f"{score.length_normalised:.4g}", str(score.data_row), score.id, *shown))
    title = "pairs whose chosen response is displaced most (length-normalised CHES score):"
    return "\n".join([title, align_columns(rows, right=[0, 1]), f"wrote {config.out}\n"])


def _figures(result: Any) -> Any:
    return result.rows()


CHES = Command(
    "ches",
    ".explaining.displacement:ches",
    ".configs.forecasting:ChesConfig",
    _say,
    "rewardgap ches MODEL --data pairs.jsonl --out ches.jsonl",
    positional="model",
    figures=_figures,
)
