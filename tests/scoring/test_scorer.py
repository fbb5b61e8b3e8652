"""Scoring of runs, of saved models and of models that other tools trained."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from plain import log_probs
from tiny import tiny_config, tiny_tokenizer
from toy import pair_rows, read_rows, several_rows, train_toy, write_rows
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import rewardgap
from rewardgap.cli import main
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.scoring import ScoreConfig
from rewardgap.data.load import load as load_records
from rewardgap.data.records import Message, prompt_id
from rewardgap.errors import UserError
from rewardgap.evaluation.returned import ScoreResult
from rewardgap.models.kinds import KINDS
from rewardgap.scoring.score import score as score_data
from rewardgap.scoring.scorer import load

OPENED = "<|begin|><|user|>{}<|end|><|assistant|>"


@pytest.fixture
def model(folders: Callable[..., Path]) -> Path:
    return folders("llama")


@pytest.fixture
def data(tmp_path: Path) -> str:
    return write_rows(tmp_path / "data.jsonl", several_rows(9) + pair_rows(4))


def score(folder: Path, model: object, data: str, **changes: object) -> list[dict[str, object]]:
    """The rows of the score file that `rewardgap score` writes."""
    out = folder / "scored.jsonl"
    settings = {"device": "cpu", "cache": str(folder / "cache"), **changes}
    score_data(ScoreConfig(model=str(model), data=data, out=str(out), overwrite=True, **settings))
    return read_rows(out)


def flat(rows: list[dict[str, object]]) -> list[float]:
    """All rewards in the order of the records, chosen before rejected."""
    values = [row[key] for row in rows for key in ("scores_chosen", "scores_rejected")]
    return [v for value in values for v in (value if isinstance(value, list) else [value])]


def refusal(call, *arguments, **keywords) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_a_run_are_its_own_bytes(kind, model, data, tmp_path, capsys):
    run = train_toy(tmp_path, model, kind=kind, eval={"test": data}, epochs=1)
    for out, source in (("run", run.folder), ("model", run.reward_model)):
        arguments = ["score", str(source), "--data", data, "--out", str(tmp_path / out)]
        assert main([*arguments, "--cache", str(tmp_path / "cache"), "--device", "cpu"]) == 0
    assert (tmp_path / "run").read_bytes() == run.scores("test").read_bytes()
    assert flat(read_rows(tmp_path / "model")) == flat(read_rows(run.scores("test")))
    assert "accuracy" in capsys.readouterr().out


def test_rows_have_lists_where_a_record_has_several_responses(model, data, tmp_path):
    rows = score(tmp_path, train_toy(tmp_path, model).folder, data)
    records = load_records(data)
    assert [row["id"] for row in rows] == [record.id for record in records]
    tokenizer = tiny_tokenizer()
    for row, record in zip(rows, records, strict=True):
        for side, responses in (("chosen", record.chosen), ("rejected", record.rejected)):
            counts = [len(tokenizer(y[0].content)["input_ids"]) + 1 for y in responses]
            assert row[f"tokens_{side}"] == (counts[0] if record.is_pair else counts)
            assert isinstance(row[f"scores_{side}"], float if record.is_pair else list)
            assert isinstance(
                row["baselines"]["bag_of_words"][side], float if record.is_pair else list
            )
        assert row["truncated"] is False
        assert row["prompt"] == prompt_id(record.prompt)


@pytest.mark.parametrize("kind", ["explicit", "implicit", "generative"])
def test_the_python_interface_gives_the_rows_of_the_command(kind, model, data, tmp_path):
    run = train_toy(tmp_path, model, kind=kind, epochs=1)
    scorer = rewardgap.load(str(run.folder), device="cpu", cache=str(tmp_path / "cache"))
    rows = score(tmp_path, run.folder, data)
    found = [
        reward
        for record in load_records(data)
        for reward in scorer.score(record.prompt, [y[0].content for y in record.responses])
    ]
    assert found == pytest.approx(flat(rows), abs=1e-6)
    as_text = scorer.score("hi", ["yes", "no"])
    assert as_text == scorer.score([Message("user", "hi")], ["yes", "no"])
    assert scorer.score("hi", ["yes"]) == pytest.approx(as_text[:1], abs=1e-6)
    assert scorer.score("hi", []) == []
    assert scorer.score("hi", "yes") == scorer.score("hi", ["yes"])


@pytest.mark.parametrize("kind", ["explicit", "implicit", "generative"])
def test_responses_without_labels(kind, model, data, tmp_path, capsys):
    """Their rewards are those of the same responses with labels; no metric is made of them."""
    run = train_toy(tmp_path, model, kind=kind, epochs=1)
    labelled = score(tmp_path, run.folder, data)
    rows = [
        {"prompt": row["prompt"], "responses": [y for side in sides for y in side]}
        for row in read_rows(Path(data))
        for sides in [[[y] if isinstance(y, str) else y for y in (row["chosen"], row["rejected"])]]
    ]
    single = {"prompt": rows[0]["prompt"], "response": rows[0]["responses"][0], "id": "one"}
    path = write_rows(tmp_path / "unlabelled.jsonl", [*rows, single])
    out = tmp_path / "rewards.jsonl"
    arguments = ["score", str(run.folder), "--data", path, "--out", str(out), "--device", "cpu"]
    assert main([*arguments, "--cache", str(tmp_path / "cache")]) == 0
    assert f"responses to {len(rows) + 1} prompts" in capsys.readouterr().out
    written = read_rows(out)
    rewards = [reward for row in written[:-1] for reward in row["scores"]]
    assert rewards == pytest.approx(flat(labelled), abs=1e-6)
    assert written[-1]["id"] == "one"
    assert written[-1]["scores"] == pytest.approx(rewards[:1], abs=1e-6)
    assert [len(row["tokens"]) for row in written] == [len(row["scores"]) for row in written]
    assert [row["prompt"] for row in written[:-1]] == [row["prompt"] for row in labelled]
    assert main(["metrics", str(out)]) == 2
    assert "rewards without labels, of which no metric can be" in capsys.readouterr().err


def test_unlabelled_data_are_for_scoring_alone(model, data, tmp_path):
    rows = [{"prompt": "hi", "responses": ["yes", "no"]}]
    path = write_rows(tmp_path / "unlabelled.jsonl", rows)
    message = refusal(train_toy, tmp_path, model, train=path)
    assert f"{path}, line 1: `responses` without labels: only `rewardgap score`" in message
    mixed = write_rows(tmp_path / "mixed.jsonl", [*rows, *pair_rows(2)])
    message = refusal(score, tmp_path, model, mixed, kind="length")
    assert "1 of 3 records have no labels" in message
    assert not (tmp_path / "scored.jsonl").exists()


@pytest.mark.parametrize("kind", ["explicit", "implicit", "generative"])
def test_the_token_budget_changes_no_reward(kind, model, data, tmp_path):
    run = train_toy(tmp_path, model, kind=kind, epochs=1)
    large = flat(score(tmp_path, run.folder, data))
    small = flat(score(tmp_path, run.folder, data, token_budget=320, cache=str(tmp_path / "other")))
    assert small == pytest.approx(large, abs=1e-6)


def texts(data: str) -> list[tuple[str, str]]:
    """Prompt and response of every response, as the tiny models' template writes them."""
    return [
        (OPENED.format(record.prompt[0].content), response[0].content + "<|end|>")
        for record in load_records(data)
        for response in record.responses
    ]


