"""What a model's tokenizer makes of the data: what is cut, and which texts hold special tokens."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from rewardgap.checks.data_sets import CheckedData, CheckedSet
from rewardgap.checks.findings import EXAMPLES, CheckFinding, share
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.records import Message, Record
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.models.hub import locate_model

BATCH = 256


@dataclass
class _Tokenised:
    """Ids of the records of which something is true, and the first reason to refuse one."""

    refused: list[str] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)
    identical: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    reason: str = ""


def find_truncated(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield what truncation cuts and makes identical, and what the template cannot write."""
    if data.model is None:
        return
    folder = locate_model(data.model, weights=False)
    template = ChatTemplate.load(folder)
    limit = data.max_length or _longest(json.loads((folder / "config.json").read_text()))
    for checked in data.sets:
        tokenised = _tokenise(checked, template, limit)
        yield from _findings(checked, tokenised, limit)


def _longest(config: dict[str, object]) -> int | None:
    """Return the number of positions that a model has, if its configuration says so."""
    inner = config.get("text_config")
    places = [config, inner if isinstance(inner, dict) else {}]
    limits = [place.get("max_position_embeddings") for place in places]
    return next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)


def _tokenise(checked: CheckedSet, template: ChatTemplate, limit: int | None) -> _Tokenised:
    tokenised = _Tokenised()
    special = set(template.tokenizer.all_special_ids)
    stream = checked.records()
    while batch := list(islice(stream, BATCH)):
        for tree in _trees(batch, template, limit, tokenised):
            if tree.truncated:
                tokenised.truncated.append(tree.record)
            if tree.has_identical_pair:
                tokenised.identical.append(tree.record)
        texts = [message.content for record in batch for message in _messages(record)]
        names = [record.id for record in batch for _ in _messages(record)]
        for name, tokens in zip(names, template.tokenize(texts), strict=True):
            if not special.isdisjoint(tokens):
                tokenised.special.append(name)
    return tokenised


def _messages(record: Record) -> tuple[Message, ...]:
    return (*record.prompt, *(message for y in record.responses for message in y))


def _trees(
    batch: Sequence[Record], template: ChatTemplate, limit: int | None, tokenised: _Tokenised
) -> list[Tree]:
    """Return the trees of a batch; records that the template cannot write are noted one by one."""
    try:
        return template.encode(batch, limit)
    except UserError as error:
        if len(batch) == 1:
            tokenised.refused.append(batch[0].id)
            tokenised.reason = tokenised.reason or str(error)
            return []
    return [tree for record in batch for tree in _trees([record], template, limit, tokenised)]


def _findings(
    checked: CheckedSet, tokenised: _Tokenised, limit: int | None
) -> Iterator[CheckFinding]:
    def of(ids: list[str]) -> str:
        return f"{share(len(set(ids)), len(checked.digest.ids), 'record')} of {checked.name}"

    def examples(ids: list[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(ids))[:EXAMPLES]

    if tokenised.refused:
        yield CheckFinding(
            "error",
            "refused by the template",
            f"{of(tokenised.refused)} cannot be written: {tokenised.reason}",
            "a run refuses the data at the first of them",
            "use another template, or leave them out",
            examples(tokenised.refused),
        )
    if tokenised.identical:
        yield CheckFinding(
            "error",
            "identical tokens",
            f"{of(tokenised.identical)} have equal responses once the template has written them"
            + (f" and they are cut to {limit:,} tokens" if tokenised.truncated else ""),
            "their loss is ln 2 whatever the model does; a run refuses them",
            "raise max_length, or set identical_pairs: drop",
            examples(tokenised.identical),
        )
    if tokenised.truncated:
        yield CheckFinding(
            "warning",
            "truncated",
            f"{of(tokenised.truncated)} are longer than {limit:,} tokens and are cut",
            "prompts lose their beginning, and responses their end",
            "raise max_length, or leave them out",
            examples(tokenised.truncated),
        )
    if tokenised.special:
        yield CheckFinding(
            "warning",
            "special tokens in texts",
            f"{of(tokenised.special)} have text that the tokenizer reads as special tokens",
            "they end a turn or begin another inside the text",
            "remove them from the texts",
            examples(tokenised.special),
        )
