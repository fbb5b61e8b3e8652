"""Forecast how accurate every kind of reward model will be, before any is trained.

rehearsal    every step of the training for real, with a few pairs in each
prediction   the accuracy of the trained model, and how sure that is
theory       gradient descent in the last layer, in closed form, from one forward pass
verdict      both as a table, and in sentences that are nearly always right
page         the same with pictures
"""

import json
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.dropped import Dropped, write_dropped
from rewardgap.data.encoding import ChatEncoding
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.prepared import PreparedData, RunData
from rewardgap.errors import UserError
from rewardgap.evaluation.accuracy import prompt_clusters
from rewardgap.evaluation.measures import summarise
from rewardgap.evaluation.scores import ScoreRow, score_row, write_scores
from rewardgap.evaluation.text import counted
from rewardgap.forecasting.page import write_page
from rewardgap.forecasting.prediction import Prediction, predict_from
from rewardgap.forecasting.rehearsal import Rehearsed, rehearse
from rewardgap.forecasting.theory import LOSS, Outcomes, Theory, forecast_by_theory
from rewardgap.forecasting.verdict import (
    Forecasts,
    describe,
    format_forecast,
    recommend,
    write_list,
)
from rewardgap.io.files import differing_keys, read_yaml, write_text
from rewardgap.io.notebook import NotebookResult
from rewardgap.models.devices import choose_device
from rewardgap.models.hub import locate_model
from rewardgap.models.kinds import KINDS, find_kind

logger = logging.getLogger(__name__)

PLACE = {"out", "cache", "device", "token_budget", "memory"}
"""Keys that may differ in a forecast that is continued."""


@dataclass(frozen=True, repr=False)
class ForecastResult(NotebookResult):
    """What was forecast: as numbers, as a table, and in words which kind to train."""

    forecasts: Forecasts
    table: str
    recommendation: str

    def __str__(self) -> str:
        return "\n\n".join(part for part in (self.table, self.recommendation) if part)

    def __repr__(self) -> str:
        sets = ", ".join(self.forecasts.theory)
        return f"ForecastResult(accuracy of {', '.join(self.forecasts.kinds)} on {sets})"

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each set and kind: the accuracy with its interval, and theory's."""
        return [
            {
                **{"set": name, "kind": kind},
                **{"accuracy": expected.value, "low": expected.low, "high": expected.high},
                "theory": outcome.accuracy.value,
            }
            for name, of_set in self.forecasts.theory.items()
            for kind, outcome in of_set.items()
            for expected in [self.forecasts.accuracy(name, kind)]
        ]


@by_keywords(ForecastConfig)
def forecast(config: ForecastConfig, shared: PreparedData | None = None) -> ForecastResult:
    """Forecast every kind on every evaluation set.

    Write into `out`: `config.yaml`, the run folders of the rehearsals, `forecast.json` ({set:
    {kind: figures}}), `forecast.txt`, `forecast.html`, and for every kind and set a score file
    `scores/KIND/SET.jsonl` of theory's rewards (beside rehearsals: of the records that these
    follow). Records and trees are `shared` with other work on the same data. Rehearsals that are
    done are not done again.

    Raises:
        UserError: If the data, the model or the configuration does not allow it.
    """
    _check_kinds(config.kinds)
    shared = shared or PreparedData()
    shared.check(config)
    out = Path(config.out)
    _open_folder(out, config)
    data = _open_data(config, shared)
    _say_start(config, next(iter(data.values())))
    write_dropped(out / "dropped.jsonl", _dropped(data.values()))
    rehearsed = {
        kind: rehearse(config, kind, data[find_kind(kind).encoding], shared)
        for kind in config.kinds
        if config.budget != 0
    }
    rows = max((of_kind.plan.rows for of_kind in rehearsed.values()), default=None)
    theory = forecast_by_theory(config, data, _losses(config, rehearsed), rows)
    evaluation = _unscored(next(iter(data.values())))
    forecasts = Forecasts(
        theory.outcomes,
        _predictions(config, rehearsed, evaluation, theory.outcomes) if rehearsed else {},
        rehearsed,
        {name: summarise(of_set).baselines for name, of_set in evaluation.items()},
    )
    words = write_list(recommend(forecasts))
    result = ForecastResult(forecasts, format_forecast(forecasts), words)
    _write(out, config.kinds, result, theory)
    return result


def _open_folder(out: Path, config: ForecastConfig) -> None:
    """Write what is forecast, into a folder that holds no forecast of something else.

    One that is there may get further kinds; with `overwrite` it is removed.

    Raises:
        UserError: The folder holds another forecast.
    """
    path, settings = out / "config.yaml", config.settings()
    differing = _differing(path, settings) if (out / "forecast.json").exists() else []
    if differing and not config.overwrite:
        remedy = "choose another out, or pass `overwrite: true`"
        raise UserError(f"{out} holds a forecast with another {', '.join(differing)}; {remedy}")
    if differing:
        shutil.rmtree(out)
    write_text(path, yaml.safe_dump(settings, sort_keys=False))


