"""Quick checks of data: what hashes and lengths of pairs tell, without reading texts again."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rewardgap.checks.data_sets import CheckedData, CheckedSet
from rewardgap.checks.findings import CheckFinding, Severity, beyond_chance, first_few
from rewardgap.evaluation.accuracy import FlatPairs
from rewardgap.evaluation.text import share

REACH_OF_NOTE, REACH_OF_WARNING = 0.6, 0.75
"""Accuracies of a baseline from which it is worth a note, and a warning."""
ROLES_OF_WARNING = 0.05
"""Share of records with names of roles in their texts from which on it is worth a warning."""
ENOUGH = 20
"""Records from which a share says something."""


def find_refused(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield the reasons for which rows are no records."""
    for checked in data.sets:
        digest = checked.digest
        reasons = Counter(refused.reason for refused in digest.refused)
        for reason, count in reasons.items():
            rows = [refused.location for refused in digest.refused if refused.reason == reason]
            whole = len(digest.ids) + len(digest.refused)
            yield CheckFinding(
                "error",
                "refused rows",
                f"{share(count, whole, 'row')} of {checked.name} cannot be read: {reason}",
                "a run refuses the data at the first of them",
                "mend the rows or remove them",
                first_few(rows),
            )


def find_identical(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield pairs whose chosen and rejected responses are the same text."""
    for checked in data.sets:
        digest = checked.digest
        records = digest.record[digest.pair == digest.swapped]
        if len(records):
            yield CheckFinding(
                "error",
                "identical responses",
                f"{checked.share(records)} have one response both chosen and rejected",
                "their loss is ln 2 whatever the model does; a run refuses them",
                "remove them, or --identical-pairs drop",
                digest.examples(records.tolist()),
            )


def find_empty(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield responses of spaces alone."""
    for checked in data.sets:
        if checked.digest.empty:
            yield CheckFinding(
                "error",
                "empty responses",
                f"{checked.share(checked.digest.empty)} have a response without text",
                "a reward of no words says nothing about the response",
                "remove the records",
                checked.digest.examples(checked.digest.empty),
            )


def find_ids(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield ids that several rows of a set have."""
    for checked in data.sets:
        digest = checked.digest
        given = np.flatnonzero(digest.given)
        repeats = given[_is_repeat(digest.given[given])]
        if len(repeats):
            yield CheckFinding(
                "error",
                "repeated ids",
                f"{checked.share(repeats)} have the id of an earlier record",
                "their rewards cannot be told apart in a score file; a run refuses them",
                "give every record its own id, or none",
                digest.examples(repeats.tolist()),
            )


def find_duplicates(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield pairs that occur again, and prompts that occur again."""
    for checked in data.sets:
        digest = checked.digest
        records = digest.record[_is_repeat(digest.pair)]
        if len(records):
            yield CheckFinding(
                "warning",
                "duplicates",
                f"{checked.share(records)} repeat an earlier pair word for word",
                "they count several times, in training and in every accuracy",
                "keep one of each",
                digest.examples(records.tolist()),
            )
        prompts = len(np.unique(digest.prompt))
        if prompts < len(digest.prompt):
            yield CheckFinding(
                "note",
                "repeated prompts",
                f"the {len(digest.prompt):,} records of {checked.name} have {prompts:,} different "
                "prompts",
                "records of one prompt are not independent: intervals that ignore it are too "
                "narrow (those of rewardgap metrics do not)",
            )


def find_contradictions(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield pairs that are also there the other way round, for the same prompt."""
    for checked in data.sets:
        digest = checked.digest
        other_way = np.isin(digest.pair, digest.swapped) & (digest.pair != digest.swapped)
        records = digest.record[other_way]
        if len(records):
            yield CheckFinding(
                "warning",
                "contradictions",
                f"{checked.share(records)} prefer what another record of the same prompt rejects",
                "no reward can rank both pairs right; half of them are wrong for any model",
                "keep the label that you trust, or neither",
                digest.examples(records.tolist()),
            )


def find_ties(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield records whose own scores name no winner, or the other one."""
    for checked in data.sets:
        digest = checked.digest
        if digest.ties:
            yield CheckFinding(
                "warning",
                "score ties",
                f"{checked.share(digest.ties)} have equal scores for the chosen and the "
                "rejected response",
                "which response is called chosen is arbitrary: noise in training, and a coin toss "
                "in every accuracy",
                "leave them out",
                digest.examples(digest.ties),
            )
        if digest.reversed_scores:
            yield CheckFinding(
                "error",
                "reversed scores",
                f"{checked.share(digest.reversed_scores)} score the rejected response "
                "higher than the chosen one",
                "the label contradicts the score: a model learns the opposite on these records",
                "find out which of the two is right, and exchange the responses or drop the scores",
                digest.examples(digest.reversed_scores),
            )


def find_unchanged(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield responses of rewritten sets that were not rewritten: they equal their original."""
    for checked in data.sets:
        digest = checked.digest
        for column, records in digest.unchanged.items():
            yield CheckFinding(
                "warning",
                "unchanged responses",
                f"{checked.share(records)} have a {column} response that equals its "
                f"original: it was not translated or rewritten",
                "on these records the set measures no shift",
                f"rewrite them, or leave them out (compare {column} with orig_{column})",
                digest.examples(records),
            )


def find_markup(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield parts of chat templates inside texts."""
    for checked in data.sets:
        digest = checked.digest
        if not digest.markup:
            continue
        marks = sorted(digest.markup, key=lambda mark: -len(set(digest.markup[mark])))
        records = sorted({index for indices in digest.markup.values() for index in indices})
        # A few names of roles are what people write about; special tokens are not.
        only_roles = all(mark.endswith(":") for mark in marks)
        rare = only_roles and len(records) < ROLES_OF_WARNING * len(digest.ids)
        yield CheckFinding(
            "note" if rare else "warning",
            "template in texts",
            f"{checked.share(records)} have parts of a chat template in their texts: "
            + ", ".join(repr(mark) for mark in marks[:5]),
            "the template is written around them a second time; special tokens inside a text end "
            "a turn or begin another",
            "give prompt and responses as plain text or as messages, without the template",
            digest.examples(records),
        )


def find_lengths(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield responses that are far longer than all others: 20 times the median, and 6 deviations.

    The deviation is that of a normal distribution of logarithms with the same median absolute one.
    """
    for checked in data.sets:
        digest = checked.digest
        if len(digest.ids) < ENOUGH:
            continue
        logs = np.log1p(digest.lengths)
        middle = np.median(logs)
        deviation = 1.4826 * np.median(np.abs(logs - middle))
        outliers = (logs - middle > max(6 * deviation, np.log(20))).any(axis=1)
        records = digest.record[outliers]
        if len(records):
            longest, median = digest.lengths.max(), np.median(digest.lengths)
            yield CheckFinding(
                "warning",
                "length outliers",
                f"{checked.share(records)} have a response of extreme length, up to "
                f"{longest:,} characters where the median is {median:,.0f}",
                "they are truncated, or decide how much memory a run needs",
                "look at them: text that was not split, or a loop of a model that generated it",
                digest.examples(records.tolist()),
            )


def find_length_rules(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield sets on which the longer or the shorter response wins too often."""
    for checked in data.sets:
        digest = checked.digest
        if not len(digest.pair):
            continue
        longer, shorter = digest.lengths.T.astype(np.float64)
        pairs = FlatPairs(digest.record, longer, shorter)
        accuracy = float(pairs.mean_by_record(0.5 + 0.5 * pairs.order).mean())
        rule, reach = ("longer", accuracy) if accuracy >= 0.5 else ("shorter", 1 - accuracy)
        yield from reached_by_rule(
            f"the {rule} response wins", reach, len(digest.ids), checked.name
        )


def reached_by_rule(rule: str, reach: float, count: int, name: str) -> Iterator[CheckFinding]:
    """Yield a finding where a baseline is too accurate on `count` records for chance."""
    if reach < REACH_OF_NOTE or count < ENOUGH or not beyond_chance(reach, count):
        return
    severity: Severity = "warning" if reach >= REACH_OF_WARNING else "note"
    yield CheckFinding(
        severity,
        "baselines",
        f"'{rule}' is right on {reach:.1%} of {name}, without understanding a response",
        f"a reward model below {reach:.1%} is beaten by the rule, and one above may have learnt it",
        "compare every accuracy with the rules beside it, or balance the set",
    )


def find_shared(data: CheckedData) -> Iterator[CheckFinding]:
    """Yield evaluation records whose prompt, or prompt and chosen response, were trained on."""
    if data.train is None:
        return
    train = data.train.digest
    for checked in data.evaluation.values():
        digest = checked.digest
        answers = np.unique(digest.record[np.isin(digest.answer, train.answer)])
        prompts = np.flatnonzero(np.isin(digest.prompt, train.prompt))
        reversed_pairs = np.unique(digest.record[np.isin(digest.swapped, train.pair)])
        prompts_alone = prompts[~np.isin(prompts, answers)]
        yield from _shared("error", "prompt and their chosen response", answers, checked)
        yield from _shared("warning", "prompt", prompts_alone, checked)
        yield from _shared("error", "pair, the other way round,", reversed_pairs, checked)


def _shared(
    severity: Severity, part: str, records: NDArray[np.int64], checked: CheckedSet
) -> Iterator[CheckFinding]:
    if not len(records):
        return
    yield CheckFinding(
        severity,
        "shared with training",
        f"{checked.share(records)} have their {part} in the training data",
        f"the accuracy on {checked.name} measures memory there, not how the model generalises",
        "leave these records out of the training data or of the evaluation set",
        checked.digest.examples(records.tolist()),
    )


def _is_repeat(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return for each key whether it occurs earlier."""
    _, first = np.unique(keys, return_index=True)
    repeats = np.ones(len(keys), bool)
    repeats[first] = False
    return repeats
