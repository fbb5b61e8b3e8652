"""Rewards over HTTP: those of the scorer, whoever else asks; refusals that are JSON."""

import json
import random
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from serving.conftest import Server
from tiny import tiny_tokenizer
from transformers import AutoModelForSequenceClassification

import rewardgap
from rewardgap.cli import main
from rewardgap.errors import UserError
from rewardgap.scoring.scorer import Scorer
from rewardgap.serving.serve import TOKEN, bind, read_token

PROMPT, RESPONSES = "Is it so? Say yes or no.", ["yes, sure", "no", "", "no, never ever"]
WRITTEN = "<|begin|><|user|>{}<|end|><|assistant|>"
CONVERSATION = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yes?"},
    {"role": "user", "content": "is the fox quick?"},
]


@pytest.fixture(scope="module")
def server(start: Callable[..., Server], classifier: Path) -> Server:
    return start(classifier, max_body=20_000, max_tokens=300, timeout=20)


@pytest.fixture(scope="module")
def scorer(classifier: Path) -> Scorer:
    return rewardgap.load(str(classifier), device="cpu")


def test_rewards_are_those_of_the_scorer(server, scorer):
    body = {"prompt": PROMPT, "responses": RESPONSES}
    expected = scorer.score(PROMPT, RESPONSES)
    assert server.rewards("/v1/score", body) == pytest.approx(expected, abs=1e-6)
    assert server.rewards("/v1/score", {**body, "responses": "no"}) == pytest.approx(
        expected[1:2], abs=1e-6
    )
    turns = [*CONVERSATION, {"role": "assistant", "content": "yes, sure"}]
    for asked in (
        {"prompt": CONVERSATION, "responses": ["yes, sure"]},
        {"messages": turns},
        {"messages": turns, "model": None, "user": "me"},
    ):
        expected = scorer.score(CONVERSATION, ["yes, sure"])
        assert server.rewards("/v1/score", asked) == pytest.approx(expected, abs=1e-6)
    _, answer, _ = server.ask("/v1/score", body)
    tokens = sum(len(tiny_tokenizer()(t)["input_ids"]) + 1 for t in RESPONSES)
    before = len(tiny_tokenizer()(WRITTEN.format(PROMPT))["input_ids"])
    assert answer["usage"]["total_tokens"] == tokens + before * len(RESPONSES)


def test_shapes_of_other_servers_give_the_logits_of_plain_transformers(server, classifier):
    texts = [f"{WRITTEN.format(PROMPT)}{response}<|end|>" for response in RESPONSES]
    model = AutoModelForSequenceClassification.from_pretrained(classifier)
    ids = [tiny_tokenizer()(text)["input_ids"] for text in texts]
    with torch.no_grad():
        logits = [float(model(torch.tensor([tokens])).logits[0, 0]) for tokens in ids]
    expected = pytest.approx(logits, abs=1e-6)
    prompts = [WRITTEN.format(PROMPT)] * len(texts)
    for further in ({}, {"prompts": prompts, "labels": ["?"] * 4}, {"prompts": ["other"] * 4}):
        _, answer, _ = server.ask("/get_reward", {"query": texts, **further})
        assert answer["rewards"] == answer["scores"] == expected
    messages = [
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": RESPONSES[0]},
    ]
    for asked, values in (
        ({"input": texts}, expected),
        ({"input": ids, "encoding_format": "float"}, expected),
        ({"input": texts[0], "model": str(classifier)}, pytest.approx(logits[:1], abs=1e-6)),
        ({"messages": messages}, pytest.approx(logits[:1], abs=1e-6)),
    ):
        _, classes, _ = server.ask("/classify", asked)
        assert [row["probs"][0] for row in classes["data"]] == values
        assert classes["object"] == "list" and classes["data"][0]["num_classes"] == 1
        _, pooled, _ = server.ask("/pooling", asked)
        assert [row["data"][0] for row in pooled["data"]] == values
        assert [row["index"] for row in pooled["data"]] == [*range(len(pooled["data"]))]
    assert pooled["usage"]["prompt_tokens"] == len(ids[0])


