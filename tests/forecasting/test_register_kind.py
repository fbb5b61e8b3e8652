"""A kind from outside the package is forecast and explained by what its own file says."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from example_kind import LengthNormalised
from plain import RECORDS
from toy import train_toy
from untrained import read, reader_of

from rewardgap.configs.forecasting import ExplainConfig, ForecastConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.evaluation.scores import read_scores
from rewardgap.explaining.explain import explain
from rewardgap.explaining.influence import ExplainedRecord, measure_contributions
from rewardgap.forecasting.forecast import forecast
from rewardgap.forecasting.kernels import products
from rewardgap.models.kinds import KINDS, register_kind
from rewardgap.models.kinds.gradients import Terms
from rewardgap.models.packing import pack
from rewardgap.testing import check_kind

KIND = "explained-length-normalised"


class ExplainedLengthNormalised(LengthNormalised):
    """The example of docs/kinds.md with its gradient terms."""

    equation = "eq. 5"
    coefficient = "ρ"

    def gradient_terms(self, pack):
        weights = self.beta / pack.response_lengths
        return Terms.of_log_probs(pack, weights.repeat_interleave(pack.response_lengths))


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    register_kind(KIND, ExplainedLengthNormalised)
    yield
    del KINDS[KIND]


def gradients(model: ExplainedLengthNormalised, values: torch.Tensor) -> torch.Tensor:
    """By autograd, in an output embedding of its own."""
    weight = model.model.get_output_embeddings().weight
    rows = [torch.autograd.grad(value, weight, retain_graph=True)[0].flatten() for value in values]
    return torch.stack(rows).double()


def test_features_and_contributions_are_those_of_autograd(folders: Callable[..., Path]) -> None:
    folder = folders("llama")
    check_kind(KIND, folder)
    reader = reader_of(KIND, folder)
    values = read(reader, KIND).values
    batch = pack(reader.model.encode(RECORDS))
    states = reader.model.read(batch)
    states = type(states)(states.hidden.detach(), batch)
    expected = gradients(reader.model, reader.model.rewards(states))
    np.testing.assert_allclose(
        products(values, values), expected @ expected.T, rtol=1e-3, atol=1e-2
    )
    model = ExplainedLengthNormalised.initialise(
        folder, ChatTemplate.load(folder), KindConfig(), torch.float32
    )
    trees = model.encode(RECORDS[1:])
    contributions = measure_contributions(ExplainedRecord.read(model, trees[0]), trees, 1000)
    batch = pack(trees)
    states = type(states)(model.read(batch).hidden.detach(), batch)
    rewards = model.rewards(states)
    steps = -gradients(model, model.losses(states, rewards))
    expected = gradients(model, rewards[:2]) @ steps.T
    np.testing.assert_allclose(contributions, expected, rtol=1e-3, atol=1e-3 * expected.abs().max())


def test_it_is_forecast_and_explained(folders: Callable[..., Path], tmp_path: Path) -> None:
    run = train_toy(tmp_path, folders("llama"), kind=KIND, epochs=1)
    train, test = (str(tmp_path / f"{name}.jsonl") for name in ("train", "test"))
    common = {"cache": str(tmp_path / "cache"), "device": "cpu"}
    config = ForecastConfig(
        model=str(folders("llama")),
        train=train,
        eval={"test": test},
        kinds=[KIND, "explicit"],
        loss=0.3,
        out=str(tmp_path / "forecast"),
        **common,
    )
    outcome = forecast(config).forecasts.theory["test"][KIND]
    assert len(read_scores(tmp_path / "forecast" / "scores" / KIND / "test.jsonl")) == 6
    assert outcome.at_loss.accuracy.value > 0.9
    page = explain(
        ExplainConfig(
            model=str(run.folder),
            data=test,
            id="pair-13",
            kind=KIND,
            out=str(tmp_path / "page.html"),
            **common,
        )
    )
    influence = json.loads(Path(page).with_suffix(".json").read_text(encoding="utf-8"))["influence"]
    assert influence["equation"] == "eq. 5" and len(influence["pairs"]) == 12
