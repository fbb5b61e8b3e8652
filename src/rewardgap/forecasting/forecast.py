"""Forecast how accurate every kind of reward model will be, before any is trained.

From the initial language model alone: a forward pass over the data gives every response a vector
(features), inner products of these are kernels, gradient descent in a kernel gives the rewards all
the way from the first step to convergence, and these are measured like those of any reward model
(outcome). What they mean is said in a table and in words (recommendation).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.dropped import Dropped, write_dropped
from rewardgap.data.encoding import ChatEncoding
from rewardgap.data.prepared import PreparedData, RunData
from rewardgap.dynamics.projection import GIB
from rewardgap.errors import UserError
from rewardgap.evaluation.scores import write_scores
from rewardgap.forecasting.features import FeatureReader
from rewardgap.forecasting.kernels import KindKernels, read_kernels
from rewardgap.forecasting.outcome import ForecastSet, ForecastTraining, predict, token_overlap
from rewardgap.forecasting.recommendation import (
    Outcomes,
    describe_projections,
    format_forecast,
    recommend,
)
from rewardgap.io.cache import cache_folder
from rewardgap.io.files import write_text
from rewardgap.models.devices import choose_device, choose_dtype
from rewardgap.models.hub import fingerprint, locate_model
from rewardgap.models.kinds import KINDS, find_kind
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.language_model import LanguageModel


@dataclass(frozen=True)
class ForecastResult:
    """What was forecast: as numbers, as a table, and in words which kind to train."""

    outcomes: Outcomes
    table: str
    recommendation: str


def forecast(config: ForecastConfig, shared: PreparedData | None = None) -> ForecastResult:
    """Forecast every kind on every evaluation set.

    Write `config.yaml`, `forecast.json` ({set: {kind: figures}}), `forecast.txt`, and for every
    kind and set a score file `scores/KIND/SET.jsonl` into `out`. Records and trees are `shared`
    with other work on the same data.

    Raises:
        UserError: If the data, the model or the configuration does not allow it.
    """
    _check_kinds(config.kinds)
    shared = shared or PreparedData()
    shared.check(config)
    out = Path(config.out)
    write_text(out / "config.yaml", yaml.safe_dump(asdict(config), sort_keys=False))
    models = _open_models(config)
    data = _open_data(models, config, shared)
    write_dropped(out / "dropped.jsonl", _dropped(data.values()))
    kernels = _read_kernels(models, data, config)
    trainings = {
        kind: ForecastTraining.on(of_kind.training, of_kind.rows_per_pair, config.loss)
        for kind, of_kind in kernels.items()
    }
    sets = _evaluation_sets(next(iter(data.values())))
    outcomes = {
        name: {
            kind: predict(trainings[kind], of_kind.evaluation[name], evaluated, config.loss)
            for kind, of_kind in kernels.items()
        }
        for name, evaluated in sets.items()
    }
    projections = {kind: of_kind.projection for kind, of_kind in kernels.items()}
    table = f"{format_forecast(outcomes, config.loss)}\n\n{describe_projections(projections)}"
    result = ForecastResult(outcomes, table, recommend(outcomes, config.loss))
    report: dict[str, dict[str, Any]] = {name: {} for name in outcomes}
    for name, kind in product(outcomes, config.kinds):
        outcome = outcomes[name][kind]
        report[name][kind] = outcome.to_json() | {"sketch": projections[kind].to_json()}
        write_scores(out / "scores" / kind / f"{name}.jsonl", outcome.rows)
    write_text(out / "forecast.json", json.dumps(report, indent=1) + "\n")
    write_text(out / "forecast.txt", f"{result.table}\n\n{result.recommendation}\n")
    return result


def _check_kinds(kinds: Sequence[str]) -> None:
    for kind in kinds:
        if find_kind(kind).equation is None:
            trained = [name for name in KINDS if find_kind(name).equation]
            raise UserError(
                f"kind {kind!r} has no forecast, as training does not change its rewards; the "
                f"kinds that have are {', '.join(trained)}"
            )


def _open_models(config: ForecastConfig) -> dict[str, TrainedRewardModel]:
    """Return every kind's reward model before training, all on one language model."""
    folder = locate_model(config.model)
    template = ChatTemplate.load(folder, config.template)
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    language_model = LanguageModel.load(folder, template, dtype=dtype).to(device)
    models = {}
    for kind in config.kinds:
        cls = find_kind(kind)
        assert issubclass(cls, TrainedRewardModel)
        models[kind] = cls(cls.adapt(language_model, config.seed), template, KindConfig.of(config))
    return models


def _open_data(
    models: Mapping[str, TrainedRewardModel], config: ForecastConfig, shared: PreparedData
) -> dict[type[ChatEncoding], RunData]:
    """Return the data as every encoding of the models writes them."""
    encoders = {model.encoding: model.encoder for model in models.values()}
    return {
        encoding: RunData.open(config, encoder, shared) for encoding, encoder in encoders.items()
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


def _read_kernels(
    models: Mapping[str, TrainedRewardModel],
    data: Mapping[type[ChatEncoding], RunData],
    config: ForecastConfig,
) -> dict[str, KindKernels]:
    """Return all kernels by kind; kinds that write records alike share a pass over the data."""
    weights, memory = fingerprint(locate_model(config.model)), int(config.memory * GIB)
    folder = cache_folder(config.cache) / "forecast"
    kernels: dict[str, KindKernels] = {}
    for encoding, encoded in data.items():
        group = {kind: model for kind, model in models.items() if model.encoding is encoding}
        model, training = next(iter(group.values())), list(encoded.training)
        reader = FeatureReader.of(group, training, memory, config.seed, config.token_budget)
        identity = f"{weights} {model.model.dtype} {model.options} {config.seed}"
        kernels |= read_kernels(reader, training, encoded.evaluation, folder, identity)
    return {kind: kernels[kind] for kind in models}


def _evaluation_sets(data: RunData) -> dict[str, ForecastSet]:
    """Return the evaluation sets as any of the kinds writes them: lengths are alike for all."""
    training, baseline = list(data.training), data.bag_of_words()
    sets = {}
    for name in data.evaluation:
        records, trees = data.evaluation_set(name, data.encoder, data.config.max_length)
        sets[name] = ForecastSet(records, trees, baseline, token_overlap(training, trees))
    return sets
