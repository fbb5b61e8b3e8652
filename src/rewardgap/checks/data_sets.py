"""The data that are checked: rows as they are, also those that are refused, and their digest.

A digest keeps numbers instead of texts: some 70 bytes per pair, however long its responses are.
"""

import re
from array import array
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardgap.checks.findings import first_few
from rewardgap.configs.compute import Identical
from rewardgap.data.bag_of_words import response_text
from rewardgap.data.columns import is_number
from rewardgap.data.load import read_rows, rows_not_sampled
from rewardgap.data.parsing import parse_record
from rewardgap.data.records import Record, Response, Row
from rewardgap.errors import UserError
from rewardgap.evaluation.text import share

SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
)
"""Columns of scores that say by how much the chosen response is better."""
MARKUP = re.compile(r"<\|[\w./-]+\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</s>\s*$|^<s>")
ROLES = re.compile(r"(?:^|\n\n)(?:Human|Assistant): |^### (?:Instruction|Response):", re.MULTILINE)
HINTS = ("<|", "INST]", "SYS>>", "_of_turn>", "</s>", "<s>", "Human: ", "Assistant: ", "### ")


@dataclass(frozen=True)
class Refused:
    """A row that cannot be read as a record: where it is, and why."""

    location: str
    reason: str


@dataclass(frozen=True)
class Digest:
    """What the quick checks know of a data set: (records,) and (pairs,) arrays of numbers.

    Hashes are Python's own: equal for equal texts, within one process.

    Attributes:
        ids: Names of the records.
        refused: Rows that are no records.
        ties: Indices of the records whose metadata name no winner.
        reversed_scores: Indices of those whose metadata name the rejected response as the winner.
        unchanged: By column, indices of the records whose response equals the original one.
        markup: By mark, indices of the records whose texts hold parts of a chat template.
        empty: Indices of the records with a response of no characters but spaces.
        given: Hashes of the ids that rows have of themselves; 0 for a row without one.
        prompt: Hashes of the records' prompts.
        record: Index of each pair's record.
        pair: Hashes of prompt, chosen and rejected response.
        swapped: Hashes of the same pair with the responses exchanged.
        answer: Hashes of prompt and chosen response.
        lengths: (pairs, 2) characters of the chosen and the rejected response.
    """

    ids: list[str]
    refused: list[Refused]
    ties: list[int]
    reversed_scores: list[int]
    unchanged: Mapping[str, list[int]]
    markup: Mapping[str, list[int]]
    empty: list[int]
    given: NDArray[np.int64]
    prompt: NDArray[np.int64]
    record: NDArray[np.int64]
    pair: NDArray[np.int64]
    swapped: NDArray[np.int64]
    answer: NDArray[np.int64]
    lengths: NDArray[np.int64]

    def examples(self, records: Iterable[int]) -> tuple[str, ...]:
        """Return the ids of the first few different records."""
        return first_few(self.ids[index] for index in records)


@dataclass(frozen=True)
class CheckedSet:
    """A data set under its name; of long sets a quick look reads the first `limit` rows.

    Rows are those that training uses: of a `sample` no others, and, if `identical` pairs are
    dropped, none of these. Rows at which training stops stay.
    """

    name: str
    specs: tuple[str, ...]
    limit: int | None = None
    identical: Identical = "refuse"

    def rows(self) -> Iterator[tuple[str, Row | Refused]]:
        """Yield rows with their locations; a row that cannot be read ends its file.

        Raises:
            UserError: The data cannot be opened, or hold nothing.
        """
        for spec in self.specs:
            count = 0
            left_out = rows_not_sampled(spec)
            numbered = (row for n, row in enumerate(read_rows(spec)) if n not in left_out)
            rows = islice(numbered, self.limit)
            while True:
                try:
                    location, row = next(rows)
                except StopIteration:
                    break
                except UserError as error:
                    if not count:
                        raise
                    yield spec, Refused(spec, f"{error}; the rows after it were not read")
                    break
                count += 1
                yield location, row
            if not count:
                raise UserError(f"{spec}: holds no records")

    def parsed(self) -> Iterator[tuple[str, Row, Record | Refused]]:
        """Yield every row with its location and its record, or with the reason why it is none."""
        for location, row in self.rows():
            if isinstance(row, Refused):
                yield location, {}, row
                continue
            try:
                record = parse_record(row, location)
                if self.identical == "drop" and set(record.chosen) & set(record.rejected):
                    continue
                unlabelled = Refused(location, "there is no rejected response")
                yield location, row, record if record.rejected else unlabelled
            except UserError as error:
                yield location, row, Refused(location, str(error).removeprefix(f"{location}: "))

    def share(self, ids: Collection[Hashable]) -> str:
        """Return "3 of 200 records (1.5 %) of test", each id or index of a record counted once."""
        return f"{share(len(set(ids)), len(self.digest.ids), 'record')} of {self.name}"

    def records(self) -> Iterator[Record]:
        """Yield the records; rows that cannot be read are left out."""
        for _, _, record in self.parsed():
            if isinstance(record, Record):
                yield record

    @cached_property
    def digest(self) -> Digest:
        """The digest, made in one pass over the rows."""
        collected = _Collected()
        for location, row, record in self.parsed():
            if isinstance(record, Refused):
                collected.refused.append(record)
            else:
                collected.add(row, record, location.rpartition(", ")[0])
        return collected.digest()


