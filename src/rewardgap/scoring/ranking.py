"""Ranking: the responses to every prompt in the order of their reward, as best-of-n needs them.

One JSON object per line, responses and rewards from the best to the worst; `order` says where each
response is in the data, and `best` is the first of these::

    {"id": "a", "prompt": "What is two plus two?", "responses": ["Four.", "Five."],
     "rewards": [0.5, -1.0], "order": [1, 0], "best": 1}
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rewardgap.configs.scoring import RankConfig
from rewardgap.data.dropped import new_list, write_dropped
from rewardgap.data.in_memory import by_keywords
from rewardgap.data.load import load
from rewardgap.data.records import Record, text_or_messages
from rewardgap.evaluation.scores import check_finite
from rewardgap.io.files import refuse_existing, whole_file
from rewardgap.models.processes import launched
from rewardgap.scoring.scorer import open_rater


@by_keywords(RankConfig)
def rank(config: RankConfig) -> Path:
    """Write the responses to every prompt by reward, whole or not at all; return the file's path.

    Rows of a single response belong together if their prompts are equal, wherever they are; labels
    that responses have do not count. Started by `torchrun` or `accelerate launch`, processes share
    the work, and one writes.

    Raises:
        UserError: The model or the data cannot be read, or the file cannot be written.
    """
    path = Path(config.out)
    refuse_existing(path, config.overwrite)
    dropped = new_list(config.bad_records)
    records = load(config.data, config.identical_pairs, dropped, unlabelled=True)
    with launched(config.device) as processes:
        rated = open_rater(config, processes).rate(join_prompts(records), dropped)
    if not processes.is_main:
        return path
    write_dropped(Path(f"{config.out}.dropped.jsonl"), {config.data: dropped})
    with whole_file(path) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for record, rewards in zip(rated.records, rated.rewards, strict=True):
            row = ranked_row(record, rewards, config.top)
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def join_prompts(records: Iterable[Record]) -> list[Record]:
    """Return records with the single responses to one prompt as one record, at the first's place.

    It has the first one's id. A prompt that the chat template gets other arguments with is another.
    """
    joined: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        several = len(record.responses) > 1
        arguments = json.dumps(record.template_arguments, sort_keys=True, default=str)
        key = (record.id,) if several else (record.prompt, arguments)
        joined.setdefault(key, []).append(record)
    return [
        replace(group[0], chosen=tuple(y for record in group for y in record.responses))
        if len(group) > 1
        else group[0]
        for group in joined.values()
    ]


def ranked_row(record: Record, rewards: Sequence[float], top: int | None) -> dict[str, Any]:
    """Return the row of a record; of equal rewards, the response that comes first is the better."""
    check_finite(record.id, "a response", tuple(rewards))
    order = np.argsort(-np.array(rewards), kind="stable").tolist()[:top]
    return {
        "id": record.id,
        "prompt": text_or_messages(record.prompt, "user"),
        "responses": [text_or_messages(record.responses[i], "assistant") for i in order],
        "rewards": [rewards[i] for i in order],
        "order": order,
        "best": order[0],
    }
