"""Kinds against each other; initial models and settings against each other within a kind."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import TypeVar

import numpy as np

from rewardgap.evaluation.accuracy import prompt_clusters, record_accuracies
from rewardgap.evaluation.bootstrap import FloatArray
from rewardgap.evaluation.comparisons import (
    Comparison,
    Pair,
    adjust_by_place,
    compare_gains,
    indistinguishable,
    is_difference,
)
from rewardgap.evaluation.text import join_names
from rewardgap.reporting.results import Results, Rows
from rewardgap.reporting.topic import (
    HOLM,
    MOST_NAMED,
    P_VALUES,
    Finding,
    TextTable,
    Topic,
    interval,
    named,
    once,
    significance,
    tested,
)

SetAndKind = tuple[str, str]
Group = tuple[str, ...]
Shared = TypeVar("Shared")
"""What runs that are compared share, such as a model and a seed."""


@dataclass(frozen=True)
class Comparisons:
    """Differences in accuracy, paired by record, with p-values adjusted for each field.

    By set those of every two `kinds`, over the runs that both have; by set and kind those of every
    two initial `models` (with their variation), over the seeds that both have. No two of a group
    are separated.
    """

    kinds: Mapping[str, Mapping[Pair, Comparison]]
    groups: Mapping[str, Sequence[Group]]
    models: Mapping[SetAndKind, Mapping[Pair, Comparison]]
    model_groups: Mapping[SetAndKind, Sequence[Group]]


@once
def measure(results: Results) -> Comparisons:
    """Compare kinds over all models and seeds, and models within each kind."""
    between_kinds = {name: _between(results.runs(name), results, name) for name in results.sets}
    between_models = {}
    for name in results.sets:
        for kind, runs in results.runs(name, every=True).items():
            models: defaultdict[str, dict[int, Rows]] = defaultdict(dict)
            for (model, seed), rows in runs.items():
                models[model][seed] = rows
            if pairs := _between(models, results, name):
                between_models[name, kind] = pairs
    kind_pairs, model_pairs = adjust_by_place(between_kinds), adjust_by_place(between_models)
    groups = {
        name: indistinguishable(list(results.runs(name)), pairs, is_difference)
        for name, pairs in kind_pairs.items()
    }
    model_groups = {
        place: indistinguishable(
            list(dict.fromkeys(name for pair in pairs for name in pair)), pairs, is_difference
        )
        for place, pairs in model_pairs.items()
    }
    return Comparisons(kind_pairs, groups, model_pairs, model_groups)


def _between(
    runs: Mapping[str, Mapping[Shared, Rows]], results: Results, name: str
) -> dict[Pair, Comparison]:
    """Every two, over the runs that both have; none where they share none."""
    known = {
        side: {key: accuracies(rows) for key, rows in by_key.items()}
        for side, by_key in runs.items()
    }
    gains = {
        (a, b): [known[a][key] - known[b][key] for key in known[a] if key in known[b]]
        for a, b in combinations(known, 2)
    }
    return {pair: compare_runs(gains[pair], results, name) for pair in gains if gains[pair]}


def accuracies(rows: Rows) -> FloatArray:
    """Return the accuracy of every record, shape (records,)."""
    return record_accuracies([row.scores for row in rows])


def compare_runs(gains: Sequence[FloatArray], results: Results, name: str) -> Comparison:
    """Compare by each run's gains in accuracy, shape (records,) each; see `compare_gains`."""
    first = sorted(next(iter(results.rows[name].values())), key=lambda row: row.id)
    return compare_gains(np.stack(gains, axis=1), prompt_clusters(first))


def sentences(results: Results) -> Iterator[Finding]:
    """Return who is ahead where, and who cannot be told apart."""
    measured = measure(results)
    for (better, worse), where in _ahead(measured.kinds).items():
        text = f"{better.capitalize()} models are more accurate than {worse} ones on"
        yield Finding("difference", f"{text} {where}.")
    for group, where in _where_alike(measured.groups).items():
        who = join_names(group).capitalize()
        yield Finding("alike", f"{who} cannot be told apart on {where}.")
    for kind in dict.fromkeys(kind for _, kind in measured.models):
        yield from _within(kind, measured)


