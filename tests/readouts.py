"""Read-outs of tiny models, and their features, for tests of the forecast."""

from collections.abc import Sequence
from pathlib import Path

import torch
from plain import RECORDS

from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.records import Record
from rewardgap.dynamics.projection import Limits
from rewardgap.dynamics.readouts import READOUTS, Readout
from rewardgap.forecasting.features import Features
from rewardgap.forecasting.passes import Amount, Pass, Reader
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.trained import TrainedRewardModel
from rewardgap.models.language_model import load_model

EXACT = Limits(2**40, 0)
PAIRS = RECORDS[1:]
DATA = Amount(
    pairs=sum(len(record.chosen) * len(record.rejected) for record in PAIRS),
    responses=sum(len(record.responses) for record in PAIRS),
)


def make_readout(kind: str, folder: Path) -> Readout:
    template = ChatTemplate.load(folder)
    options = KindConfig(beta=0.5)
    model = load_model(folder, template).eval()
    cls = find_kind(kind)
    assert issubclass(cls, TrainedRewardModel)
    return READOUTS[kind](cls(cls.adapt(model, 0), template, options))


def read(
    over: Pass, kind: str, budget: int = 4096, records: Sequence[Record] = RECORDS
) -> Features:
    """Features of all responses, in order."""
    parts = list(Reader(torch.device("cpu"), budget).packs(over, over.model.encode(records)))
    places = torch.tensor([number for numbers, _ in parts for number in numbers]).argsort()
    values, scores, probes = (
        torch.cat([getattr(found[kind], name) for _, found in parts])
        for name in ("values", "scores", "probes")
    )
    return Features(values[places], scores[places], probes[places] if len(probes) else probes)