def ids(text: str) -> list[int]:
    return list(tiny_tokenizer()(text, add_special_tokens=False)["input_ids"])


@torch.no_grad()
def test_a_sequence_classifier_made_by_transformers_alone(data, tmp_path):
    config = tiny_config("qwen2")
    config.num_labels, config.pad_token_id = 1, 4
    torch.manual_seed(7)
    plain = AutoModelForSequenceClassification.from_config(config).eval()
    plain.save_pretrained(tmp_path / "foreign")
    tiny_tokenizer().save_pretrained(tmp_path / "foreign")
    expected = [
        plain(input_ids=torch.tensor([ids(prompt) + ids(response)])).logits.item()
        for prompt, response in texts(data)
    ]
    rows = score(tmp_path, tmp_path / "foreign", data)
    assert flat(rows) == pytest.approx(expected, abs=1e-5)
    assert list(rows[0]["baselines"]) == ["longer"]
    mean = flat(score(tmp_path, tmp_path / "foreign", data, kind="explicit-mean"))
    assert mean != pytest.approx(expected, abs=1e-3)


@torch.no_grad()
def test_a_language_model_made_by_transformers_alone(model, folders, data, tmp_path):
    other = folders("llama", "<|pad|>", tiny_tokenizer().chat_template, 1)
    policy, initial = map(AutoModelForCausalLM.from_pretrained, (model, other))
    likelihoods = [
        [float(log_probs(plain, ids(prompt), ids(response)).sum()) for plain in (policy, initial)]
        for prompt, response in texts(data)
    ]
    options = {"kind": "implicit", "reference": str(other)}
    expected = [0.01 * (ours - theirs) for ours, theirs in likelihoods]
    assert flat(score(tmp_path, model, data, **options)) == pytest.approx(expected, abs=1e-5)
    scaled = flat(score(tmp_path, model, data, beta=0.5, **options))
    assert scaled == pytest.approx([50 * reward for reward in expected], abs=1e-4)
    bare = flat(score(tmp_path, model, data, kind="implicit-no-reference"))
    assert bare == pytest.approx([ours for ours, _ in likelihoods], abs=1e-4)


