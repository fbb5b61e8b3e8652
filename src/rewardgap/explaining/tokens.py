"""Rewards of a record token by token, with the text of every token."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch

from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.records import Record
from rewardgap.data.trees import Tokens, Tree
from rewardgap.explaining.explanation import RecordReward, ResponseReward
from rewardgap.models.devices import autocast
from rewardgap.scoring.scorer import Scorer

CONTEXT = 8  # tokens read before a response, for decoders that drop the first space of a text


def reward_tokens(scorer: Scorer, record: Record) -> RecordReward:
    """Return the rewards of every partial response of a record.

    Raises:
        UserError: If the model cannot read the record.
    """
    model = scorer.model
    (tree,) = trees = model.encode([record], scorer.max_length)
    model.check_readable(trees)
    reference = scorer.reference.compute(trees)[0] if scorer.reference else None
    with torch.no_grad(), autocast(model.device, torch.float32, scorer.compute_dtype):
        rewards = [values.double().tolist() for values in model.prefix_rewards(tree, reference)]
    responses = tuple(
        ResponseReward(label, leaf_texts(model.template, tree, leaf)[: len(values)], tuple(values))
        for label, leaf, values in zip(response_labels(tree), tree.leaves, rewards, strict=True)
    )
    return RecordReward(record.id, record.prompt, responses, tree.truncated, record.row)


def response_labels(tree: Tree) -> list[str]:
    """Return "chosen" and "rejected", numbered from 1 where there are several."""
    return [
        f"{side} {i + 1}" if count > 1 else side
        for side, count in (("chosen", tree.chosen), ("rejected", tree.rejected))
        for i in range(count)
    ]


def leaf_texts(template: ChatTemplate, tree: Tree, leaf: int) -> tuple[str, ...]:
    """Return the text of every token of a leaf; together they are the text of the whole leaf."""
    before = tree.sequence(leaf)[: -len(tree.nodes[leaf])][-CONTEXT:]
    return token_texts(template, before, tree.nodes[leaf])


def token_texts(template: ChatTemplate, before: Tokens, tokens: Tokens) -> tuple[str, ...]:
    """Cut a text where its tokens, at least one, end; other tokens may come before.

    Where several tokens make one character (bytes of UTF-8) it belongs to the last of them, and the
    texts of the others are empty.
    """

    def decode(ids: Sequence[int]) -> str:
        return str(template.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    whole = decode(before + tokens)
    prefixes = [decode(before + tokens[:k]) for k in range(len(tokens))] + [whole]
    ends = accumulate((_common(whole, prefix) for prefix in prefixes), max)
    return tuple(whole[start:end] for start, end in pairwise(ends))


def _common(first: str, second: str) -> int:
    """Return the number of characters that two texts begin with alike."""
    signs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in signs if a != b), min(len(first), len(second)))
