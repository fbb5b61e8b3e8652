"""Responses of a language model to the prompts of a data set, and the share that is correct.

One response per prompt, sampled from the whole vocabulary by plain transformers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, GenerationConfig

from rewardgap.data.chat_template import ChatTemplate, Conversation
from rewardgap.data.records import Record
from rewardgap.data.trees import Tokens
from rewardgap.errors import UserError
from rewardgap.io.generations import Answer, read_answers, write_answers
from rewardgap.io.progress import progress
from rewardgap.models.language_model import LanguageModel
from rewardgap.models.loading import load_model

MOST_NEW_TOKENS = 300
TOKENS_AT_ONCE = 16_384
"""Default token budget: more than in a forward pass, as a step computes one token per response."""

Check = Callable[[str, str], bool]
"""Returns whether a response, the second argument, to a prompt, the first, is correct."""

Prompt: TypeAlias = tuple[Conversation, Mapping[str, Any]]
"""A conversation that a model responds to, and a record's `template_arguments`."""


@dataclass(frozen=True)
class Sampling:
    """How responses are sampled.

    A batch has at most `token_budget` tokens; None stands for `TOKENS_AT_ONCE`. `template` is that
    of prompts, where it is not the model's own. At the temperature 0 the likeliest token is taken.
    A response has at most `max_tokens` tokens; None stands for `MOST_NEW_TOKENS`.
    """

    seed: int
    device: torch.device
    token_budget: int | None
    template: str | None = None
    temperature: float = 1.0
    max_tokens: int | None = None


@dataclass(frozen=True)
class GeneratedText:
    """A response that was sampled, and whether the model ended it."""

    text: str
    prompt_tokens: int
    tokens: int
    is_ended: bool


def answer(
    folder: Path, records: Sequence[Record], check: Check, sampling: Sampling, out: Path
) -> list[Answer]:
    """Sample and check a response to every record's prompt, unless `out` holds them already.

    Args:
        folder: A causal language model and its tokenizer.
        records: The records whose prompts are answered; their responses are not read.
        check: Returns whether a response is correct.
        sampling: How responses are sampled.
        out: The file of answers, one JSON object per line.

    Raises:
        UserError: `out` holds answers to other prompts, or is damaged.
    """
    if out.exists():
        answers = read_answers(out)
        if [response.id for response in answers] != [record.id for record in records]:
            raise UserError(f"{out} holds answers to other prompts; remove it")
        return answers
    prompts = [(record.prompt, record.template_arguments) for record in records]
    samples = dict(Sampler(folder, sampling).sample(prompts))
    answers = [
        Answer(record.id, response, check(record.prompt[-1].content, response))
        for index, record in enumerate(records)
        for response in [samples[index].text]
    ]
    write_answers(out, answers)
    return answers


class Sampler:
    """A language model that responds to prompts.

    Args:
        folder: A causal language model and its tokenizer.
        sampling: How responses are sampled.
    """

    def __init__(self, folder: Path, sampling: Sampling):
        self._template = ChatTemplate.load(folder, sampling.template)
        ending = self._template.end_of_turn
        assert ending is not None, "ChatTemplate.load refuses a template without an end of turn"
        self._ending, self._sampling = ending, sampling
        self._most = sampling.max_tokens or MOST_NEW_TOKENS
        self._model = self._open(folder)

    def _open(self, folder: Path) -> Any:
        model, _ = load_model(folder, AutoModelForCausalLM, torch.float32)
        temperature = self._sampling.temperature
        chance = {"temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {}
        # Set, not passed to `generate`, which would mix in the model's default settings.
        model.generation_config = GenerationConfig(
            do_sample=bool(temperature),
            **chance,
            max_new_tokens=self._most,
            eos_token_id=self._ending,
            pad_token_id=self._ending,
        )
        language_model = LanguageModel(model)
        language_model.fit_tokenizer(self._template)
        return language_model.to(self._sampling.device).model.eval()

    def sample(
        self, prompts: Sequence[Prompt], seed: int | None = None
    ) -> Iterator[tuple[int, GeneratedText]]:
        """Yield the number of a prompt and a response to it, batch by batch, in any order.

        Args:
            prompts: Conversations, with what the chat template gets beside them.
            seed: Another one than that of `sampling`.
        """
        template, device = self._template, self._sampling.device
        written = [
            template.render(messages, open_response=True, arguments=arguments)
            for messages, arguments in prompts
        ]
        rows = template.tokenize(written)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self._sampling.seed if seed is None else seed)
            token_budget = self._sampling.token_budget or TOKENS_AT_ONCE
            for batch in progress(list(_batches(rows, token_budget, self._most)), "generating"):
                tokens, mask = _pad([rows[i] for i in batch], self._ending)
                responses = self._model.generate(
                    input_ids=tokens.to(device), attention_mask=mask.to(device)
                )[:, tokens.shape[1] :].tolist()
                for i, row in zip(batch, responses, strict=True):
                    yield i, self._read(row, len(rows[i]))

    def _read(self, row: list[int], prompt_tokens: int) -> GeneratedText:
        is_ended = self._ending in row
        kept = row[: row.index(self._ending)] if is_ended else row
        text = str(self._template.tokenizer.decode(kept))
        return GeneratedText(text, prompt_tokens, len(kept) + is_ended, is_ended)


def _batches(prompts: Sequence[Tokens], token_budget: int, most: int) -> Iterator[list[int]]:
    """Yield the indices of prompts of similar length that are answered together, longest first."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    while order:
        size = max(1, token_budget // (len(prompts[order[0]]) + most))
        yield order[:size]
        order = order[size:]


def _pad(prompts: Sequence[Tokens], token: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return prompts padded on the left, (B, T), and a mask of the tokens that are not padding."""
    rows = [torch.tensor(prompt) for prompt in prompts]
    pad = partial(pad_sequence, batch_first=True, padding_side="left")
    return pad(rows, padding_value=token), pad([torch.ones_like(row) for row in rows])