@dataclass(frozen=True)
class CheckedData:
    """Training data, where there are any, and evaluation sets by name."""

    train: CheckedSet | None
    evaluation: Mapping[str, CheckedSet] = field(default_factory=dict)
    model: str | None = None
    max_length: int | None = None
    template: str | None = None

    @property
    def sets(self) -> Iterator[CheckedSet]:
        """All sets, training data first."""
        return chain(filter(None, [self.train]), self.evaluation.values())


@dataclass
class _Collected:
    """A digest in the making."""

    ids: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    ties: list[int] = field(default_factory=list)
    reversed_scores: list[int] = field(default_factory=list)
    unchanged: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    markup: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    empty: list[int] = field(default_factory=list)
    columns: dict[str, "array[int]"] = field(
        default_factory=lambda: {
            name: array("q")
            for name in ("given", "prompt", "record", "pair", "swapped", "answer", "lengths")
        }
    )

    def add(self, row: Row, record: Record, file: str) -> None:
        """Add one record of a file; other files may have the same ids."""
        index, columns = len(self.ids), self.columns
        self.ids.append(record.id)
        prompt = hash(record.prompt)
        columns["prompt"].append(prompt)
        columns["given"].append(0 if row.get("id") is None else hash((file, record.id)))
        texts = [response_text(response) for response in record.responses]
        hashes = [hash(response) for response in record.responses]
        lengths = [len(text.strip()) for text in texts]
        for chosen, rejected in record.pairs:
            columns["record"].append(index)
            columns["pair"].append(hash((prompt, hashes[chosen], hashes[rejected])))
            columns["swapped"].append(hash((prompt, hashes[rejected], hashes[chosen])))
            columns["answer"].append(hash((prompt, hashes[chosen])))
            columns["lengths"].extend((lengths[chosen], lengths[rejected]))
        if not all(lengths):
            self.empty.append(index)
        self._add_scores(index, row)
        for text in (*texts, *(message.content for message in record.prompt)):
            for mark in marks(text):
                self.markup[mark].append(index)
        for column, responses in (("chosen", record.chosen), ("rejected", record.rejected)):
            if len(responses) == 1 and _is_original(responses[0], row, column):
                self.unchanged[column].append(index)

    def _add_scores(self, index: int, row: Row) -> None:
        gap = _gap(row)
        if gap == 0:
            self.ties.append(index)
        elif gap is not None and gap < 0:
            self.reversed_scores.append(index)

    def digest(self) -> Digest:
        """Return what was collected."""
        arrays: dict[str, Any] = {
            name: np.array(values, np.int64) for name, values in self.columns.items()
        }
        arrays["lengths"] = arrays["lengths"].reshape(-1, 2)
        return Digest(
            ids=self.ids,
            refused=self.refused,
            ties=self.ties,
            reversed_scores=self.reversed_scores,
            unchanged=self.unchanged,
            markup=self.markup,
            empty=self.empty,
            **arrays,
        )


def marks(text: str) -> set[str]:
    """Return the parts of chat templates in a text: special tokens, and names of roles."""
    if not any(hint in text for hint in HINTS):  # much faster than the expressions
        return set()
    found_marks = [match.group().strip() for match in MARKUP.finditer(text)]
    return {*found_marks, *(match.group().strip() for match in ROLES.finditer(text))}


def _gap(row: Row) -> float | None:
    """Return by how much the chosen response is better, where the row says so in numbers."""
    for chosen, rejected in SCORES:
        if is_number(row.get(chosen)) and is_number(row.get(rejected)):
            return float(row[chosen]) - float(row[rejected])
    return float(row["margin"]) if is_number(row.get("margin")) else None


def _is_original(response: Response, row: Row, column: str) -> bool:
    """Return whether a response equals the one of which the row says that it was rewritten."""
    original = row.get(f"orig_{column}", row.get(f"original_{column}"))
    return isinstance(original, str) and original.strip() == response_text(response).strip()
