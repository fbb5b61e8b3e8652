"""What a model's tokenizer makes of the data: what is cut, and which texts hold special tokens."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from rewardgap.checks.data_sets import CheckedData, CheckedSet
from rewardgap.checks.findings import CheckFinding, first_few
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.dropped import Dropped, encode_usable
from rewardgap.data.records import Message, Record
from rewardgap.io.files import read_json
from rewardgap.models.hub import locate_model

BATCH = 256


@dataclass
class _Tokenised:
    """Ids of the records of which something is true."""

    refused: Dropped = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)
    identical: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)


def find_truncated(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield what truncation cuts and makes identical, and what the template cannot write."""
    if data.model is None:
        return
    folder = locate_model(data.model, weights=False)
    template = ChatTemplate.load(folder, data.template)
    limit = data.max_length or _longest(read_json(folder / "config.json"))
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
        for tree in encode_usable(template.encode, batch, limit, tokenised.refused):
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


def _findings(
    checked: CheckedSet, tokenised: _Tokenised, limit: int | None
) -> Iterator[CheckFinding]:
    refused = [dropped.record for dropped in tokenised.refused]
    if refused:
        yield CheckFinding(
            "error",
            "refused by the template",
            f"{checked.share(refused)} cannot be written: {tokenised.refused[0].reason}",
            "a run refuses the data at the first of them",
            "use another template (--template), or --bad-records drop",
            first_few(refused),
        )
    if tokenised.identical:
        yield CheckFinding(
            "error",
            "identical tokens",
            f"{checked.share(tokenised.identical)} have equal responses once the template has "
            "written them"
            + (f" and they are cut to {limit:,} tokens" if tokenised.truncated else ""),
            "their loss is ln 2 whatever the model does; a run refuses them",
            "raise max_length, or --identical-pairs drop",
            first_few(tokenised.identical),
        )
    if tokenised.truncated:
        yield CheckFinding(
            "warning",
            "truncated",
            f"{checked.share(tokenised.truncated)} are longer than {limit:,} tokens and are cut",
            "prompts lose their beginning, and responses their end",
            "raise max_length, or leave them out",
            first_few(tokenised.truncated),
        )
    if tokenised.special:
        yield CheckFinding(
            "warning",
            "special tokens in texts",
            f"{checked.share(tokenised.special)} have text that the tokenizer reads as special "
            "tokens",
            "they end a turn or begin another inside the text",
            "remove them from the texts",
            first_few(tokenised.special),
        )
