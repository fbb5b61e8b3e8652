"""The command forecast: how accurate each kind would be, before training."""

from typing import Any

from rewardgap.commands.command import Command


def _say(config: Any, forecast: Any) -> str:
    parts = [part for part in (forecast.table, forecast.recommendation) if part]
    return "\n\n".join(parts) + f"\nwrote {config.out}/forecast.json\n"


FORECAST = Command(
    "forecast",
    ".forecasting.forecast:forecast",
    ".configs.forecasting:ForecastConfig",
    _say,
    "rewardgap forecast --model MODEL --train pairs.jsonl --eval.test test.jsonl --out forecast",
)
