"""The command score: rewards of the responses of data, by any model."""

from typing import Any

from rewardgap.commands.command import Command, say_metrics


def _say(config: Any, written: Any) -> str:
    """Return what a score file measures, or how many rewards it has if there are no labels."""
    from rewardgap.evaluation.unlabelled import count_rewards

    counts = count_rewards(written.path)
    if counts is None:
        return say_metrics(config, written.path)
    return f"rewards of {counts[0]} responses to {counts[1]} prompts\nwrote {written}\n"


def _figures(written: Any) -> Any:
    return {"out": str(written), **written.figures()}


SCORE = Command(
    "score",
    ".scoring.score:score",
    ".configs.scoring:ScoreConfig",
    _say,
    "rewardgap score runs/explicit --data more.jsonl --out scores.jsonl",
    positional="model",
    figures=_figures,
)
