"""The command ches: pairs whose chosen response is displaced most."""

from typing import Any

from rewardgap.commands.command import Command


def _say(config: Any, scores: Any) -> str:
    """Return the pairs whose chosen response is displaced most, whatever the lengths."""
    from rewardgap.evaluation.text import align_columns

    worst = sorted(scores, key=lambda score: -score.length_normalised)[:5]
    rows = [(f"{score.length_normalised:.4g}", score.id) for score in worst]
    title = "most displaced (length-normalised CHES score, record):"
    lines = [align_columns(rows, right=[0])] if rows else []
    return "\n".join([title, *lines, f"wrote {config.out}\n"])


CHES = Command(
    "ches",
    ".explaining.displacement:ches",
    ".configs.forecasting:ChesConfig",
    _say,
    "rewardgap ches MODEL --data pairs.jsonl --out ches.jsonl",
    positional="model",
)
