"""Every kind's reward as plain transformers computes it: text written by hand, one sequence at a
time, no packs, no padding, no chunks, eager attention. What the package is compared with."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedModel

from rewardgap.data.records import Message, Record, Response
from rewardgap.models.kinds import KINDS, find_kind
from rewardgap.models.kinds.reward_model import RewardModel, TrainedRewardModel

Tokens = list[int]

TRAINABLE = tuple(kind for kind in KINDS if issubclass(find_kind(kind), TrainedRewardModel))
BASELINES = tuple(kind for kind in KINDS if kind not in TRAINABLE)


def make_record(
    prompt: str | tuple[Message, ...], chosen: Sequence[str], rejected: Sequence[str]
) -> Record:
    """A record whose id is its last question."""
    turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    responses = [tuple((Message("assistant", y),) for y in ys) for ys in (chosen, rejected)]
    return Record(turns[-1].content, turns, *responses, {})


# One to four responses a record; some sequences are longer than the tiny models' windows of 16,
# and the conversation has ends of turn inside its prompt.
RECORDS = (
    make_record("hello", ["yes, the quick brown fox jumps over the lazy dog"], []),
    make_record("what is two plus two? Is the answer correct?", ["four, certainly"], ["no"]),
    make_record("hi", ["yes, sure"], ["yes, sure? never", "five is what I would say"]),
    make_record("Is it so? " * 5, ["yes", "A truthful reply is yes."], ["no", "not really ✗"]),
    make_record(
        (
            Message("system", "I like to help people."),
            Message("user", "Would you say so?"),
            Message("assistant", "Absolutely."),
            Message("user", "Really?"),
        ),
        ["Certainly!"],
        ["My judgement: never."],
    ),
)


def plain_copy(
    model: PreTrainedModel, dtype: torch.dtype = torch.float32, attention: str | None = "eager"
) -> PreTrainedModel:
    """The same weights in plain transformers with its eager or its default (None) attention."""
    config = copy.deepcopy(model.config)
    config._attn_implementation = None
    copied = type(model)._from_config(config, attn_implementation=attention)
    copied.load_state_dict(model.state_dict())
    return copied.to(dtype).eval()


@dataclass(frozen=True)
class Written:
    """A response as token ids: what comes before it, and what follows even a part of it."""

    prompt: Tokens
    response: Tokens
    closing: Tokens


class Plain:
    """A reward model of any kind, read from plain transformers.

    `ours` gives its weights, tokenizer and β; nothing else of it is used.
    """

    def __init__(
        self,
        kind: str,
        ours: RewardModel,
        reference: PreTrainedModel | None = None,
        attention: str | None = "eager",
    ):
        self.kind = kind
        self.tokenizer = ours.template.tokenizer
        self.paper_template = ours.template.added_tokens
        self.beta = ours.beta
        self.likelihood_weight = ours.options.likelihood_weight
        self.model = None
        if isinstance(ours, TrainedRewardModel):
            self.model = plain_copy(ours.model, ours.model.dtype, attention)
        self.reference = reference
        self._references: dict[str, np.ndarray] = {}

    def tokenize(self, text: str) -> Tokens:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def render(self, conversation: Sequence[Message]) -> str:
        """A prompt and the opening of the response."""
        if self.paper_template:
            forms = {"user": "[USER]{}", "assistant": "[ASSISTANT]{}[EOS]", "system": "{}"}
            text = "".join(forms[m.role].format(m.content) for m in conversation)
            return text + "[ASSISTANT]"
        text = "".join(f"<|{m.role}|>{m.content}<|end|>" for m in conversation)
        return f"<|begin|>{text}<|assistant|>"

    def write(self, record: Record, response: Response) -> Written:
        """A response as the kind reads it."""
        write = self.question if self.kind == "generative" else self.answer
        return write(record, response)

    def answer(self, record: Record, response: Response) -> Written:
        end = "[EOS]" if self.paper_template else "<|end|>"
        prompt = self.tokenize(self.render(record.prompt))
        return Written(prompt, self.tokenize(response[0].content + end), [])

    def question(self, record: Record, response: Response) -> Written:
        *before, last = record.prompt
        opened = f"Question: {last.content}\nAnswer: "
        closed = "\nVerification: Is the answer correct (Yes/No)?"
        whole, empty = (
            self.tokenize(self.render([*before, Message("user", opened + words + closed)]))
            for words in (response[0].content, "")
        )
        prompt = self.tokenize(self.render([*before, Message("user", opened.rstrip())]))
        prompt = prompt[: len(prompt) - (1 if self.paper_template else 2)]
        assert whole[: len(prompt)] == empty[: len(prompt)] == prompt
        end = "[ASSISTANT]" if self.paper_template else "<|end|><|assistant|>"
        closing = self.tokenize(closed + end)
        assert whole[-len(closing) :] == closing
        return Written(prompt, whole[len(prompt) : -len(closing)], closing)

    def reward(self, written: Written, length: int | None = None) -> torch.Tensor:
        """The reward of the first `length` tokens of a response (all where None)."""
        return READ[self.kind](self, written.prompt, written.response[:length] + written.closing)

    def losses(self, record: Record) -> Iterator[torch.Tensor]:
        """The loss of every pair."""
        for chosen in record.chosen:
            for rejected in record.rejected:
                yield self.pair_loss(record, chosen, rejected)

    def pair_loss(self, record: Record, chosen: Response, rejected: Response) -> torch.Tensor:
        plus, minus = self.write(record, chosen), self.write(record, rejected)
        if self.kind != "generative":
            return -(self.reward(plus) - self.reward(minus)).sigmoid().log()
        loss = -self.reward(plus).log()
        loss = loss - self.probability("No", minus.prompt, minus.response + minus.closing).log()
        if not self.likelihood_weight:
            return loss
        text = self.answer(record, chosen)
        steps = log_probs(self.model, text.prompt, text.response)
        return loss - self.likelihood_weight * steps.sum()

    def probability(self, word: str, prompt: Tokens, response: Tokens) -> torch.Tensor:
        logits = self.model(input_ids=torch.tensor([prompt + response])).logits[0, -1]
        return logits.softmax(-1)[self.tokenize(word)[0]]

    @torch.no_grad()
    def rewards(self, record: Record) -> list[float]:
        return [float(self.reward(self.write(record, y))) for y in record.responses]

    @torch.no_grad()
    def references(self, record: Record) -> np.ndarray | None:
        """Reference log-probabilities of every response token, as packs take them."""
        key = repr(record)
        if self.reference is None or key in self._references:
            return self._references.get(key)
        texts = [self.answer(record, y) for y in record.responses]
        steps = [log_probs(self.reference, text.prompt, text.response) for text in texts]
        self._references[key] = torch.cat(steps).numpy()
        return self._references[key]


def log_probs(model: PreTrainedModel, prompt: Tokens, response: Tokens) -> torch.Tensor:
    logits = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None])[:, 0]


def explicit(plain: Plain, prompt: Tokens, response: Tokens) -> torch.Tensor:
    plain.model.config.get_text_config().pad_token_id = None  # the last token is the last token
    return plain.model(input_ids=torch.tensor([prompt + response])).logits[0, 0]


def explicit_mean(plain: Plain, prompt: Tokens, response: Tokens) -> torch.Tensor:
    output = plain.model.base_model(input_ids=torch.tensor([prompt + response]))
    return plain.model.score(output.last_hidden_state[0, len(prompt) :].mean(0))[0]


def implicit(plain: Plain, prompt: Tokens, response: Tokens) -> torch.Tensor:
    reference = log_probs(plain.reference, prompt, response).detach().sum(dtype=torch.float64)
    return implicit_no_reference(plain, prompt, response) - plain.beta * reference


def implicit_no_reference(plain: Plain, prompt: Tokens, response: Tokens) -> torch.Tensor:
    return plain.beta * log_probs(plain.model, prompt, response).sum(dtype=torch.float64)


READ: dict[str, Callable[[Plain, Tokens, Tokens], torch.Tensor]] = {
    "explicit": explicit,
    "explicit-mean": explicit_mean,
    "implicit": implicit,
    "implicit-no-reference": implicit_no_reference,
    "generative": lambda plain, *tokens: plain.probability("Yes", *tokens),
    "length": lambda plain, prompt, response: torch.tensor(float(len(response))),
    "constant": lambda plain, prompt, response: torch.tensor(0.0),
}
