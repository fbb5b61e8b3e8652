"""Rewrite the responses of preference data by a language model, each record's under its own id."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rewardgap.configs.rewriting import RewriteConfig
from rewardgap.data.dropped import DroppedRecord, new_list, write_dropped
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.load import load, refuse_wrong
from rewardgap.data.records import Message, Record, Response, record_row
from rewardgap.errors import UserError
from rewardgap.evaluation.text import counted
from rewardgap.io.cache import cache_folder
from rewardgap.io.files import refuse_existing, write_text
from rewardgap.io.progress import duration
from rewardgap.models.hub import refuse_absent_model
from rewardgap.rewriting.attempts import Attempts, Spent
from rewardgap.rewriting.endpoint import Endpoint
from rewardgap.rewriting.gates import overlap
from rewardgap.rewriting.instructions import find_instruction
from rewardgap.rewriting.local import LocalModel
from rewardgap.rewriting.replies import ReplyCache, Rewriter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RewriteResult:
    """What was rewritten, or would be.

    Attributes:
        out: The file; None in a dry run.
        figures: What the file beside it holds: how it was made, how much, and what it cost.
        text: The same in words.
    """

    out: Path | None
    figures: Mapping[str, Any]
    text: str

    def __str__(self) -> str:
        """Return what is printed."""
        return self.text


def refuse_wrong_settings(config: RewriteConfig) -> None:
    """Refuse what cannot be done, before anything is read or asked.

    Raises:
        UserError: Says what is wrong, and how to mend it.
    """
    if not config.dry_run:
        refuse_existing(Path(config.out), config.overwrite)
    find_instruction(config.instruction, config.language)
    refuse_wrong(config.data)
    if config.endpoint is None:
        refuse_absent_model(config.model)


@by_keywords(RewriteConfig)
def rewrite(config: RewriteConfig) -> RewriteResult:
    """Write the same records with rewritten responses, as a data set of their own.

    All texts of assistants are rewritten, equal ones once. Records with a text that cannot be
    rewritten are left out and listed in `OUT.dropped.jsonl`; `OUT.rewriting.json` says how the rest
    was made. Answers are kept in the cache as soon as they are there.

    Raises:
        UserError: The model gives no answers, or none that can be used; nothing is written.
    """
    refuse_wrong_settings(config)
    instruction = find_instruction(config.instruction, config.language)
    dropped = new_list(config.bad_records)
    records = load(config.data, config.identical_pairs, dropped, unlabelled=True)
    texts = list(dict.fromkeys(message.content for r in records for message in _written(r)))
    rewriter: Rewriter = LocalModel(config) if config.endpoint is None else Endpoint(config)
    cache = ReplyCache(cache_folder(config.cache), rewriter.identity)
    attempts = Attempts(config, instruction, rewriter, cache)
    estimate = attempts.estimate(texts)
    size = f"{counted(len(texts), 'text')} of {counted(len(records), 'record')}"
    plan = f"{size}: {_describe_estimate(estimate, config)}"
    if config.dry_run:
        figures = {"texts": len(texts), "records": len(records), **_figures(estimate, config)}
        return RewriteResult(None, figures, f"{plan}\n")
    logger.info("rewriting %s", plan)
    attempts.rewrite(texts)
    left_out = dropped or []
    rewritten = list(_reword(records, attempts, left_out))
    if not rewritten:
        _refuse_nothing(config, attempts, left_out)
    return _write(config, attempts, rewritten, left_out)


def _written(record: Record) -> list[Message]:
    """Return the messages that are rewritten: those that an assistant says in words."""
    messages = [message for response in record.responses for message in response]
    return list(filter(_is_written, messages))


def _is_written(message: Message) -> bool:
    return message.role == "assistant" and bool(message.content.strip())


def _reword(
    records: Sequence[Record], attempts: Attempts, left_out: list[DroppedRecord]
) -> Iterator[Record]:
    """Yield the records whose responses could all be rewritten; list the others."""
    for record in records:
        lost = [m.content for m in _written(record) if m.content not in attempts.texts]
        chosen, rejected = (
            tuple(_reword_response(response, attempts.texts) for response in side)
            for side in (record.chosen, record.rejected)
        )
        if lost:
            left_out.append(DroppedRecord(record.id, attempts.reasons[lost[0]]))
        elif not set(chosen).isdisjoint(rejected):
            reason = "a chosen and a rejected response became the same"
            left_out.append(DroppedRecord(record.id, reason))
        else:
            yield replace(
                record,
                chosen=chosen,
                rejected=rejected,
                metadata={
                    **record.metadata,
                    "overlap": [
                        round(overlap(_words(before), _words(after)), 4)
                        for before, after in zip(record.responses, chosen + rejected, strict=True)
                    ],
                },
            )


def _reword_response(response: Response, texts: Mapping[str, str]) -> Response:
    return tuple(
        replace(message, content=texts.get(message.content, message.content))
        if _is_written(message)
        else message
        for message in response
    )


def _words(response: Response) -> str:
    return "\n".join(message.content for message in response if _is_written(message))


def _refuse_nothing(
    config: RewriteConfig, attempts: Attempts, left_out: Sequence[DroppedRecord]
) -> None:
    """Raise the reason why no record is left."""
    faults = ", ".join(f"{name} {count}" for name, count in attempts.faults.most_common())
    raise UserError(
        f"{config.model} rewrote no record (faults of its answers: {faults or 'none'}); the first: "
        f"record {left_out[0].record}: {left_out[0].reason}; nothing is written: try another "
        "model, instruction or seed, or see --allow"
    )


def _write(
    config: RewriteConfig,
    attempts: Attempts,
    records: Sequence[Record],
    left_out: list[DroppedRecord],
) -> RewriteResult:
    """Write the records, those left out, and how they were made; the records themselves last."""
    overlaps = [share for record in records for share in record.metadata["overlap"]]
    instruction = attempts.instruction
    figures = {
        "data": config.data,
        "instruction": config.instruction,
        "instruction_text": instruction.text,
        "language": instruction.language,
        "model": config.model,
        "endpoint": config.endpoint,
        "versions": dict(attempts.versions),
        "temperature": config.temperature,
        "seed": config.seed,
        "seed_sent": config.endpoint is None or config.send_seed,
        "attempts": config.attempts,
        "max_tokens": config.max_tokens,
        "request": config.request,
        "records": len(records),
        "left_out": len(left_out),
        "responses": len(overlaps),
        "faults": dict(attempts.faults),
        "allowed_faults": config.allow,
        "overlap": {"mean": sum(overlaps) / len(overlaps), "max": max(overlaps)},
        "new": _figures(attempts.new, config),
        "cached": _figures(attempts.cached, config),
    }
    out = Path(config.out)
    write_text(
        Path(f"{out}.rewriting.json"), json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    )
    write_dropped(Path(f"{out}.dropped.jsonl"), {config.data: left_out})
    rows = (json.dumps(record_row(record), ensure_ascii=False) + "\n" for record in records)
    write_text(out, "".join(rows))
    return RewriteResult(out, {"out": str(out), **figures}, _describe(config, figures))


def _figures(spent: Spent, config: RewriteConfig) -> dict[str, Any]:
    figures = {"answers": spent.answers, "tokens_read": spent.read, "tokens_written": spent.written}
    price = spent.price(config)
    return figures if price is None else {**figures, "price": price}


def _describe_estimate(spent: Spent, config: RewriteConfig) -> str:
    parts = [
        f"{counted(spent.answers, 'answer')} to ask for, about {spent.read:,} tokens to read and "
        f"{spent.written:,} to write, without repetitions"
    ]
    price = spent.price(config)
    if price is not None:
        parts.append(f"about {_money(price)} at the given prices")
    if config.requests_per_minute and spent.answers:
        seconds = 60 * spent.answers / config.requests_per_minute
        parts.append(f"at least {duration(seconds)} at {config.requests_per_minute:g} a minute")
    return "; ".join(parts)


def _money(price: float) -> str:
    return f"{price:,.2f}" if price >= 1 else f"{price:.2g}"


def _describe(config: RewriteConfig, figures: Mapping[str, Any]) -> str:
    new, cached, shared = figures["new"], figures["cached"], figures["overlap"]
    lines = [
        f"rewritten: {counted(figures['responses'], 'response')} of "
        f"{counted(figures['records'], 'record')}",
        f"words in common with the originals: {shared['mean']:.0%} on average, "
        f"{shared['max']:.0%} at most",
        f"asked for: {counted(new['answers'], 'answer')}, {new['tokens_read']:,} tokens read and "
        f"{new['tokens_written']:,} written"
        + (f", {_money(new['price'])} at the given prices" if "price" in new else "")
        + f"; from the cache: {counted(cached['answers'], 'answer')}",
    ]
    if figures["faults"]:
        faults = ", ".join(f"{name} {count}" for name, count in figures["faults"].items())
        lines.append(f"faults of answers: {faults}")
    if figures["left_out"]:
        listed = f"{config.out}.dropped.jsonl"
        lines.append(f"left out: {counted(figures['left_out'], 'record')}, see {listed}")
    return "\n".join([*lines, f"wrote {config.out}", ""])
