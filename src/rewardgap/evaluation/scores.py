"""Score files: the rewards of every record, written once, from which every metric is computed.

One JSON object per line::

    {"id": "a", "scores_chosen": 0.5, "scores_rejected": -1.0,
     "tokens_chosen": 12, "tokens_rejected": 9, "truncated": false,
     "baselines": {"longer": {"chosen": 41.0, "rejected": 30.0},
                   "bag_of_words": {"chosen": 0.1, "rejected": 0.3}}, "prompt": "9f86d081884c7d65",
     "responses": "1c8bfe8f801d7974", "subset": "Math", "data_row": 0}

A record of several responses has lists in place of the numbers. Rewards are raw, never squashed.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rewardgap.data.bag_of_words import BagOfWords, response_text
from rewardgap.data.records import Record, Response, prompt_key, responses_id
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError, reported
from rewardgap.io.files import whole_file

MOST = 2**53
"""The largest count that a float64 holds as it is."""

Rewards = tuple[float, ...]
RecordRewards = tuple[Rewards, Rewards]
"""The rewards of one record: (of its chosen responses, of its rejected responses)."""

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """The rewards and lengths of one record's responses, in the order of the record.

    Attributes:
        id: The record's id.
        scores_chosen: Raw rewards of the chosen responses, at least one.
        scores_rejected: Raw rewards of the rejected responses, at least one.
        tokens_chosen: Response lengths in tokens; empty where a file does not say.
        tokens_rejected: As `tokens_chosen`.
        truncated: Whether any of the record's sequences was cut to fit.
        baselines: Rewards of baselines for the same responses, by name; `longer` is their length in
            characters, as the data have them, which is the same for every kind and model.
        prompt: A hash of the prompt, equal for records of one prompt; empty where it is not known.
        responses: A hash of the responses likewise.
        subset: The part of a benchmark that the record belongs to; empty where there is none.
        gold: Gold scores of the responses, where the data have any: what they are really worth.
        data_row: Index of the record's row in its data, of which others may have been dropped; None
            where a file does not say.

    Raises:
        UserError: A reward is not finite, a side has no reward, or lists have unequal lengths.
    """

    id: str
    scores_chosen: Rewards
    scores_rejected: Rewards
    tokens_chosen: tuple[int, ...] = ()
    tokens_rejected: tuple[int, ...] = ()
    truncated: bool = False
    baselines: Mapping[str, RecordRewards] = field(default_factory=dict)
    prompt: str = ""
    responses: str = ""
    subset: str = ""
    gold: RecordRewards | None = None
    data_row: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no metric can be computed from."""
        for side in ("chosen", "rejected"):
            scores, tokens = getattr(self, f"scores_{side}"), getattr(self, f"tokens_{side}")
            if not scores:
                raise UserError(f"record {self.id!r}: scores_{side} is empty")
            check_finite(self.id, f"scores_{side}", scores)
            if tokens and len(tokens) != len(scores):
                raise UserError(
                    f"record {self.id!r} has {len(scores)} scores_{side} but {len(tokens)} "
                    f"tokens_{side}"
                )
        if bool(self.tokens_chosen) != bool(self.tokens_rejected):
            raise UserError(
                f"record {self.id!r} has tokens for one of its sides only; give both or neither"
            )
        sizes = len(self.scores_chosen), len(self.scores_rejected)
        further = {f"baseline {name!r}": sides for name, sides in self.baselines.items()}
        further |= {"gold": self.gold} if self.gold else {}
        for name, (chosen, rejected) in further.items():
            check_finite(self.id, name, (*chosen, *rejected))
            if (len(chosen), len(rejected)) != sizes:
                raise UserError(
                    f"record {self.id!r}: {name} has {len(chosen)} chosen and "
                    f"{len(rejected)} rejected rewards where the scores have {sizes[0]} "
                    f"and {sizes[1]}"
                )

    @property
    def scores(self) -> RecordRewards:
        """The rewards of the chosen and of the rejected responses."""
        return self.scores_chosen, self.scores_rejected


def score_row(
    record: Record, tree: Tree, rewards: Sequence[float], baseline: BagOfWords | None
) -> ScoreRow:
    """Return the score row of a record, whose tree gives the lengths.

    Args:
        record: The record.
        tree: The record as a kind writes it.
        rewards: Rewards of its responses, chosen ones first.
        baseline: A bag of words that scores the same responses, if there is one.
    """
    chosen = tree.chosen
    baselines = {"longer": (_lengths(record.chosen), _lengths(record.rejected))}
    if baseline is not None:
        baselines["bag_of_words"] = baseline.of_record(record)
    return ScoreRow(
        id=record.id,
        scores_chosen=tuple(rewards[:chosen]),
        scores_rejected=tuple(rewards[chosen:]),
        tokens_chosen=tree.lengths[:chosen],
        tokens_rejected=tree.lengths[chosen:],
        truncated=tree.truncated,
        baselines=baselines,
        prompt=prompt_key(record),
        responses=responses_id(record),
        subset=_subset(record.metadata.get("subset")),
        gold=_gold(record),
        data_row=record.row,
    )


def _lengths(responses: Sequence[Response]) -> Rewards:
    """Return the characters of the plain responses, without white space at their ends."""
    return tuple(float(len(response_text(response).strip())) for response in responses)


def _subset(value: object) -> str:
    """Return the name of a subset in one line; anything else is none."""
    return " ".join(value.split()) if isinstance(value, str) else ""


def _gold(record: Record) -> RecordRewards | None:
    """Return the numbers of the columns `gold_chosen` and `gold_rejected`, if there are any."""
    if record.metadata.get("gold_chosen") is None:
        return None
    with reported(UserError, f"record {record.id}: "):
        return _sides(record.metadata, "gold_", _reward)


