"""What waits is computed together: equal prompts once, and no request suffers from another one."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import train_toy

import rewardgap
from rewardgap.configs.serving import ServeConfig
from rewardgap.data.records import Message
from rewardgap.errors import UserError
from rewardgap.models.kinds import KINDS
from rewardgap.scoring.responses import ChatPrompt, PromptedResponse, WholeText
from rewardgap.scoring.scorer import Scorer
from rewardgap.serving.worker import Worker


def chat(prompt: str, *responses: str) -> list[PromptedResponse]:
    asked = ChatPrompt((Message("user", prompt),))
    return [PromptedResponse(asked, (Message("assistant", text),)) for text in responses]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> tuple[list[list[int]], threading.Event]:
    """The numbers of responses of the trees that are computed; the event lets the first go."""
    seen: list[list[int]] = []
    go_on, compute = threading.Event(), Scorer.compute

    def watched(self, trees):
        go_on.wait(20)
        seen.append([len(tree.leaves) for tree in trees])
        return compute(self, trees)

    monkeypatch.setattr(Scorer, "compute", watched)
    return seen, go_on


def make(
    folder: Path, max_length: int | None = None, **changes: int
) -> tuple[Scorer, Worker, list]:
    scorer = rewardgap.load(
        str(folder), kind="implicit-no-reference", device="cpu", max_length=max_length
    )
    batches: list[int] = []
    config = ServeConfig(model="m", wait=0.05, **changes)
    return scorer, Worker(scorer, config, batches.append), batches


def test_a_prompt_of_several_requests_is_computed_once(folders, computed):
    seen, go_on = computed
    scorer, worker, batches = make(folders("llama"))
    first = worker.submit(chat("before", "yes"))
    while worker.waiting:
        pass
    asked = [("hi", "yes", "no"), ("so?", "no"), ("hi", "no", "no", "never")]
    futures = [worker.submit(chat(*texts)) for texts in asked]
    go_on.set()
    rewards = [future.result(20).rewards for future in futures]
    worker.close()
    assert first.done() and sum(batches) == 4
    assert sum(map(sum, seen)) == 1 + 1 + 3
    for (prompt, *responses), values in zip(asked, rewards, strict=True):
        assert values == pytest.approx(scorer.score(prompt, responses), abs=1e-4, rel=1e-6)


def test_a_refused_request_leaves_the_others_alone(folders, computed):
    seen, go_on = computed
    scorer, worker, _ = make(folders("llama"), max_tokens=40)
    asked = [chat("hi", "yes"), chat("long " * 50, "no"), [PromptedResponse(WholeText("a"), "a")]]
    futures = [worker.submit(responses) for responses in [*asked, chat("hi", "no")]]
    futures[-1].cancel()
    go_on.set()
    assert futures[0].result(20).rewards == pytest.approx(scorer.score("hi", "yes"), rel=1e-6)
    for future, words in ((futures[1], "at most 40"), (futures[2], "give the prompt")):
        with pytest.raises(UserError, match=words):
            future.result(20)
    worker.close()
    assert futures[-1].cancelled() and sum(map(sum, seen)) <= 2


def test_how_a_response_is_cut_depends_on_no_other_one(folders, computed):
    _, go_on = computed
    go_on.set()
    scorer, worker, _ = make(folders("llama"), max_length=24)
    long = "no, that is not what I would say to help people"
    together = worker.submit(chat("is the fox quick? " * 3, "yes", long)).result(20)
    worker.close()
    alone = [scorer.score("is the fox quick? " * 3, text)[0] for text in ("yes", long)]
    assert together.rewards == pytest.approx(alone, rel=1e-6) and together.lengths == [24, 24]


@pytest.fixture
def two_cores() -> Iterator[None]:
    """Two threads of PyTorch, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["implicit", "implicit-no-reference"])
def test_a_processor_computes_two_batches_at_once(folders, two_cores, monkeypatch, kind):
    meeting, compute = threading.Barrier(2), Scorer.compute

    def watched(self, trees):
        meeting.wait(20)
        return compute(self, trees)

    folder = folders("llama")
    options = {"reference": str(folder)} if kind == "implicit" else {}
    scorer = rewardgap.load(str(folder), kind=kind, device="cpu", **options)
    asked = [(f"is it {word}?", "yes", "no, it is") for word in ("so", "late", "good", "red")]
    expected = [scorer.score(prompt, responses) for prompt, *responses in asked]
    monkeypatch.setattr(Scorer, "compute", watched)
    worker = Worker(scorer, ServeConfig(model="m", wait=0.2), lambda requests: None)
    futures = [worker.submit(chat(*texts)) for texts in asked]
    rewards = [future.result(20).rewards for future in futures]
    worker.close()
    assert np.allclose(rewards, expected, rtol=1e-5, atol=1e-6)


def test_requests_about_one_prompt_stay_together_when_two_batches_are_made(
    folders, computed, two_cores
):
    seen, go_on = computed
    go_on.set()
    scorer = rewardgap.load(folders("llama"), kind="implicit-no-reference", device="cpu")
    batches: list[int] = []
    worker = Worker(scorer, ServeConfig(model="m", wait=0.3), batches.append)
    asked = [chat(prompt, text) for text in ("yes", "no", "so") for prompt in ("hi", "well?")]
    for future in [worker.submit(responses) for responses in asked]:
        future.result(20)
    worker.close()
    assert sorted(batches) == [3, 3] and seen == [[3], [3]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_scorer_for_another_thread_has_the_same_weights_in_memory(folders, tmp_path, kind):
    run = train_toy(tmp_path, folders("llama"), kind=kind, epochs=1)
    scorer = rewardgap.load(run.folder, device="cpu")
    other = scorer.for_another_thread()
    asked = ("is it so?", ["yes", "no, it is not"])
    assert other.score(*asked) == scorer.score(*asked)
    ours, others = (dict(one.model.named_parameters()) for one in (scorer, other))
    assert ours.keys() == others.keys() and all(ours[name] is others[name] for name in ours)
    modules = (set(one.model.modules()) for one in (scorer, other))
    assert not set.intersection(*modules)