def test_kinds_that_read_the_whole_response_need_its_beginning(start, folders):
    server = start(folders("llama"), kind="implicit-no-reference")
    scorer = rewardgap.load(str(folders("llama")), kind="implicit-no-reference", device="cpu")
    prompt = WRITTEN.format(PROMPT)
    body = {"query": [f"{prompt}no<|end|>"], "prompts": [prompt]}
    assert server.rewards("/get_reward", body) == pytest.approx(scorer.score(PROMPT, "no"))
    for wrong in (None, ["other"]):
        assert "give the prompt" in server.refusal("/get_reward", {**body, "prompts": wrong})
    server.stop()
    server = start(folders("llama"), kind="generative")
    assert "messages" in server.refusal("/get_reward", body)
    scorer = rewardgap.load(str(folders("llama")), kind="generative", device="cpu")
    rewards = server.rewards("/v1/score", {"prompt": PROMPT, "responses": RESPONSES})
    assert rewards == pytest.approx(scorer.score(PROMPT, RESPONSES), abs=1e-6)


def test_eight_clients_at_once_get_their_own_rewards(server, scorer):
    chance = random.Random(0)
    asked = [
        (f"is it {chance.randrange(5)}?", chance.sample(RESPONSES, chance.randrange(1, 4)))
        for _ in range(60)
    ]
    expected = [scorer.score(*pair) for pair in asked]

    def ask(pair: tuple[str, list[str]]) -> list[float]:
        return server.rewards("/v1/score", {"prompt": pair[0], "responses": pair[1]})

    with ThreadPoolExecutor(8) as clients:
        for rewards, wanted in zip(clients.map(ask, asked), expected, strict=True):
            assert rewards == pytest.approx(wanted, abs=1e-6)


SCORE = {"prompt": "hi", "responses": ["a"]}


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/score", b"", "not JSON"),
        ("/v1/score", b"{", "not JSON"),
        ("/v1/score", b"\xff\xfe", "not JSON"),
        ("/v1/score", b"[" * 9000, "not JSON"),
        ("/v1/score", b'{"prompt": NaN}', "not JSON"),
        ("/v1/score", b"9" * 9000, "not JSON"),
        ("/v1/score", [], "JSON object"),
        ("/v1/score", {}, "`prompt` and `responses`"),
        ("/v1/score", {**SCORE, "responses": []}, "at least one"),
        ("/v1/score", {**SCORE, "responses": [3]}, "`responses`"),
        ("/v1/score", {**SCORE, "prompt": [{"role": "user"}]}, "`content`"),
        ("/v1/score", {**SCORE, "prompt": 3}, "`prompt`"),
        ("/v1/score", {**SCORE, "temperature": 1}, "unknown keys: temperature"),
        ("/v1/score", {**SCORE, "responses": ["a"] * 21}, "at most 20"),
        ("/v1/score", {**SCORE, "prompt": "word " * 400}, "at most 300"),
        ("/v1/score", {**SCORE, "prompt": "\ud800"}, "surrogate"),
        ("/v1/score", {**SCORE, "tools": 3}, "`tools`"),
        ("/v1/score", {**SCORE, "chat_template_kwargs": {"mood": 1}}, "not read `mood`"),
        ("/v1/score", {"messages": CONVERSATION}, "end with an assistant message"),
        ("/get_reward", {}, "`query`"),
        ("/get_reward", {"query": ["a"], "prompts": []}, "`prompts`"),
        ("/get_reward", {"query": ["a"], "prompts": ["a", "b"]}, "2 in `prompts`"),
        ("/get_reward", {"query": [""]}, "nothing"),
        ("/classify", {"input": []}, "`input`"),
        ("/classify", {"input": [[1, 319, 320]]}, "no embedding"),
        ("/classify", {"input": ["ab"], "use_activation": True}, "raw"),
        ("/pooling", {"input": [["a"]]}, "`input`"),
        ("/pooling", {"input": [[True, 2]]}, "`input`"),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(server, path, body, words):
    assert words in server.refusal(path, body)


def test_what_is_too_large_or_not_there(server, classifier):
    assert "20000 bytes" in server.refusal("/v1/score", {**SCORE, "prompt": "a" * 30_000}, 413)
    assert str(classifier) in server.refusal("/v1/score", {**SCORE, "model": "gpt"}, 404)
    assert server.refusal("/nothing", None, 404) and server.refusal("/health", {}, 405)
    assert server.ask("/health")[1] == {"status": "ok"}
    assert server.ask("/v1/models")[1]["data"][0]["id"] == str(classifier)


def test_damaged_requests_get_no_text_of_another_one_and_no_500(server):
    secret = "the fox is a secret"
    good = {"prompt": secret, "responses": ["yes", "no"]}
    chance, body = random.Random(0), json.dumps(good).replace(secret, "hi").encode()
    for _ in range(80):
        damaged = bytearray(body)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        server.rewards("/v1/score", good)
        status, answer, _ = server.ask(chance.choice(["/v1/score", "/classify"]), bytes(damaged))
        assert status in (200, 400) and "secret" not in json.dumps(answer)