def headline(results: Results) -> Iterator[Finding]:
    """Return which kinds lead where: those behind nobody, where anybody is behind."""
    by_leaders: defaultdict[Group, list[str]] = defaultdict(list)
    for name, pairs in measure(results).kinds.items():
        behind = {
            pair[pair_test.difference.value > 0]
            for pair, pair_test in pairs.items()
            if is_difference(pair_test)
        }
        leaders = [kind for kind in results.runs(name) if behind and kind not in behind]
        if pairs:
            by_leaders[tuple(leaders)].append(name)
    alike = by_leaders.pop((), [])
    parts = [
        f"{join_names(who)} models lead on {named(names)}" for who, names in by_leaders.items()
    ]
    if alike:
        parts.append(f"no kind is ahead on {named(alike)}")
    if parts:
        text = "; ".join(parts)
        yield Finding("difference" if by_leaders else "alike", f"{text[0].upper()}{text[1:]}.")


def _ahead(comparisons: Mapping[str, Mapping[Pair, Comparison]]) -> dict[Pair, str]:
    """By (better, worse) the sets on which the two are separated, and by how much."""
    ahead = defaultdict(list)
    for name, pairs in comparisons.items():
        for (first, second), comparison in pairs.items():
            if is_difference(comparison):
                gain = comparison.difference
                if gain.value > 0:
                    ahead[first, second].append(f"{name} by {interval(gain)}")
                else:
                    ahead[second, first].append(f"{name} by {interval(-gain)}")
    return {pair: join_names(names) for pair, names in ahead.items()}


def _where_alike(alike: Mapping[str, Sequence[Group]]) -> dict[Group, str]:
    groups = dict.fromkeys(group for groups in alike.values() for group in groups)
    return {
        group: join_names([name for name in alike if group in alike[name]])
        for group in groups
        if len(group) > 1
    }


def _within(kind: str, measured: Comparisons) -> Iterator[Finding]:
    """Yield initial models and settings of a kind that are separated, and those that are not."""
    names = [name for name in measured.kinds if (name, kind) in measured.models]
    ahead = _ahead({name: measured.models[name, kind] for name in names})
    for (better, worse), where in islice(ahead.items(), MOST_NAMED):
        text = f"Of {kind} models, “{better}” is more accurate than “{worse}” on"
        yield Finding("difference", f"{text} {where}.")
    if (further := len(ahead) - MOST_NAMED) > 0:
        text = f"Of {kind} models, {further} more such differences are in the table."
        yield Finding("difference", text)
    alike = _where_alike({name: measured.model_groups[name, kind] for name in names})
    for group, where in islice(alike.items(), MOST_NAMED):
        quoted = join_names([f"“{model}”" for model in group])
        text = f"Of {kind} models, {quoted} cannot be told apart on {where}."
        yield Finding("alike", text)


def tables(results: Results) -> Iterator[TextTable]:
    """Return every comparison, and the groups."""
    measured = measure(results)
    yield _differences(
        "Kinds against each other",
        "the models and seeds that both kinds have, with its 95 % interval over records and runs.",
        ("set", "kinds"),
        [((name,), pairs) for name, pairs in measured.kinds.items()],
    )
    yield _differences(
        "Initial models and settings against each other, within a kind",
        "the seeds that both have, with its 95 % interval over records and seeds.",
        ("set", "kind", "models"),
        measured.models.items(),
    )
    groups = {(name, f"{kind} models"): g for (name, kind), g in measured.model_groups.items()}
    groups |= {(name, "kinds"): g for name, g in measured.groups.items() if measured.kinds[name]}
    yield TextTable(
        "Groups that cannot be told apart",
        "No two of a group are separated by the tests of the tables above. Groups may overlap: "
        "the first may be like the second, and the second like the third, and yet the first unlike "
        "the third.",
        ["set", "of", "groups"],
        [[*place, "; ".join(map(join_names, alike))] for place, alike in groups.items()],
        2,
    )


def _differences(
    title: str,
    runs: str,
    stubs: Sequence[str],
    comparisons: Iterable[tuple[tuple[str, ...], Mapping[Pair, Comparison]]],
) -> TextTable:
    rows = [
        [
            place[0],
            significance(first, second, pair),
            *place[1:],
            f"{first} − {second}",
            *tested(pair),
        ]
        for place, pairs in comparisons
        for (first, second), pair in pairs.items()
    ]
    note = f"Difference in accuracy, paired by record, over {runs} {HOLM.format(count=len(rows))}"
    headings = [stubs[0], "verdict", *stubs[1:], "difference", *P_VALUES]
    return TextTable(title, note, headings, rows, len(stubs) + 1)


TOPIC = Topic("comparisons", measure, sentences=sentences, headline=headline, tables=tables)
