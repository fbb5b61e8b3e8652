"""The theory's forecast: all kinds along gradient descent in the last layer, in closed form.

A forward pass of the initial language model over the data gives every response a vector (features),
inner products of these are kernels, and gradient descent in a kernel gives the rewards all the way
from the first step to convergence, which are measured like those of any reward model (outcome).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from rewardgap.configs.forecasting import ForecastConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.encoding import ChatEncoding
from rewardgap.data.prepared import RunData
from rewardgap.data.trees import Tree
from rewardgap.dynamics.projection import GIB, RandomProjection
from rewardgap.forecasting.features import FeatureReader
from rewardgap.forecasting.kernels import KindKernels, read_kernels
from rewardgap.forecasting.outcome import (
    ForecastOutcome,
    ForecastSet,
    ForecastTraining,
    predict,
    token_overlap,
)
from rewardgap.forecasting.rehearsal import draw
from rewardgap.io.cache import cache_folder
from rewardgap.models.devices import choose_device, choose_dtype
from rewardgap.models.hub import fingerprint, locate_model
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.language_model import LanguageModel

Outcomes: TypeAlias = Mapping[str, Mapping[str, ForecastOutcome]]
"""By evaluation set and kind."""

MOST_PAIRS = 256
"""Training records that theory reads beside rehearsals."""
LOSS = 0.3
"""Training loss of a pair at which theory stops where nothing else says where training does."""


@dataclass(frozen=True)
class Theory:
    """What theory forecasts, and by how much its gradients were projected, by kind."""

    outcomes: Outcomes
    projections: Mapping[str, RandomProjection]


def forecast_by_theory(
    config: ForecastConfig,
    data: Mapping[type[ChatEncoding], RunData],
    losses: Mapping[str, float],
    rows: int | None,
) -> Theory:
    """Forecast every kind on every set, at the loss of a pair at which its training stops.

    With `rows`, on that many records of every set, those that rehearsals follow, and with at most
    `MOST_PAIRS` training records, so that rehearsals and theory together stay cheap.
    """
    kernels = _read_kernels(_open_models(config), data, config, rows)
    trainings = {
        kind: ForecastTraining.on(of_kind.training, of_kind.rows_per_pair, losses[kind])
        for kind, of_kind in kernels.items()
    }
    sets = _evaluation_sets(next(iter(data.values())), rows)
    outcomes = {
        name: {
            kind: predict(trainings[kind], of_kind.evaluation[name], evaluated, losses[kind])
            for kind, of_kind in kernels.items()
        }
        for name, evaluated in sets.items()
    }
    return Theory(outcomes, {kind: of_kind.projection for kind, of_kind in kernels.items()})


def _open_models(config: ForecastConfig) -> dict[str, TrainedRewardModel]:
    """Return every kind's reward model before training, all on one language model."""
    folder = locate_model(config.model)
    template = ChatTemplate.load(folder, config.template)
    device = choose_device(config.device)
    dtype = choose_dtype(config.dtype, device)
    language_model = LanguageModel.load(folder, template, dtype=dtype)
    models = {}
    for kind in config.kinds:
        cls = find_kind(kind)
        assert issubclass(cls, TrainedRewardModel)
        models[kind] = cls(cls.adapt(language_model, config.seed), template, KindConfig.of(config))
    # Only now, for `adapt` checks a model where it was loaded.
    return {kind: model.to(device) for kind, model in models.items()}


def _read_kernels(
    models: Mapping[str, TrainedRewardModel],
    data: Mapping[type[ChatEncoding], RunData],
    config: ForecastConfig,
    rows: int | None,
) -> dict[str, KindKernels]:
    """Return all kernels by kind; kinds that write records alike share a pass over the data."""
    weights, memory = fingerprint(locate_model(config.model)), int(config.memory * GIB)
    folder = cache_folder(config.cache) / "forecast"
    kernels: dict[str, KindKernels] = {}
    for encoding, encoded in data.items():
        group = {kind: model for kind, model in models.items() if model.encoding is encoding}
        model, training = next(iter(group.values())), _training(encoded, rows)
        reader = FeatureReader.of(group, training, memory, config.seed, config.token_budget)
        identity = f"{weights} {model.model.dtype} {model.options} {config.seed}"
        evaluation = {name: draw(trees, rows) for name, trees in encoded.evaluation.items()}
        kernels |= read_kernels(reader, training, evaluation, folder, identity)
    return {kind: kernels[kind] for kind in models}


def _training(data: RunData, rows: int | None) -> list[Tree]:
    """Return the training records that theory reads."""
    return draw(data.training, None if rows is None else MOST_PAIRS)


def _evaluation_sets(data: RunData, rows: int | None) -> dict[str, ForecastSet]:
    """Return the evaluation sets as any of the kinds writes them: lengths are alike for all."""
    training, baseline = _training(data, rows), data.bag_of_words()
    sets = {}
    for name in data.evaluation:
        records, trees = data.evaluation_set(name, data.encoder, data.config.max_length)
        overlap = token_overlap(training, trees)
        sets[name] = ForecastSet(draw(records, rows), draw(trees, rows), baseline, overlap)
    return sets