def test_metrics_count_requests_and_responses(server):
    before = server.ask("/metrics")[1]
    server.rewards("/v1/score", {"prompt": PROMPT, "responses": RESPONSES})
    after = server.ask("/metrics")[1]

    def count(text: str, name: str) -> float:
        return float(next(x for x in text.splitlines() if x.startswith(name)).rpartition(" ")[2])

    assert count(after, "rewardgap_responses_total") == 4 + count(
        before, "rewardgap_responses_total"
    )
    name = 'rewardgap_requests_total{path="/v1/score",status="200"}'
    assert count(after, name) == 1 + count(before, name)
    assert "rewardgap_batch_requests_bucket" in after


def test_a_token_is_asked_for(start, classifier, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("s3cret\n")
    server = start(classifier, token_file=str(tmp_path / "token"))
    for header in (None, "s3cret", "Bearer wrong", "Bearer ", "Bearer é", "bearer s3cret"):
        headers = {"Authorization": header.encode("latin-1")} if header else {}
        for path, body in (("/v1/score", SCORE), ("/metrics", None)):
            status, answer, told = server.ask(path, body, headers)
            assert status == 401 and told["www-authenticate"] == "Bearer", answer
    assert server.ask("/v1/score", SCORE, {"Authorization": "Bearer s3cret"})[0] == 200
    assert server.ask("/health")[0] == 200
    monkeypatch.setenv(TOKEN, "another")
    assert read_token(None) == "another"
    for text in ("", "two words", "ä"):
        (tmp_path / "token").write_text(text)
        with pytest.raises(UserError, match="token"):
            read_token(str(tmp_path / "token"))


def test_a_server_that_is_told_to_stop_answers_what_it_holds(start, classifier, scorer):
    server, computing, go_on = start(classifier, queue=1), threading.Event(), threading.Event()
    compute = Scorer.compute

    def slow(self, trees):
        computing.set()
        go_on.wait(20)
        return compute(self, trees)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(3) as clients:
        patch.setattr(Scorer, "compute", slow)
        first = clients.submit(server.rewards, "/v1/score", {**SCORE, "responses": ["b"]})
        assert computing.wait(20)
        second = clients.submit(server.rewards, "/v1/score", SCORE)
        while "waiting_requests 1.0" not in server.ask("/metrics")[1]:
            pass
        status, answer, headers = server.ask("/v1/score", SCORE)
        assert status == 429 and headers["retry-after"] == "1", answer
        server.server.should_exit = True
        go_on.set()
        expected = scorer.score("hi", ["a", "b"])
        assert second.result(20) + first.result(20) == pytest.approx(expected, abs=1e-6)
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        server.ask("/health")


def test_a_request_that_takes_too_long_is_given_up(start, classifier):
    server, go_on = start(classifier, timeout=0.2), threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scorer, "compute", lambda self, trees: go_on.wait(20) and [])
        assert "0.2 seconds" in server.refusal("/v1/score", SCORE, 504)
        go_on.set()


def test_a_reward_that_cannot_be_computed_is_an_error_of_the_server(start, classifier):
    server = start(classifier)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scorer, "compute", lambda self, trees: [[float("nan")]])
        assert "finite" in server.refusal("/v1/score", SCORE, 500)
        patch.setattr(Scorer, "compute", lambda self, trees: 1 / 0)
        message = server.refusal("/v1/score", SCORE, 500)
        assert "division" not in message
    assert len(server.rewards("/v1/score", SCORE)) == 1


def test_answers_are_sent_without_the_delay_that_tcp_may_add():
    with bind("127.0.0.1", 0) as listener:  # asyncio sets TCP_NODELAY where it sees that it is TCP
        assert listener.proto == socket.IPPROTO_TCP


def test_what_prevents_serving_is_one_line(classifier, tmp_path, capsys, monkeypatch):
    def told(*flags: str) -> str:
        assert main(["serve", *flags, "--device", "cpu"]) == 2
        error = capsys.readouterr().err.rstrip("\n").splitlines()[-1]
        assert error.startswith("rewardgap: ")
        return error

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f":{port}: Address already in use" in told(str(classifier), "--port", port)
    assert "choose another host" in told(str(classifier), "--host", "no such host")
    assert "missing" in told("missing-model")
    assert "65535" in told(str(classifier), "--port", "70000")
    assert "absent" in told(str(classifier), "--token-file", str(tmp_path / "absent"))
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert "pip install 'rewardgap[serve]'" in told(str(classifier))
