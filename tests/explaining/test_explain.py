"""Explanations of trained runs: rewards against the scorer, contributions against the run's own."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import BASELINES, TRAINABLE, make_record
from tiny import tiny_tokenizer
from toy import pair_rows, several_rows, train_toy, write_rows

from rewardgap.configs.forecasting import ExplainConfig, ForecastConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.load import load as load_records
from rewardgap.errors import UserError
from rewardgap.explaining.explain import explain, sample
from rewardgap.explaining.first_step import measure_first_step
from rewardgap.explaining.influence import ExplainedRecord, measure_contributions
from rewardgap.explaining.page import ExplanationResult
from rewardgap.explaining.tokens import token_texts
from rewardgap.forecasting.forecast import forecast
from rewardgap.io.run_folder import Run
from rewardgap.models.kinds import KINDS, find_kind
from rewardgap.scoring.scorer import load


class Words(ChatTemplate):
    """A template that is only asked for its tokenizer."""


TOKENIZER = tiny_tokenizer()


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8")))
def test_token_texts_are_the_text_cut_up(text, before):
    template = Words(TOKENIZER)
    ahead, tokens = template.tokenize(["<|assistant|>" + before, text + "<|end|>"])
    texts = token_texts(template, ahead, tokens)
    assert len(texts) == len(tokens)
    assert "".join(texts) == text + "<|end|>"


def test_a_character_of_several_tokens_stands_at_the_last_one():
    template = Words(TOKENIZER)
    (tokens,) = template.tokenize(["é🙂"])
    assert token_texts(template, (), tokens) == ("", "é", "", "", "", "🙂")


def test_a_sample_is_seeded_and_counts_pairs():
    records = [make_record(str(i), ["a"], ["b", "c"]) for i in range(10)]
    some = sample(records, 7, seed=1)
    assert len(some) == 3
    assert some == sample(records, 7, seed=1) != sample(records, 7, seed=2)
    assert [int(record.id) for record in some] == sorted(int(record.id) for record in some)
    assert len(sample(records, 1, seed=1)) == 1
    assert sample(records, 20, seed=1) == records


@pytest.fixture(scope="module")
def runs(folders, tmp_path_factory) -> Callable[[str], Run]:
    """A trained run of a kind, made when it is first asked for."""
    trained: dict[str, Run] = {}

    def find(kind: str) -> Run:
        if kind not in trained:
            folder = tmp_path_factory.mktemp(kind)
            trained[kind] = train_toy(folder, folders("llama"), kind=kind, epochs=1, max_length=99)
        return trained[kind]

    return find


def configure(run: Run, folder: Path, **changes) -> ExplainConfig:
    settings = {
        "model": str(run.folder),
        "data": str(run.folder.parent / "test.jsonl"),
        "id": "pair-13",
        "overwrite": True,
        "out": str(folder / "page.html"),
        "device": "cpu",
        "cache": str(run.folder.parent / "cache"),
    }
    return ExplainConfig(**settings | changes)


def numbers(page: ExplanationResult) -> dict:
    return json.loads(Path(page).with_suffix(".json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", KINDS)
def test_rewards_are_the_scores_of_the_run(kind, runs, tmp_path):
    run = runs(kind)
    result = explain(configure(run, tmp_path))
    found = numbers(result)["record"]
    (record,) = (
        r for r in load_records(str(run.folder.parent / "test.jsonl")) if r.id == "pair-13"
    )
    (row,) = load(str(run.folder), device="cpu", cache=str(tmp_path)).score_records([record])
    rewards = [response["reward"] for response in found["responses"]]
    assert rewards == pytest.approx([*row.scores_chosen, *row.scores_rejected], abs=1e-6)
    assert found["margin"] == rewards[0] - rewards[1]
    for response, text in zip(
        found["responses"], ("yes, certainly", "no, not really"), strict=True
    ):
        assert "".join(response["tokens"]).lstrip().startswith(text)
        assert response["prefix_rewards"][-1] == response["reward"]
        assert sum(response["steps"]) == pytest.approx(response["reward"], abs=1e-12)


def test_weights_are_whole_where_products_are_in_bfloat16(runs, tmp_path):
    """Rewards alone do with matrices in bfloat16; effects and pulls are computed in float32."""
    run = runs("implicit")
    exact = numbers(explain(configure(run, tmp_path)))
    rounded = numbers(explain(configure(run, tmp_path, dtype="bfloat16")))
    assert exact["influence"]["margins"] == rounded["influence"]["margins"]
    assert exact["record"]["margin"] != rounded["record"]["margin"]
    opened = load(str(run.folder), device="cpu", dtype="bfloat16", cache=str(tmp_path))
    dtypes = {weight.dtype for weight in opened.model.model.model.layers.parameters()}
    assert dtypes == {torch.float32, torch.bfloat16}


@pytest.mark.parametrize("kind", BASELINES)
def test_kinds_that_learn_nothing_say_so(kind, runs, tmp_path):
    found = numbers(explain(configure(runs(kind), tmp_path)))
    assert found["influence"] is None
    assert "learns nothing" in found["obstacle"]


@pytest.mark.parametrize("kind", TRAINABLE)
def test_contributions_are_those_of_the_run_before_training(kind, runs, folders, tmp_path):
    run = runs(kind)
    found = numbers(explain(configure(run, tmp_path, top=2)))["influence"]
    folder = folders("llama")
    seed = run.read_config()["seed"]
    model = (
        find_kind(kind)
        .initialise(folder, ChatTemplate.load(folder), KindConfig(), torch.float32, seed)
        .eval()
    )
    (record,) = (
        r for r in load_records(str(run.folder.parent / "test.jsonl")) if r.id == "pair-13"
    )
    trees = model.encode_for_training(load_records(str(run.folder.parent / "train.jsonl")))
    seen = ExplainedRecord.read(model, model.encode([record])[0])
    expected = measure_contributions(seen, trees, 1000)
    assert found["pairs"] == [f"pair-{i}" for i in range(12)]
    step = measure_first_step(model, [seen.tree], trees, run.read_config()["batch_size"])
    for response, row, effects in zip(
        found["responses"], expected.tolist(), step.effects.tolist(), strict=True
    ):
        assert response["contributions"] == pytest.approx(row, rel=1e-4)
        assert response["effects"] == pytest.approx(effects, rel=1e-3)
        assert response["predicted"] == pytest.approx(np.mean(row), rel=1e-4)
        assert len(response["raising"]) <= 2 >= len(response["lowering"])
    assert found["margins"] == pytest.approx((expected[0] - expected[1]).tolist(), rel=1e-3)


def test_a_forecast_is_explained_by_what_its_first_step_would_do(runs, folders, tmp_path):
    kinds = ["explicit", "implicit", "generative"]
    run = runs("explicit")
    data = {name: str(run.folder.parent / f"{name}.jsonl") for name in ("train", "test")}
    settings = {
        "kinds": kinds,
        "model": str(folders("llama")),
        "train": data["train"],
        "out": str(tmp_path / "forecast"),
        "cache": str(tmp_path),
        "seed": run.read_config()["seed"],
    }
    forecast(ForecastConfig(eval={"test": data["test"]}, device="cpu", **settings))
    for kind in kinds:
        config = configure(run, tmp_path, model=settings["out"], kind=kind)
        found = numbers(explain(config))
        trained = numbers(explain(configure(runs(kind), tmp_path)))
        for ours, theirs in zip(
            found["influence"]["responses"], trained["influence"]["responses"], strict=True
        ):
            assert ours["contributions"] == pytest.approx(theirs["contributions"], rel=1e-6)
        rewards = [response["reward"] for response in found["record"]["responses"]]
        initial = [response["initial_reward"] for response in found["influence"]["responses"]]
        assert rewards == pytest.approx(initial, abs=1e-6)
    with pytest.raises(UserError, match="forecast of explicit, implicit, generative: name one"):
        explain(configure(run, tmp_path, model=settings["out"]))


@pytest.mark.parametrize("kind", ["explicit", "implicit", "generative"])
def test_a_counterpart_splits_the_drop_into_tokens(kind, runs, tmp_path):
    found = numbers(explain(configure(runs(kind), tmp_path, counterpart="pair-14")))
    steps = [
        (factor * sign, response["steps"])
        for factor, record in ((1, found["record"]), (-1, found["counterpart"]))
        for sign, response in zip((1, -1), record["responses"], strict=True)
    ]
    total = sum(factor * value for factor, values in steps for value in values)
    assert found["drop"] == found["record"]["margin"] - found["counterpart"]["margin"]
    assert total == pytest.approx(found["drop"], abs=1e-12)


def test_a_counterpart_may_be_in_other_data(runs, tmp_path):
    row = pair_rows(1, start=13)[0] | {"chosen": "sure", "rejected": "never"}
    other = write_rows(tmp_path / "other.jsonl", [row])
    found = numbers(explain(configure(runs("explicit"), tmp_path, counterpart_data=other)))
    assert "".join(found["counterpart"]["responses"][0]["tokens"]).startswith("sure")


def test_a_record_of_several_responses_names_each(runs, tmp_path):
    data = write_rows(tmp_path / "several.jsonl", several_rows(2))
    found = numbers(explain(configure(runs("implicit"), tmp_path, data=data, id="several-1")))
    labels = [response["label"] for response in found["record"]["responses"]]
    assert labels == ["chosen 1", "chosen 2", "rejected 1", "rejected 2"]
    assert found["record"]["margin"] is None
    assert found["influence"]["margins"] == []


def test_a_sample_of_the_training_pairs_is_told(runs, tmp_path):
    result = explain(configure(runs("explicit"), tmp_path, max_pairs=5))
    assert len(numbers(result)["influence"]["pairs"]) == 5
    assert "a random sample of 5 of 12 training pairs" in result.page.read_text(encoding="utf-8")


def test_a_truncated_record_is_told(runs, tmp_path):
    result = explain(configure(runs("explicit"), tmp_path, max_length=16))
    assert numbers(result)["record"]["truncated"]
    assert "was cut to fit max_length" in result.page.read_text(encoding="utf-8")


def test_pairs_that_truncation_makes_identical_are_left_out(runs, folders, tmp_path):
    kind, plain = "implicit-no-reference", str(folders("llama"))
    run = runs(kind)
    same = pair_rows(1)[0] | {"chosen": "so " * 40 + "yes", "rejected": "so " * 40 + "no"}
    cut = {"model": plain, "kind": kind, "reference": plain, "max_length": 30}
    train = write_rows(tmp_path / "some.jsonl", [same, *pair_rows(2, start=1)])
    found = numbers(explain(configure(run, tmp_path, train=train, **cut)))
    assert found["influence"]["pairs"] == ["pair-1", "pair-2"]
    train = write_rows(tmp_path / "all.jsonl", [same])
    with pytest.raises(UserError, match="truncation leaves no training pair"):
        explain(configure(run, tmp_path, train=train, **cut))


def test_a_model_without_a_run_needs_to_be_told_its_training_data(runs, folders, tmp_path):
    run = runs("implicit-no-reference")
    saved = str(run.reward_model)
    found = numbers(explain(configure(run, tmp_path, model=saved)))
    assert "--train" in found["obstacle"]
    train = str(run.folder.parent / "train.jsonl")
    found = numbers(explain(configure(run, tmp_path, model=saved, train=train)))
    assert len(found["influence"]["pairs"]) == 12
    plain = str(folders("llama"))
    elsewhere = {"model": plain, "kind": "implicit-no-reference", "train": train}
    found = numbers(explain(configure(run, tmp_path, **elsewhere)))
    assert "--reference" in found["obstacle"]
    found = numbers(explain(configure(run, tmp_path, **elsewhere, reference=plain)))
    assert len(found["influence"]["pairs"]) == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "none"}, r"no record 'none'; it has 6 ids: pair-12, pair-13, pair-14, …"),
        ({"id": None, "row": 6}, r"has no row 6 that can be used; rows are 0 to 5"),
        ({"id": None, "worst": 7}, r"worst is 7, but .* has 6 records"),
        ({"row": 3}, "name one record"),
        ({"id": None}, "name one record"),
        ({"counterpart": "none"}, "no record 'none'"),
        ({"counterpart": "pair-14", "counterpart_row": 2}, "by its id or by its row"),
        ({"out": "page.json"}, "must end in .html"),
        ({"train": "gone.jsonl"}, "name the training data with --train"),
        ({"reference": "./gone"}, "name the reference of this reward model with --reference"),
    ],
)
def test_mistakes_are_told_in_one_line(changes, message, runs, tmp_path):
    run = runs("explicit")
    with pytest.raises(UserError, match=message) as error:
        explain(configure(run, tmp_path, **changes))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("page*"))


def test_a_record_is_named_by_its_row_or_by_how_wrong_it_is(runs, tmp_path):
    run = runs("implicit")
    scores = [json.loads(line) for line in run.scores("test").read_text().splitlines()]
    margins = {row["id"]: row["scores_chosen"] - row["scores_rejected"] for row in scores}
    ordered = sorted(margins, key=margins.__getitem__)
    few = {"id": None, "max_pairs": 1, "top": 1}
    worst = explain(configure(run, tmp_path, worst=3, **few)).explanation.record
    assert worst.id == ordered[2]
    assert worst.margin == pytest.approx(margins[worst.id], abs=1e-6)
    named = configure(run, tmp_path, row=scores[4]["data_row"], counterpart_row=2, **few)
    explanation = explain(named).explanation
    assert explanation.record.id == scores[4]["id"]
    assert explanation.counterpart.id == scores[2]["id"]


def test_a_page_that_is_there_is_not_replaced_unasked(runs, tmp_path):
    config = configure(runs("explicit"), tmp_path, overwrite=False)
    explain(config)
    with pytest.raises(UserError, match=r"page.html exists already: .* `overwrite: true`"):
        explain(config)


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_a_run_whose_initial_model_is_gone_says_so(kind, runs, tmp_path):
    """Rewards that do not need it are explained all the same."""
    run = runs(kind)
    whole = numbers(explain(configure(run, tmp_path)))
    card, checksums = run.reward_model / "rewardgap.json", run.reward_model / "checksums.json"
    written = checksums.read_text()
    checksums.unlink()  # the card is changed on purpose
    text = card.read_text(encoding="utf-8")
    fields = json.loads(text)
    fields["reference"]["model"] = str(tmp_path / "gone")
    card.write_text(json.dumps(fields), encoding="utf-8")
    try:
        if kind == "implicit":
            with pytest.raises(UserError, match=r"--reference: .*gone does not exist"):
                explain(configure(run, tmp_path))
            return
        result = explain(configure(run, tmp_path))
        found = numbers(result)
        assert found["record"] == whole["record"]
        assert whole["influence"] and found["influence"] is None
        assert re.search(r"--reference: .*gone does not exist", found["obstacle"])
        assert "gone does not exist" in result.page.read_text(encoding="utf-8")
    finally:
        card.write_text(text, encoding="utf-8")
        checksums.write_text(written)


def test_a_counterpart_needs_pairs(runs, tmp_path):
    data = write_rows(tmp_path / "several.jsonl", several_rows(2))
    config = configure(
        runs("explicit"), tmp_path, data=data, id="several-1", counterpart="several-0"
    )
    with pytest.raises(UserError, match="record several-1 has 4 responses"):
        explain(config)


@pytest.mark.parametrize("key", ["top", "max_pairs"])
def test_a_configuration_that_shows_nothing_is_refused(key, runs, tmp_path):
    with pytest.raises(UserError, match=f"{key} must be at least 1"):
        replace(configure(runs("explicit"), tmp_path), **{key: 0})