def check_finite(record_id: str, label: str, rewards: Rewards) -> None:
    """Refuse rewards that are not finite."""
    for reward in rewards:
        if not math.isfinite(reward):
            raise UserError(
                f"record {record_id!r}: {label} has the reward {reward}, which is not finite; "
                "did the model diverge?"
            )


def write_scores(path: str | Path, rows: Iterable[ScoreRow]) -> None:
    """Write score rows so that the file is either whole or not there; floats round-trip exactly.

    Missing folders are made and an existing file is replaced at the end, in one step.

    Raises:
        UserError: If the file cannot be written (permission, full disk); nothing is left behind.
    """
    with whole_file(Path(path)) as unfinished, unfinished.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(_to_json(row), ensure_ascii=False, allow_nan=False) + "\n")


def _to_json(row: ScoreRow) -> dict[str, Any]:
    is_pair = len(row.scores_chosen) == len(row.scores_rejected) == 1

    def side(values: Sequence[float]) -> Any:
        return values[0] if is_pair else list(values)

    fields: dict[str, Any] = {"id": row.id}
    for key in ("scores_chosen", "scores_rejected", "tokens_chosen", "tokens_rejected"):
        if values := getattr(row, key):
            fields[key] = side(values)
    fields["truncated"] = row.truncated
    if row.gold:
        fields |= {"gold_chosen": side(row.gold[0]), "gold_rejected": side(row.gold[1])}
    if row.baselines:
        fields["baselines"] = {
            name: {"chosen": side(chosen), "rejected": side(rejected)}
            for name, (chosen, rejected) in row.baselines.items()
        }
    digests = {"prompt": row.prompt, "responses": row.responses, "subset": row.subset}
    fields |= {key: digest for key, digest in digests.items() if digest}
    return fields if row.data_row is None else fields | {"data_row": row.data_row}


def read_scores(path: str | Path) -> list[ScoreRow]:
    """Read a score file, ours or another tool's: only `id` and the two `scores_` are required.

    Blank lines are skipped; further keys are ignored.

    Raises:
        UserError: For a missing, unreadable or empty file, and, naming the line, for broken JSON,
            a missing key, a wrong type, a duplicate id, or whatever `ScoreRow` refuses.
    """
    rows: dict[str, ScoreRow] = {}
    for number, line in enumerate(_read_text(Path(path)).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _parse_row(json.loads(line))
        except (ValueError, OverflowError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not valid JSON ({error})") from error
        except UserError as error:
            raise UserError(f"{path}, line {number}: {error}") from error
        if row.id in rows:
            raise UserError(f"{path}, line {number}: the id {row.id!r} occurs twice")
        rows[row.id] = row
    if not rows:
        raise UserError(f"the score file {path} is empty")
    return list(rows.values())


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"there is no score file {path}") from error
    except OSError as error:
        raise UserError(f"cannot read the score file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the score file {path} is not UTF-8 text") from error


def _parse_row(fields: object) -> ScoreRow:
    fields = _object(fields, "a score row")
    if "scores" in fields and "scores_chosen" not in fields:
        raise UserError("`scores` are rewards without labels, of which no metric can be computed")
    name, truncated = _require(fields, "id"), fields.get("truncated", False)
    if type(name) not in (str, int):
        raise UserError(f"'id' must be a string, not {type(name).__name__}")
    has_tokens = "tokens_chosen" in fields or "tokens_rejected" in fields
    scores = _sides(fields, "scores_", _reward)
    tokens = _sides(fields, "tokens_", _length) if has_tokens else ((), ())
    if not isinstance(truncated, bool):
        raise UserError(f"'truncated' must be true or false, not {truncated!r}")
    baselines = {
        rule: _sides(_object(sides, f"baseline {rule!r}"), "", _reward)
        for rule, sides in _object(fields.get("baselines", {}), "'baselines'").items()
    }
    digests = _digest(fields, "prompt"), _digest(fields, "responses"), _subset(fields.get("subset"))
    gold = _sides(fields, "gold_", _reward) if "gold_chosen" in fields else None
    number = fields.get("data_row")
    number = None if number is None else _count(number, "data_row", "the number of a row")
    return ScoreRow(str(name), *scores, *tokens, truncated, baselines, *digests, gold, number)


def _object(value: object, label: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{label} must be a JSON object, not {type(value).__name__}")
    return value


def _require(fields: Mapping[str, Any], key: str) -> Any:
    if key not in fields:
        raise UserError(f"the key {key!r} is missing")
    return fields[key]


def _digest(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{key!r} must be a string, not {type(value).__name__}; or leave it out")
    return value or ""


def _sides(
    fields: Mapping[str, Any], prefix: str, convert: Callable[[object, str], _Number]
) -> tuple[tuple[_Number, ...], tuple[_Number, ...]]:
    """Read a number, or a list of numbers, for the chosen and for the rejected responses."""
    keys = (f"{prefix}chosen", f"{prefix}rejected")
    values = (_require(fields, key) for key in keys)
    chosen, rejected = (
        tuple(convert(item, key) for item in (value if isinstance(value, list) else [value]))
        for key, value in zip(keys, values, strict=True)
    )
    return chosen, rejected


def _reward(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{key!r} must be a number or a list of numbers, not {value!r}")
    return float(value)


def _length(value: object, key: str) -> int:
    return _count(value, key, "a count of tokens or a list of them")


def _count(value: object, key: str, expected: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST:
        raise UserError(f"{key!r} must be {expected}, not {value!r:.40}")
    return value