@torch.no_grad()
def test_a_language_model_as_a_judge(model, data, tmp_path):
    plain = AutoModelForCausalLM.from_pretrained(model)
    question = "Did {prompt} deserve {response}?"
    expected = []
    for record in load_records(data):
        for response in record.responses:
            said = {"prompt": record.prompt[0].content, "response": response[0].content}
            asked = torch.tensor([ids(OPENED.format(question.format(**said)))])
            probabilities = plain(input_ids=asked).logits[0, -1].softmax(-1)
            expected.append(float(probabilities[ids("Yes")[0]]))
    rows = score(tmp_path, model, data, kind="generative", verification_prompt=question)
    assert flat(rows) == pytest.approx(expected, abs=1e-5)


def test_beta_scales_the_rewards_of_a_run(model, data, tmp_path):
    run = train_toy(tmp_path, model, kind="implicit", beta=0.2)
    own = flat(score(tmp_path, run.folder, data))
    assert flat(score(tmp_path, run.folder, data, beta=0.4)) == pytest.approx(
        [2 * reward for reward in own], rel=1e-5
    )


def test_truncation_is_marked_and_counted(model, tmp_path, caplog):
    rows = pair_rows(3)
    rows[1]["prompt"] = "is it so? " * 30
    rows[2]["chosen"] = "yes " * 30
    data = write_rows(tmp_path / "long.jsonl", rows)
    whole = score(tmp_path, train_toy(tmp_path, model).folder, data)
    assert "truncated" not in caplog.text and not any(row["truncated"] for row in whole)
    cut = score(tmp_path, tmp_path / "out", data, max_length=40)
    assert [row["truncated"] for row in cut] == [False, True, True]
    assert "2 of 3 records were truncated" in caplog.text
    assert cut[0] == whole[0]
    assert [row["tokens_chosen"] for row in cut] == [row["tokens_chosen"] for row in whole]
    assert cut[1]["scores_chosen"] != whole[1]["scores_chosen"]


def test_a_score_file_that_is_there_is_not_replaced_unasked(model, data, tmp_path):
    score(tmp_path, model, data, kind="length")
    before = (tmp_path / "scored.jsonl").read_bytes()
    config = ScoreConfig(
        model=str(model), kind="constant", data=data, out=str(tmp_path / "scored.jsonl")
    )
    with pytest.raises(UserError, match=r"scored.jsonl exists already: .* `overwrite: true`"):
        score_data(config)
    assert (tmp_path / "scored.jsonl").read_bytes() == before


def test_results_say_what_they_are(model, data, tmp_path):
    score(tmp_path, model, data, kind="length")
    result = ScoreResult(tmp_path / "scored.jsonl")
    assert re.fullmatch(
        r"ScoreResult\('.*scored.jsonl': 13 records, accuracy 0.\d+\)", repr(result)
    )
    frame = result.to_frame()
    rewards = frame.loc[frame["id"] == "pair-0", ["response", "reward", "tokens"]]
    assert list(rewards["response"]) == ["chosen", "rejected"]
    assert list(rewards["reward"]) == list(rewards["tokens"])  # which is what the kind counts
    scorer = load(model, kind="length", device="cpu")
    assert repr(scorer) == "Scorer(Length, 0 parameters, cpu, products in float32)"


def test_a_record_that_is_too_long_is_named(model, tmp_path):
    rows = [*pair_rows(1), {"id": "long", "prompt": "hi " * 600, "chosen": "yes", "rejected": "no"}]
    data = write_rows(tmp_path / "long.jsonl", rows)
    message = refusal(score, tmp_path, train_toy(tmp_path, model).folder, data)
    assert message.startswith("record long has") and "set max_length to 512" in message
    assert not (tmp_path / "scored.jsonl").exists()
    scored = score(tmp_path, tmp_path / "out", data, max_length=512)
    assert [row["truncated"] for row in scored] == [False, True]


