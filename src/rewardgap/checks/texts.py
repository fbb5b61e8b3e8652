"""Slow checks of data, which read all texts again: near duplicates, languages, a bag of words.

Near duplicates and languages need the packages of the extra `checks`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from typing import Any

import numpy as np

from rewardgap.checks.data_sets import CheckedData, CheckedSet
from rewardgap.checks.findings import CheckFinding, Severity, first_few
from rewardgap.checks.pairs import ENOUGH, reached_by_rule
from rewardgap.data.bag_of_words import BagOfWords, response_text
from rewardgap.data.languages import languages_of
from rewardgap.data.records import Record, Response
from rewardgap.evaluation.accuracy import record_accuracies
from rewardgap.evaluation.text import counted, join_names, share

NEAR = 0.8
"""Share of their pieces that two texts have in common from which they are near duplicates."""
PIECE = 8
"""Characters of a piece."""
PERMUTATIONS, BANDS = 128, 16
READ = 5_000
"""Characters of a text that are compared with others."""

BATCH = 256

Signature = Any
"""A MinHash of `rensa`."""


def find_near(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield evaluation texts that are nearly those of the training data (MinHash)."""
    if data.train is None or not data.evaluation:
        return
    if find_spec("rensa") is None:
        yield _not_checked("near duplicates", "rensa")
        return
    for part, text_of in PARTS.items():
        index = _NearIndex(data.train, text_of)
        for checked in data.evaluation.values():
            records = [record.id for record in checked.records() if index.is_near(text_of(record))]
            if records:
                yield CheckFinding(
                    "warning",
                    "nearly shared with training",
                    f"{checked.share(records)} "
                    f"have a {part} that is nearly one of the training data, though not exactly",
                    f"the accuracy on {checked.name} measures memory there, at least in part",
                    "look at them, and leave them out where they say the same",
                    first_few(records),
                )


PARTS: Mapping[str, Callable[[Record], str]] = {
    "prompt": lambda record: response_text(record.prompt),
    "prompt and chosen response": lambda record: response_text((*record.prompt, *record.chosen[0])),
}
"""The texts of a record that are compared."""


class _NearIndex:
    """The texts of a set, to be asked which other text is near one of them."""

    def __init__(self, checked: CheckedSet, text_of: Callable[[Record], str]):
        from rensa import RMinHashLSH

        self._texts = {text_of(record) for record in checked.records()}
        self._signatures = [_signature(text) for text in sorted(self._texts)]
        self._index = RMinHashLSH(NEAR, PERMUTATIONS, BANDS)
        for number, signature in enumerate(self._signatures):
            self._index.insert(number, signature)

    def is_near(self, text: str) -> bool:
        """Return whether a text is near one of the set, and equals none."""
        if text in self._texts:
            return False
        signature = _signature(text)
        candidates = self._index.query(signature)
        return any(signature.jaccard(self._signatures[number]) >= NEAR for number in candidates)


def _signature(text: str) -> Signature:
    from rensa import RMinHash

    plain = " ".join(text.lower().split())[:READ]
    signature = RMinHash(PERMUTATIONS, 0)
    signature.update([plain[start : start + PIECE] for start in range(len(plain) - PIECE + 1)])
    return signature


def find_languages(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield responses in other languages than most of their set."""
    if find_spec("lingua") is None:
        yield _not_checked("languages", "lingua-language-detector")
        return
    for checked in data.sets:
        yield from _languages_of_set(checked)


def _languages_of_set(checked: CheckedSet) -> Iterator[CheckFinding]:
    counts, prompts = Counter[str](), Counter[str]()
    records: dict[str, list[str]] = defaultdict(list)
    mixed: list[str] = []
    stream = checked.records()
    while batch := list(islice(stream, BATCH)):
        prompts.update(filter(None, languages_of([PARTS["prompt"](r) for r in batch])))
        texts = [response_text(response) for record in batch for response in record.responses]
        languages = iter(languages_of(texts))
        for record in batch:
            named = list(filter(None, [next(languages) for _ in record.responses]))
            counts.update(named)
            for language in set(named):
                records[language].append(record.id)
            if len(set(named)) > 1:
                mixed.append(record.id)
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        odd = [
            name for language in list(records) if language != usual for name in records[language]
        ]
        yield _other_languages(checked.name, counts, mixed, odd)
    if counts and prompts:
        yield from _language_of_prompts(checked.name, counts, prompts)


def _other_languages(
    name: str, counts: Counter[str], mixed: Sequence[str], odd: Sequence[str]
) -> CheckFinding:
    (usual, count), *rest = counts.most_common()
    names = join_names([f"{language.title()} ({number:,})" for language, number in rest[:5]])
    severity: Severity = "warning" if mixed else "note"
    return CheckFinding(
        severity,
        "languages",
        f"{share(counts.total() - count, counts.total(), 'response')} of {name} are not in "
        f"{usual.title()}, as most are, but in {names}; in {counted(len(mixed), 'record')} chosen "
        "and rejected responses are in different languages",
        "there the language alone tells chosen from rejected; in a translated set they are what "
        "was not translated",
        "translate them, or leave them out",
        first_few(mixed or odd),
    )


def _language_of_prompts(
    name: str, responses: Counter[str], prompts: Counter[str]
) -> Iterator[CheckFinding]:
    ((usual, _),), ((asked, count),) = responses.most_common(1), prompts.most_common(1)
    if asked != usual:
        yield CheckFinding(
            "warning",
            "languages",
            f"{share(count, prompts.total(), 'prompt')} of {name} are in {asked.title()}, while "
            f"most responses are in {usual.title()}: the prompts were not translated",
            "rewards are measured on answers in a language that nobody asked for",
            "translate the prompts too, or say so where the accuracy is shown",
        )


def find_word_rule(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield sets on which a bag of words of the training data is too accurate.

    Without evaluation sets it is fitted to every other prompt, and tested on the rest.
    """
    if data.train is None:
        return
    if data.evaluation:
        rule = BagOfWords.fit(data.train.records())
        tests: Mapping[str, Iterable[Record]] = {
            name: checked.records() for name, checked in data.evaluation.items()
        }
    else:
        if len(np.unique(data.train.digest.prompt)) < 2 * ENOUGH:
            return
        rule = BagOfWords.fit(_half(data.train, 0))
        tests = {f"the other half of {data.train.name}": _half(data.train, 1)}
    for name, records in tests.items():
        rewards = [rule.of_record(record) for record in records]
        if rewards:
            reach = float(record_accuracies(rewards).mean())
            yield from reached_by_rule("a bag of words", reach, len(rewards), name)


def _half(checked: CheckedSet, remainder: int) -> Iterator[Record]:
    """Yield the records of every other prompt, by the order in which prompts first occur."""
    numbers: dict[Response, int] = {}
    for record in checked.records():
        if numbers.setdefault(record.prompt, len(numbers)) % 2 == remainder:
            yield record


def _not_checked(name: str, package: str) -> CheckFinding:
    return CheckFinding(
        "note",
        "not checked",
        f"{name} were not looked for: {package} is not installed",
        remedy="pip install 'rewardgap[checks]'",
    )
