"""What waits is computed together: equal prompts once, and no request suffers from another one."""

import threading
from pathlib import Path

import pytest

import rewardgap
from rewardgap.configs.serving import ServeConfig
from rewardgap.data.records import Message
from rewardgap.errors import UserError
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
