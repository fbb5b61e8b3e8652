"""The records of the page: rewards of every run, and the texts where they can still be had.

They travel as gzipped JSON in base64, so that nothing in a text can be read as markup.
"""

import base64
import gzip
import json
import logging
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from rewardgap.data.load import load
from rewardgap.data.records import Record, as_text, prompt_key, responses_id
from rewardgap.errors import UserError
from rewardgap.evaluation.scores import ScoreRow
from rewardgap.reporting.drawing import kind_style
from rewardgap.reporting.results import Results, Rows

logger = logging.getLogger(__name__)

LONGEST = 12_000
"""Characters of a text that the page shows."""

Loaded = tuple[Mapping[str, Record], str]
"""The records of a set by id; none, and the reason, where they cannot be had."""


class Texts(dict[str, int]):
    """Every text once, with its number."""

    def number(self, text: str) -> int:
        """Return the number of a text, cut where it is very long."""
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}… ({len(text) - LONGEST:,} more characters)"
        return self.setdefault(text, len(self))

    def all(self) -> list[str]:
        """Return the texts in the order of their numbers."""
        return list(self)


def pack(experiments: Iterable[Results]) -> str:
    """Return the records of all experiments, for the page to unpack."""
    texts = Texts()
    load_once = cache(_load)
    places = [(results, name) for results in experiments for name in results.sets]
    collections = [_collection(*place, texts, load_once) for place in places]
    kinds = {cell["kind"] for collection in collections for cell in collection["cells"]}
    data = {
        "colours": {kind: kind_style(kind).colour for kind in sorted(kinds)},
        "texts": texts.all(),
        "collections": collections,
    }
    plain = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(plain, compresslevel=6, mtime=0)).decode("ascii")


def _load(spec: str) -> Loaded:
    try:
        # Records that training refused or dropped were not scored; whether to is settled.
        return {record.id: record for record in load(spec, "drop", [])}, ""
    except (UserError, OSError) as error:
        logger.warning("the texts of %s are not shown: %s", spec, error)
        return {}, str(error)


def _collection(
    results: Results, name: str, texts: Texts, load_once: Callable[[str], Loaded]
) -> dict[str, Any]:
    """Return an experiment's evaluation set: ids, texts, lengths, and the rewards of every run."""
    by_cell = results.rows[name]
    cell, rows = next(iter(by_cell.items()))
    collection: dict[str, Any] = {
        "experiment": results.experiment.name,
        "set": name,
        "shift_of": next(e.shift_of for e in results.experiment.sets if e.name == name),
        "ids": [row.id for row in rows],
        "cells": [
            {
                "subject": run.subject,
                "kind": run.kind,
                "seed": run.seed,
                "folder": shlex.quote(str(run.run.folder)),
                "rewards": [reward for row in by_cell[run] for reward in _short_rewards(row)],
            }
            for run in by_cell
        ],
    }
    if all(row.data_row is not None for row in rows):
        collection["places"] = [row.data_row for row in rows]
    if any(len(row.scores_chosen) + len(row.scores_rejected) > 2 for row in rows):
        collection["sizes"] = [[len(row.scores_chosen), len(row.scores_rejected)] for row in rows]
    if all(row.tokens_chosen for row in rows):
        collection["tokens"] = [[row.tokens_chosen, row.tokens_rejected] for row in rows]
    spec = cell.run.read_config().get("eval", {}).get(name)
    records, obstacle = _scored_records(spec, rows, load_once)
    if obstacle:
        return collection | {"without_texts": f"Texts are not shown: {obstacle}."}
    scored = [records[row.id] for row in rows]
    return collection | {
        "data": shlex.quote(str(spec)),
        "prompts": [texts.number(as_text(record.prompt)) for record in scored],
        "chosen": [[texts.number(as_text(y)) for y in record.chosen] for record in scored],
        "rejected": [[texts.number(as_text(y)) for y in record.rejected] for record in scored],
    }


def _short_rewards(row: ScoreRow) -> Sequence[float]:
    """Round a record's rewards to six digits, unless that would make two of them equal."""
    rewards = (*row.scores_chosen, *row.scores_rejected)
    rounded = [float(f"{reward:.6g}") for reward in rewards]
    return rounded if len(set(rounded)) == len(set(rewards)) else rewards


def _scored_records(spec: object, rows: Rows, load_once: Callable[[str], Loaded]) -> Loaded:
    """Return the records that were scored, by what the configuration of a run names as data."""
    if not isinstance(spec, str):
        return {}, "the run's config.yaml does not name their data"
    records, obstacle = load_once(spec)
    if not (obstacle or all(_rates(row, records.get(row.id)) for row in rows)):
        return {}, f"{spec} no longer holds the records that were scored"
    return records, obstacle


def _rates(row: ScoreRow, record: Record | None) -> bool:
    """Whether a score row is that of a record, as far as the row can tell."""
    return (
        record is not None
        and row.prompt in ("", prompt_key(record))
        and row.responses in ("", responses_id(record))
        and len(row.scores_chosen) == len(record.chosen)
        and len(row.scores_rejected) == len(record.rejected)
    )
