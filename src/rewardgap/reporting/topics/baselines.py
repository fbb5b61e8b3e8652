"""Kinds against baselines: rules of length, and a bag of words."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from rewardgap.evaluation.accuracy import CHANCE, baseline_rewards, record_accuracies
from rewardgap.evaluation.comparisons import Comparison, Pair, adjust_by_place, is_difference
from rewardgap.evaluation.measures import Summary
from rewardgap.evaluation.text import join_names
from rewardgap.reporting.results import Results
from rewardgap.reporting.topic import Finding, Topic, baseline_name, interval, named, number, once
from rewardgap.reporting.topics import accuracy
from rewardgap.reporting.topics.comparisons import accuracies, compare_runs


@once
def measure(results: Results) -> Mapping[str, Mapping[Pair, Comparison]]:
    """Compare by set every kind with every baseline, over the kind's runs, as (kind, baseline)."""
    return adjust_by_place({name: _against_baselines(results, name) for name in results.sets})


def _against_baselines(results: Results, name: str) -> dict[Pair, Comparison]:
    pairs: dict[Pair, Comparison] = {}
    for kind, by_run in results.runs(name).items():
        runs = list(by_run.values())
        rewards = [baseline_rewards(rows) for rows in runs]
        for baseline in rewards[0]:
            if all(baseline in known for known in rewards):
                gains = [
                    accuracies(rows) - record_accuracies(known[baseline])
                    for rows, known in zip(runs, rewards, strict=True)
                ]
                pairs[kind, baseline] = compare_runs(gains, results, name)
    return pairs


def sentences(results: Results) -> Iterator[Finding]:
    """Return who is not shown to beat a baseline, who beats all, and who follows length."""
    overall = accuracy.measure(results).overall
    beaten = defaultdict(list)
    for name, pairs in measure(results).items():
        by_baseline: defaultdict[str, dict[str, Comparison]] = defaultdict(dict)
        for (kind, baseline), pair in pairs.items():
            by_baseline[baseline][kind] = pair
        values = {
            baseline: overall[name][next(iter(kinds))].baselines[baseline].value
            for baseline, kinds in by_baseline.items()
        }
        doubted: set[str] = set()
        for place, baseline in enumerate(sorted(values, key=lambda known: -values[known])):
            doubtful = {
                kind: pair
                for kind, pair in by_baseline[baseline].items()
                if kind not in doubted and not (is_difference(pair) and pair.difference.value > 0)
            }
            if doubtful:
                rank = "a baseline" if place else "the best baseline"
                start = f"On {name} {rank}, “{baseline_name(baseline)}” "
                end = f"({number(values[baseline])}), {_doubt(doubtful, overall[name])}."
                yield Finding("caution", start + end)
            doubted |= doubtful.keys()
        kinds = [
            kind
            for kind in overall[name]
            if kind not in doubted and all(kind in known for known in by_baseline.values())
        ]
        if kinds:
            everyone = len(kinds) == len(overall[name])
            beaten["every kind is" if everyone else f"{join_names(kinds)} models are"].append(name)
    for who, names in beaten.items():
        text = f"On {join_names(names)} {who} more accurate than every baseline."
        yield Finding("difference", text)
    yield from _long_responses(overall)


def headline(results: Results) -> Iterator[Finding]:
    """Return the sets on which no kind is shown to beat every baseline."""
    overall = accuracy.measure(results).overall
    doubtful: defaultdict[str, list[str]] = defaultdict(list)
    for name, pairs in measure(results).items():
        unbeaten = {
            kind: rule
            for (kind, rule), pair in pairs.items()
            if not (is_difference(pair) and pair.difference.value > 0)
        }
        kinds = list(overall[name])
        if pairs and all(kind in unbeaten for kind in kinds):
            values = overall[name][kinds[0]].baselines
            best = max(values, key=lambda rule: values[rule].value)
            doubtful[baseline_name(best)].append(f"{name} ({number(values[best].value)})")
    if doubtful:
        parts = [f"“{rule}” on {named(names)}" for rule, names in doubtful.items()]
        text = "Some sets are not to be trusted, for no kind is shown to beat the best baseline"
        yield Finding("caution", f"{text}: {join_names(parts)}.")


def _doubt(doubtful: Mapping[str, Comparison], overall: Mapping[str, Summary]) -> str:
    """Say what a baseline does to kinds that are not shown to beat it."""
    models: dict[str, list[str]] = {"is more accurate than": [], "cannot be told from": []}
    for kind, pair in doubtful.items():
        relation = "is more accurate than" if is_difference(pair) else "cannot be told from"
        models[relation].append(f"{kind} ({number(overall[kind].accuracy.value)})")
    return join_names([f"{verb} {join_names(k)} models" for verb, k in models.items() if k])


def _long_responses(overall: Mapping[str, Mapping[str, Summary]]) -> Iterator[Finding]:
    """Kinds whose intervals are below a half where the longer response is the wrong one."""
    for name, summaries in overall.items():
        parts = [
            f"{kind} models reach {interval(accuracy)}"
            for kind, summary in summaries.items()
            if (accuracy := summary.figures.get("where_longer_fails")) and accuracy.high < CHANCE
        ]
        if parts:
            yield Finding(
                "caution",
                f"On the records of {name} where the longer response loses, {join_names(parts)}; "
                "which is worse than chance.",
            )


TOPIC = Topic("baselines", measure, sentences=sentences, headline=headline)
