"""CHES scores against sums written by hand and hidden states of plain transformers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from plain import RECORDS, plain_copy
from transformers import AutoModelForCausalLM

from rewardgap.configs.forecasting import ChesConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.explaining.displacement import ches, similarity
from rewardgap.models.language_model import LanguageModel


def test_scores_by_hand() -> None:
    chosen = torch.tensor([[1.0, 2.0], [3.0, 0.0]])  # sum (4, 2), mean (2, 1)
    rejected = torch.tensor([[1.0, 1.0], [0.0, 1.0], [2.0, 1.0], [5.0, 1.0]])  # (8, 4), (2, 1)
    score, normalised = similarity(chosen, rejected)
    assert score == 4 * 8 + 2 * 4 - (4 * 4 + 2 * 2) == 20
    assert normalised == 2 * 2 + 1 * 1 - (2 * 2 + 1 * 1) == 0


def test_equal_responses_score_zero_and_unlike_ones_less() -> None:
    states = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert similarity(states, states) == pytest.approx((0, 0), abs=1e-9)
    assert all(value < 0 for value in similarity(states, -states))


def write_data(path: Path) -> Path:
    rows = [
        {
            "id": f"r{number}",
            "prompt": [{"role": m.role, "content": m.content} for m in record.prompt],
            "chosen": [y[0].content for y in record.chosen],
            "rejected": [y[0].content for y in record.rejected],
        }
        for number, record in enumerate(RECORDS)
        if record.rejected
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_scores_are_those_of_plain_hidden_states(
    folders: Callable[..., Path], tmp_path: Path
) -> None:
    folder, data = folders("llama"), write_data(tmp_path / "data.jsonl")
    out = tmp_path / "ches.jsonl"
    result = ches(ChesConfig(model=str(folder), data=str(data), out=str(out)))
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {**vars(score)} for score in result.scores
    ]
    template = ChatTemplate.load(folder)
    model = plain_copy(LanguageModel.load(folder, template, AutoModelForCausalLM).model)
    expected = []
    for number, record in enumerate(RECORDS):
        states = [predicting_states(template, model, record, y) for y in record.responses]
        for i, j in record.pairs:
            means = states[i].mean(0), states[j].mean(0)
            sums = states[i].sum(0), states[j].sum(0)
            values = [float(p @ m - p @ p) for p, m in (sums, means)]
            expected.append((f"r{number}", i, j - len(record.chosen), *values))
    found = [tuple(vars(score).values()) for score in result.scores]
    assert [each[:3] for each in found] == [each[:3] for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[3:5] == pytest.approx(theirs[3:], rel=1e-4, abs=1e-2)
    assert [score.data_row for score in result.scores] == sorted(s.data_row for s in result.scores)
    first = result.to_frame().iloc[0]
    record = RECORDS[int(first["id"].removeprefix("r"))]
    assert first["chosen_text"] == record.chosen[first["chosen"]][0].content
    assert first["rejected_text"] == record.rejected[first["rejected"]][0].content


@torch.no_grad()
def predicting_states(template, model, record, response) -> torch.Tensor:
    """h_{x, y<k}: the states before each of the response's tokens, one plain sequence."""
    (prompt,) = template.tokenize([template.render(record.prompt, open_response=True)])
    (whole,) = template.tokenize([template.render(record.prompt + response)])
    states = model.base_model(input_ids=torch.tensor([whole])).last_hidden_state[0]
    return states[len(prompt) - 1 : -1].double()
