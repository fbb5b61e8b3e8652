"""Responses of a language model to the prompts of a data set, and the share that is correct.

One response per prompt, sampled at temperature 1 from the whole vocabulary by plain transformers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, GenerationConfig

from rewardgap.data.chat_template import ChatTemplate
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


@dataclass(frozen=True)
class Sampling:
    """How responses are sampled.

    A batch has at most `token_budget` tokens; None stands for `TOKENS_AT_ONCE`. `template` is that
    of prompts, where it is not the model's own.
    """

    seed: int
    device: torch.device
    token_budget: int | None
    template: str | None = None


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
    responses = _sample(folder, records, sampling)
    answers = [
        Answer(record.id, response, check(record.prompt[-1].content, response))
        for record, response in zip(records, responses, strict=True)
    ]
    write_answers(out, answers)
    return answers


def _sample(folder: Path, records: Sequence[Record], sampling: Sampling) -> list[str]:
    template = ChatTemplate.load(folder, sampling.template)
    prompts = template.tokenize(
        [
            template.render(r.prompt, open_response=True, arguments=r.template_arguments)
            for r in records
        ]
    )
    ending = template.end_of_turn
    assert ending is not None, "ChatTemplate.load refuses a template without an end of turn"
    model = _open(folder, ending)
    LanguageModel(model).fit_tokenizer(template)
    model.to(sampling.device)
    responses: dict[int, str] = {}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(sampling.seed)
        token_budget = sampling.token_budget or TOKENS_AT_ONCE
        for batch in progress(list(_batches(prompts, token_budget)), "generating"):
            tokens, mask = _pad([prompts[i] for i in batch], ending)
            written = model.generate(
                input_ids=tokens.to(sampling.device), attention_mask=mask.to(sampling.device)
            )
            for i, row in zip(batch, written[:, tokens.shape[1] :].tolist(), strict=True):
                kept = row[: row.index(ending)] if ending in row else row
                responses[i] = str(template.tokenizer.decode(kept))
    return [responses[i] for i in range(len(records))]


def _open(folder: Path, ending: int) -> Any:
    model, _ = load_model(folder, AutoModelForCausalLM, torch.float32)
    # Set, not passed to `generate`, which would mix in the model's default settings.
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=MOST_NEW_TOKENS,
        eos_token_id=ending,
        pad_token_id=ending,
    )
    return model.eval()


def _batches(prompts: Sequence[Tokens], token_budget: int) -> Iterator[list[int]]:
    """Yield the indices of prompts of similar length that are answered together, longest first."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    while order:
        size = max(1, token_budget // (len(prompts[order[0]]) + MOST_NEW_TOKENS))
        yield order[:size]
        order = order[size:]


def _pad(prompts: Sequence[Tokens], token: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return prompts padded on the left, (B, T), and a mask of the tokens that are not padding."""
    rows = [torch.tensor(prompt) for prompt in prompts]
    pad = partial(pad_sequence, batch_first=True, padding_side="left")
    return pad(rows, padding_value=token), pad([torch.ones_like(row) for row in rows])
