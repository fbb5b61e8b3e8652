"""Reward models before training on tiny language models, and their features: for the forecast."""

from collections.abc import Sequence
from pathlib import Path

import torch
from plain import RECORDS

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.records import Record
from rewardgap.forecasting.features import FeatureReader, Features
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.language_model import LanguageModel

PAIRS = RECORDS[1:]


def make_model(kind: str, folder: Path) -> TrainedRewardModel:
    template = ChatTemplate.load(folder)
    cls = find_kind(kind)
    assert issubclass(cls, TrainedRewardModel)
    language_model = LanguageModel.load(folder, template)
    return cls(cls.adapt(language_model, 0), template, KindConfig(beta=0.5))


def make_reader(memory: int = 2**40, seed: int = 0, **models: TrainedRewardModel) -> FeatureReader:
    """A reader of the features of models by kind, with `_` for `-`; all write records alike."""
    by_kind = {name.replace("_", "-"): model for name, model in models.items()}
    trees = next(iter(by_kind.values())).encode(PAIRS)
    return FeatureReader.of(by_kind, trees, memory, seed, token_budget=4096)


def reader_of(kind: str, folder: Path, memory: int = 2**40) -> FeatureReader:
    return make_reader(memory, **{kind: make_model(kind, folder)})


def read(reader: FeatureReader, kind: str, records: Sequence[Record] = RECORDS) -> Features:
    """Features of all responses, in order."""
    parts = list(reader.batches(reader.model.encode(records)))
    places = torch.tensor([index for indices, _ in parts for index in indices]).argsort()
    values, scores, vectors = (
        torch.cat([getattr(features[kind], name) for _, features in parts])
        for name in ("values", "scores", "test_vectors")
    )
    return Features(values[places], scores[places], vectors[places] if len(vectors) else vectors)
