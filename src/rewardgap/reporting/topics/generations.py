"""What models generate: how often it is correct, after training and before, with tests."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rewardgap.errors import UserError
from rewardgap.evaluation.bootstrap import FloatArray, Interval
from rewardgap.evaluation.comparisons import Comparison, adjust, compare_gains, is_difference
from rewardgap.evaluation.text import join_names
from rewardgap.io.generations import read_answers
from rewardgap.io.grid_folder import Cell, GridFolder
from rewardgap.reporting.results import Results, share_interval
from rewardgap.reporting.topic import (
    NOTHING,
    Finding,
    TextTable,
    Tone,
    Topic,
    interval,
    once,
    tested,
)
from rewardgap.reporting.topics import accuracy


@dataclass(frozen=True)
class RunGenerations:
    """Shares of correct responses to the prompts of a set, with exact 95 % intervals.

    `run` is the initial model and the seed, `initial` the share before training where it is known,
    and `change` compares prompt by prompt where the responses are known, with p-values adjusted for
    all runs and sets of the experiment.
    """

    run: str
    correct: Interval
    initial: Interval | None
    change: Comparison | None


@once
def measure(results: Results) -> Mapping[tuple[str, str], Sequence[RunGenerations]]:
    """Compare by set and kind what every run generates with its initial model.

    Raises:
        UserError: A file of answers is damaged, or two answer different prompts.
    """
    known = results.generations
    shares = {(name, cell): known[cell][name] for cell in known for name in known[cell]}
    gains = {(name, cell): _gains(results, cell, name) for name, cell in shares}
    changes = adjust(
        {key: compare_gains(gain, np.arange(gain.size)) for key, gain in gains.items() if gain.size}
    )
    runs: dict[tuple[str, str], list[RunGenerations]] = {}
    for (name, cell), share in shares.items():
        run = RunGenerations(
            f"{cell.subject}, seed {cell.seed}",
            share_interval(share.correct, share.n),
            None if share.initial is None else share_interval(share.initial, share.n),
            changes.get((name, cell)),
        )
        runs.setdefault((name, cell.kind), []).append(run)
    return runs


def _gains(results: Results, cell: Cell, name: str) -> FloatArray:
    """By prompt whether training gained (1) or lost (-1) a right answer; empty without answers."""
    folders = [path for path in results.experiment.folders if cell.run.folder.is_relative_to(path)]
    initial = [GridFolder(folder).initial_answers(cell.model, name) for folder in folders]
    paths = [cell.answers(name), *initial[:1]]
    if not folders or not all(path.exists() for path in paths):
        return np.zeros(0)
    after, before = ({answer.id: answer.correct for answer in read_answers(path)} for path in paths)
    if after.keys() != before.keys():
        files = " and ".join(map(str, paths))
        raise UserError(f"{files} answer different prompts: remove the older one")
    gained = sum(after[prompt] and not before[prompt] for prompt in after)
    lost = sum(before[prompt] and not after[prompt] for prompt in after)
    return np.repeat([1.0, -1.0, 0.0], [gained, lost, len(after) - gained - lost])


def sentences(results: Results) -> Iterator[Finding]:
    """Return how well models verify, how often they generate what is right, and the change."""
    overall = accuracy.measure(results).overall
    for (name, kind), runs in measure(results).items():
        known = overall.get(name, {}).get(kind)
        before = [run.initial.value for run in runs if run.initial]
        if known and len(before) == len(runs):
            shares = [run.correct for run in runs]
            share = sum(ends.value for ends in shares) / len(runs)
            low, high = min(ends.low for ends in shares), max(ends.high for ends in shares)
            tone, change = _said(runs, sum(before) / len(runs))
            yield Finding(
                tone,
                f"On {name}, {kind} models rank responses with accuracy "
                f"{interval(known.accuracy)}, while {share:.1%} (each run's interval within "
                f"{low:.1%} to {high:.1%}) of those that they generate themselves are correct; "
                f"{change}.",
            )


def _said(runs: Sequence[RunGenerations], initial: float) -> tuple[Tone, str]:
    """Write what tests say of the share of correct generations beside that before training."""
    changes = [run.change for run in runs if run.change]
    if len(changes) < len(runs):
        return "caution", f"before training {initial:.1%} were, which is not tested"
    gains = [change.difference.value for change in changes if is_difference(change)]
    counts = {"more": sum(gain > 0 for gain in gains), "fewer": sum(gain < 0 for gain in gains)}
    texts = [f"{word} in {n} of {len(changes)} runs" for word, n in counts.items() if n]
    if not texts:
        return "alike", f"no run's share can be told from the {initial:.1%} before training"
    return "difference", f"before training {initial:.1%} were: a test finds {join_names(texts)}"


def tables(results: Results) -> Iterator[TextTable]:
    """Return the shares of every run, and McNemar's test."""
    yield TextTable(
        "Correct generations",
        "Share of sampled responses that are correct, after training and before, with exact 95 % "
        "intervals (Clopper and Pearson). McNemar's exact test is of the same prompts; Holm's "
        "correction is over all runs and sets of this table.",
        ["set", "kind", "run", "share correct", "before training", "McNemar p", "Holm p"],
        [
            [name, kind, run.run, interval(run.correct), interval(run.initial), *p_values]
            for (name, kind), runs in measure(results).items()
            for run in runs
            for p_values in [
                [tested(run.change)[3], tested(run.change)[1]] if run.change else [NOTHING, NOTHING]
            ]
        ],
        3,
    )


TOPIC = Topic("generations", measure, sentences=sentences, tables=tables)