def _differing(path: Path, settings: Mapping[str, Any]) -> list[str]:
    """Return the keys by which a forecast's configuration differs from these settings."""
    before = read_yaml(path)
    if not isinstance(before, dict):
        return [path.name]
    grown = set(before.get("kinds", ())) <= set(settings["kinds"])
    return differing_keys(before, settings, PLACE | ({"kinds"} if grown else set()))


def _say_start(config: ForecastConfig, data: RunData) -> None:
    """Say what will be forecast of what, and how."""
    sets = ", ".join(f"{name} ({len(trees):,})" for name, trees in data.evaluation.items())
    pairs = int(data.training.pairs.sum(dtype=np.int64))
    epochs = counted(config.epochs, "epoch")
    logger.info(
        "forecasting %s on %s: %s; records of sets: %s; %s",
        *(", ".join(config.kinds), config.model, counted(pairs, "training pair"), sets),
        "theory alone"
        if config.budget == 0
        else f"rehearsing every step of {epochs} with a few pairs in each, on "
        f"{choose_device(config.device)}",
    )


def _losses(config: ForecastConfig, rehearsed: Mapping[str, Rehearsed]) -> dict[str, float]:
    """Return the loss of a pair at which theory stops, by kind."""
    ends = {kind: rehearsals.last_loss for kind, rehearsals in rehearsed.items()}
    return {kind: config.loss or ends.get(kind, LOSS) for kind in config.kinds}


def _unscored(data: RunData) -> dict[str, list[ScoreRow]]:
    """Return the rows of every evaluation set, without rewards: prompts and lengths."""
    rows = {}
    for name in data.evaluation:
        records, trees = data.evaluation_set(name, data.encoder, data.config.max_length)
        rows[name] = [
            score_row(record, tree, [0.0] * len(record.responses), None)
            for record, tree in zip(records, trees, strict=True)
        ]
    return rows


def _predictions(
    config: ForecastConfig,
    rehearsed: Mapping[str, Rehearsed],
    evaluation: Mapping[str, Sequence[ScoreRow]],
    theory: Outcomes,
) -> dict[str, dict[str, Prediction]]:
    """Return what rehearsals predict, with theory where both agree, by evaluation set and kind."""
    return {
        name: {
            kind: predict_from(
                of_kind.rehearsals,
                name,
                prompt_clusters(rows),
                config.loss,
                new_head=find_kind(kind).new_head,
            ).with_theory(theory[name][kind].accuracy.value)
            for kind, of_kind in rehearsed.items()
        }
        for name, rows in evaluation.items()
    }


def _write(out: Path, kinds: Sequence[str], result: ForecastResult, theory: Theory) -> None:
    report: dict[str, dict[str, Any]] = {name: {} for name in theory.outcomes}
    for name, kind in product(theory.outcomes, kinds):
        outcome = theory.outcomes[name][kind]
        figures = outcome.to_json() | {"sketch": theory.projections[kind].to_json()}
        report[name][kind] = result.forecasts.to_json(name, kind, figures)
        write_scores(out / "scores" / kind / f"{name}.jsonl", outcome.rows)
    write_text(out / "forecast.json", json.dumps(report, indent=1) + "\n")
    sections = (result.table, result.recommendation, describe(theory.projections))
    write_page(out / "forecast.html", result.forecasts)
    write_text(out / "forecast.txt", "\n\n".join(sections) + "\n")


def _check_kinds(kinds: Sequence[str]) -> None:
    for kind in kinds:
        if find_kind(kind).equation is None:
            trained = [name for name in KINDS if find_kind(name).equation]
            raise UserError(
                f"kind {kind!r} has no forecast, as training does not change its rewards; the "
                f"kinds that have are {', '.join(trained)}"
            )


def _open_data(config: ForecastConfig, shared: PreparedData) -> dict[type[ChatEncoding], RunData]:
    """Return the data as every encoding of the kinds writes them."""
    template = ChatTemplate.load(locate_model(config.model), config.template)
    encodings = dict.fromkeys(find_kind(kind).encoding for kind in config.kinds)
    options = KindConfig.of(config)
    return {
        encoding: RunData.open(config, encoding(template, options), shared)
        for encoding in encodings
    }


def _dropped(encodings: Iterable[RunData]) -> dict[str, Dropped]:
    """Return the records that any encoding drops; raise a UserError where they evaluate others."""
    first, *rest = encodings
    dropped = first.dropped
    for encoded in rest:
        for name, trees in encoded.evaluation.items():
            if [t.record for t in trees] != [t.record for t in first.evaluation[name]]:
                raise UserError(
                    f"{name}: the chat template cannot write the same records for all kinds: "
                    "forecast them one by one"
                )
        for name, records in encoded.dropped.items():
            dropped[name] = list(dict.fromkeys([*dropped[name], *records]))
    return dropped
