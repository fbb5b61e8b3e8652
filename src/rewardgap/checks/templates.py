"""What the tokenizer and its chat template do to a conversation."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from rewardgap.checks.checkpoints import Checkpoint, WrittenResponse, reordered
from rewardgap.checks.findings import CheckFinding, first_few
from rewardgap.data.records import Message, Record
from rewardgap.evaluation.text import share

WORDS = "words of a response"
SHIFT = 0.1
"""Mean change of rewards, in their standard deviations, from which on it is a warning."""


def find_refused_records(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield records that the template refuses to write; the others are checked."""
    if checkpoint.refused:
        names, reasons = zip(*checkpoint.refused, strict=True)
        whole = len(checkpoint.refused) + len(checkpoint.records)
        yield CheckFinding(
            "warning" if checkpoint.records else "error",
            "template refuses",
            f"the chat template refuses {share(len(names), whole, 'record')}: {reasons[0]}",
            "they have no reward",
            "mend the template, or leave out what it does not know (such as system messages)",
            first_few(names),
        )


def find_template_faults(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield a template that is missing, or that does not end a response."""
    tokenizer = checkpoint.tokenizer
    if tokenizer.chat_template is None:
        yield CheckFinding(
            "warning",
            "no chat template",
            "the tokenizer has no chat template",
            "every tool writes conversations in its own way, and the rewards are those of texts "
            "that the model was not trained on",
            "add the template that it was trained with (chat_template.jinja)",
        )
        return
    record = Record("", (Message("user", "a question"),), (), (), {})
    text = checkpoint.render(record, (Message("assistant", WORDS),))
    closing = checkpoint.tokenize(text.rpartition(WORDS)[2])
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    if special.isdisjoint(closing):
        yield CheckFinding(
            "warning",
            "no end of turn",
            "the chat template does not end a response with a special token",
            "a complete response cannot be told from one that was cut off; tools that append an "
            "end-of-sequence token read other rewards",
            "end the template's assistant turns with a special token, if the model was trained so",
        )


def find_double_bos(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield a beginning-of-sequence token that is written twice."""
    bos = checkpoint.tokenizer.bos_token_id
    if bos is None:
        return
    twice = sum(response.tokens[:2] == (bos, bos) for response in checkpoint.written)
    if twice:
        yield CheckFinding(
            "error",
            "double BOS",
            f"the chat template writes {checkpoint.tokenizer.bos_token!r} twice",
            f"{share(twice, len(checkpoint.written), 'text')} begin with it twice, which no "
            "language model was pretrained on",
            "remove one from the template",
        )
        return
    again = [_tokenised_again(checkpoint, response) for response in checkpoint.written]
    if any(response.tokens[:2] == (bos, bos) for response in again):
        rewards, scale = checkpoint.rewards(again), float(np.std(checkpoint.alone))
        changed = reordered(checkpoint.alone, rewards)
        moved = float(np.abs(rewards - checkpoint.alone).mean())
        yield CheckFinding(
            "warning" if changed or moved > SHIFT * scale else "note",
            "double BOS",
            f"template and tokenizer both write {checkpoint.tokenizer.bos_token!r}: a tool that "
            "tokenises rendered text in the usual way has it twice",
            f"rewards move by {moved / scale if scale else 0:.2g} standard deviations, and the "
            f"order of {share(changed, len(checkpoint.records), 'pair')} changes",
            "tokenise rendered text with add_special_tokens=False (as rewardgap does), or leave it "
            "out of the template",
        )


def _tokenised_again(checkpoint: Checkpoint, response: WrittenResponse) -> WrittenResponse:
    """Return a response as a tool has it that lets the tokenizer add its special tokens."""
    tokens = tuple(checkpoint.tokenizer(response.text, verbose=False)["input_ids"])
    added = len(tokens) - len(response.tokens)
    return WrittenResponse(response.text, tokens, tokens[: len(response.prompt) + added])


def find_border(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield records whose prompt, opened for a response, does not begin prompt and response."""
    odd = [
        record.id
        for record, response in zip(checkpoint.records, checkpoint.written[::2], strict=True)
        if response.tokens[: len(response.prompt)] != response.prompt
    ]
    if odd:
        yield CheckFinding(
            "warning",
            "prompt no prefix",
            f"in {share(len(odd), len(checkpoint.records), 'record')} the tokens of the prompt are "
            "not the first tokens of prompt and response",
            "log-probabilities of the response begin at the wrong token in tools that count from "
            "the prompt's length",
            "use a template whose generation prompt is also what precedes a given response",
            first_few(odd),
        )


def find_vocabulary(checkpoint: Checkpoint) -> Iterator[CheckFinding]:
    """Yield tokens for which the model has no embedding."""
    embeddings: Any = checkpoint.model.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    largest = max(max(response.tokens) for response in checkpoint.written)
    if largest >= rows:
        odd = np.sum([max(response.tokens) >= rows for response in checkpoint.written])
        yield CheckFinding(
            "error",
            "unknown tokens",
            f"the tokenizer writes token {largest:,}, but the model has {rows:,} embeddings",
            f"{share(int(odd), len(checkpoint.written), 'text')} cannot be computed",
            "save the model with resized embeddings, or the tokenizer that it was trained with",
        )
