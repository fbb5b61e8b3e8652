"""Score files: the rewards of every record, written once, from which every metric is computed.

One JSON object per line::

    {"id": "a", "scores_chosen": 0.5, "scores_rejected": -1.0,
     "tokens_chosen": 12, "tokens_rejected": 9, "truncated": false,
     "baselines": {"bag_of_words": {"chosen": 0.1, "rejected": 0.3}}, "prompt": "9f86d081884c7d65",
     "responses": "1c8bfe8f801d7974"}

A record of several responses has lists in place of the numbers. Rewards are raw, never squashed.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rewardgap.data.bag_of_words import BagOfWords, response_text
from rewardgap.data.records import Record, prompt_id, responses_id
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.io.files import whole_file

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
        baselines: Rewards of content-blind baselines for the same responses, by name.
        prompt: A hash of the prompt, equal for records of one prompt; empty where it is not known.
        responses: A hash of the responses likewise.

    Raises:
        UserError: A reward is not finite, a side has no reward, or lists have unequal lengths; the
            message names the id.
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

    def __post_init__(self) -> None:
        """Refuse what no metric can be computed from."""
        _check_side(self, "chosen", self.scores_chosen, self.tokens_chosen)
        _check_side(self, "rejected", self.scores_rejected, self.tokens_rejected)
        if bool(self.tokens_chosen) != bool(self.tokens_rejected):
            raise UserError(
                f"record {self.id!r} has tokens for one of its sides only; give both or neither"
            )
        sizes = len(self.scores_chosen), len(self.scores_rejected)
        for name, (chosen, rejected) in self.baselines.items():
            _check_finite(self.id, f"baseline {name!r}", (*chosen, *rejected))
            if (len(chosen), len(rejected)) != sizes:
                raise UserError(
                    f"record {self.id!r}: baseline {name!r} has {len(chosen)} chosen and "
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
    """Return the score row of a record.

    Args:
        record: The record.
        tree: The record as a kind writes it, of which the lengths are taken.
        rewards: Rewards of its responses, chosen ones first.
        baseline: A bag of words that scores the same responses, if there is one.
    """
    chosen = tree.chosen
    baselines = {}
    if baseline is not None:
        words = [baseline.score(response_text(response)) for response in record.responses]
        baselines["bag_of_words"] = (tuple(words[:chosen]), tuple(words[chosen:]))
    return ScoreRow(
        id=record.id,
        scores_chosen=tuple(rewards[:chosen]),
        scores_rejected=tuple(rewards[chosen:]),
        tokens_chosen=tree.lengths[:chosen],
        tokens_rejected=tree.lengths[chosen:],
        truncated=tree.truncated,
        baselines=baselines,
        prompt=prompt_id(record.prompt),
        responses=responses_id(record),
    )


def _check_side(row: ScoreRow, side: str, scores: Rewards, tokens: tuple[int, ...]) -> None:
    if not scores:
        raise UserError(f"record {row.id!r}: scores_{side} is empty")
    _check_finite(row.id, f"scores_{side}", scores)
    if tokens and len(tokens) != len(scores):
        raise UserError(
            f"record {row.id!r} has {len(scores)} scores_{side} but {len(tokens)} tokens_{side}"
        )


def _check_finite(record_id: str, label: str, rewards: Rewards) -> None:
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

    fields: dict[str, Any] = {
        "id": row.id,
        "scores_chosen": side(row.scores_chosen),
        "scores_rejected": side(row.scores_rejected),
    }
    if row.tokens_chosen:
        fields["tokens_chosen"] = side(row.tokens_chosen)
        fields["tokens_rejected"] = side(row.tokens_rejected)
    fields["truncated"] = row.truncated
    if row.baselines:
        fields["baselines"] = {
            name: {"chosen": side(chosen), "rejected": side(rejected)}
            for name, (chosen, rejected) in row.baselines.items()
        }
    for key, digest in (("prompt", row.prompt), ("responses", row.responses)):
        if digest:
            fields[key] = digest
    return fields


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
        except (ValueError, OverflowError) as error:
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
    has_tokens = "tokens_chosen" in fields or "tokens_rejected" in fields
    baselines = _object(fields.get("baselines", {}), "'baselines'")
    return ScoreRow(
        id=_identifier(fields),
        scores_chosen=_values(fields, "scores_chosen", _reward),
        scores_rejected=_values(fields, "scores_rejected", _reward),
        tokens_chosen=_values(fields, "tokens_chosen", _length) if has_tokens else (),
        tokens_rejected=_values(fields, "tokens_rejected", _length) if has_tokens else (),
        truncated=_flag(fields.get("truncated", False)),
        baselines={name: _baseline(name, sides) for name, sides in baselines.items()},
        prompt=_digest(fields, "prompt"),
        responses=_digest(fields, "responses"),
    )


def _baseline(name: str, sides: object) -> RecordRewards:
    sides = _object(sides, f"baseline {name!r}")
    return _values(sides, "chosen", _reward), _values(sides, "rejected", _reward)


def _object(value: object, label: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{label} must be a JSON object, not {type(value).__name__}")
    return value


def _require(fields: Mapping[str, Any], key: str) -> Any:
    if key not in fields:
        raise UserError(f"the key {key!r} is missing")
    return fields[key]


def _identifier(fields: Mapping[str, Any]) -> str:
    value = _require(fields, "id")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UserError(f"'id' must be a string, not {type(value).__name__}")
    return str(value)


def _digest(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{key!r} must be a string, not {type(value).__name__}; or leave it out")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"'truncated' must be true or false, not {value!r}")
    return value


def _values(
    fields: Mapping[str, Any], key: str, convert: Callable[[object, str], _Number]
) -> tuple[_Number, ...]:
    """Read a number, or a list of numbers, as a tuple."""
    value = _require(fields, key)
    return tuple(convert(item, key) for item in (value if isinstance(value, list) else [value]))


def _reward(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{key!r} must be a number or a list of numbers, not {value!r}")
    return float(value)


def _length(value: object, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{key!r} must be a count of tokens or a list of them, not {value!r}")
    return value