def test_bag_of_words_needs_training_data(model, data, tmp_path, caplog):
    run = train_toy(tmp_path, model, epochs=1)
    own = score(tmp_path, run.folder, data)
    named = score(tmp_path, run.reward_model, data, train=str(tmp_path / "train.jsonl"))
    assert named == own and all("bag_of_words" in row["baselines"] for row in own)
    (tmp_path / "train.jsonl").rename(tmp_path / "moved.jsonl")
    without = score(tmp_path, run.folder, data)
    assert flat(without) == flat(own)
    assert all(list(row["baselines"]) == ["longer"] for row in without)
    assert "no bag-of-words baseline" in caplog.text and "train.jsonl" in caplog.text
    message = refusal(score, tmp_path, run.folder, data, train=str(tmp_path / "train.jsonl"))
    assert message.endswith("no such file")


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def of_another_architecture(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))


def of_no_architecture(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "none of these"}')


def broken(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text("{")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("model.safetensors"), "has no safetensors weights"),
        (pickled, "has no safetensors weights; save the model with"),
        (without("config.json"), "has no config.json"),
        (without("tokenizer.json"), "cannot load a tokenizer"),
        (cut_short, "cannot load a model"),
        (of_another_architecture, "has no weights model.layers.2"),
        (broken("config.json"), "cannot"),
        (of_no_architecture, "cannot read"),
        (broken("tokenizer.json"), "cannot load a tokenizer"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(spoil, message, model, data, tmp_path):
    folder = shutil.copytree(model, tmp_path / "damaged")
    spoil(folder)
    found = refusal(score, tmp_path, folder, data, kind="implicit-no-reference")
    assert message in found and str(folder) in found
    assert str(folder) in refusal(score, tmp_path, folder, data)
    assert not (tmp_path / "scored.jsonl").exists()


@pytest.mark.parametrize("text", ["{", "{}", '{"kind": "explicit"}', "[]"])
def test_a_damaged_card_is_refused_in_one_line(text, model, data, tmp_path):
    run = train_toy(tmp_path, model, epochs=1, eval={})
    (run.reward_model / "rewardgap.json").write_text(text)
    assert "rewardgap.json is damaged" in refusal(score, tmp_path, run.folder, data)


def test_models_and_kinds_that_do_not_fit(model, data, tmp_path):
    run = train_toy(tmp_path, model, epochs=1, eval={})
    message = refusal(score, tmp_path, run.folder, data, kind="implicit")
    assert "holds a model of kind explicit, not implicit" in message
    assert "name one with --kind" in refusal(score, tmp_path, model, data)
    assert "unknown kind 'best'" in refusal(score, tmp_path, model, data, kind="best")
    message = refusal(score, tmp_path, model, data, kind="explicit")
    assert "has no weights score.weight" in message
    (run.reward_model).rename(tmp_path / "elsewhere")
    assert "unfinished run" in refusal(score, tmp_path, run.folder, data)


def test_of_several_outputs_one_is_chosen(data, tmp_path):
    config = tiny_config("llama")
    config.id2label = {0: "bad", 1: "good"}
    model = AutoModelForSequenceClassification.from_config(config)
    model.save_pretrained(tmp_path / "two")
    tiny_tokenizer().save_pretrained(tmp_path / "two")
    message = refusal(score, tmp_path, tmp_path / "two", data)
    assert "the model has 2 outputs: say which one is the reward with --label" in message
    assert "0 (bad), 1 (good)" in message
    for label in ("2", "best", "-1"):
        assert f"none is {label}" in refusal(score, tmp_path, tmp_path / "two", data, label=label)
    by_name = flat(score(tmp_path, tmp_path / "two", data, label="good"))
    assert by_name == flat(score(tmp_path, tmp_path / "two", data, label="1"))
    with torch.no_grad():
        model.score.weight[:1] = model.score.weight[1:]
    model.save_pretrained(tmp_path / "two")
    assert by_name == flat(score(tmp_path, tmp_path / "two", data, label="bad"))


def test_options_of_a_run_are_read_from_its_card(model, tmp_path):
    question = "{prompt} or {response}?"
    run = train_toy(
        tmp_path,
        model,
        kind="generative",
        eval={},
        epochs=1,
        verification_prompt=question,
        likelihood_weight=0.25,
    )
    card = json.loads((run.reward_model / "rewardgap.json").read_text())
    assert card["kind"] == "generative" and card["likelihood_weight"] == 0.25
    assert card["chat_template"] == tiny_tokenizer().chat_template
    scorer = load(str(run.folder), device="cpu")
    assert scorer.model.options == KindConfig(likelihood_weight=0.25, verification_prompt=question)
