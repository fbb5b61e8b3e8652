"""The command forecast: how accurate each kind would be, before training."""

from typing import Any

from rewardgap.commands.command import Command


def _say(config: Any, forecast: Any) -> str:
    return f"{forecast}\nwrote {config.out}/forecast.json\n"


def _figures(forecast: Any) -> Any:
    from rewardgap.forecasting.verdict import recommend

    return {"accuracies": forecast.rows(), "recommendation": recommend(forecast.forecasts)}


FORECAST = Command(
    "forecast",
    ".forecasting.forecast:forecast",
    ".configs.forecasting:ForecastConfig",
    _say,
    "rewardgap forecast --model MODEL --train pairs.jsonl --eval.test test.jsonl --out forecast",
    figures=_figures,
)
