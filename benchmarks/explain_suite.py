"""Whether explanations name the training pairs that matter.

    python -m benchmarks.explain_suite --data FILE --model FOLDER [--kind explicit ...]

FILE are the agreeableness prompts of Anthropic's model-written evaluations. Each kind is trained on
random halves of the pairs and without the pairs that explanations name; what is trained is not
trained again. Of every attribution of margins to pairs the suite measures

- the linear datamodelling score: Spearman's rank correlation, over the halves, of the sum of what
  is attributed to the pairs of a half with the margin after training on that half; then the mean
  over the records. The interval is of a bootstrap over records and halves;
- removal: how far a margin falls without the tenth of the pairs named as raising it most, beside
  the size of its change without a random tenth.

The library compared with is dattri (TracIn, and TRAK with projections), on gradients of margins in
all weights. Results go into `benchmarks/explain_suite.json` and, as tables, into docs/explain.md.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from benchmarks.documentation import write_tables
from rewardgap.configs.compute import CachedComputeConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.load import load
from rewardgap.data.records import Record
from rewardgap.evaluation.scores import read_scores
from rewardgap.explaining.first_step import measure_first_step
from rewardgap.explaining.influence import ExplainedRecord, measure_contributions
from rewardgap.io.files import write_text
from rewardgap.models.kinds import find_kind
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.reference import Reference
from rewardgap.scoring.scorer import open_scorer
from rewardgap.training.train import train

RESULTS = Path(__file__).with_suffix(".json")
DOCS = Path(__file__).parents[1] / "docs" / "explain.md"
SETTINGS: dict[str, Any] = {"epochs": 5, "learning_rate": 5e-5, "batch_size": 16, "beta": 0.01}
SETS = ("original-test", "paraphrased-test")
RECORDS = 20
"""Evaluation records of each set."""
HALVES, DRAWS = 30, 10
SINGLE = 8
"""Records of each set that are explained one by one for removal, beside the set's mean margin."""
OURS = "explain: first step of Adam, all weights"
LAST_LAYER = "last layer, initial model"
REMOVED = (OURS, LAST_LAYER, "last layer, trained model", "dattri TRAK, trained")


@dataclass(frozen=True)
class Retraining:
    """Models of one kind, each trained once on some of the training pairs."""

    model: str
    data: str
    kind: str
    out: Path

    @cached_property
    def pairs(self) -> list[Record]:
        """All training pairs."""
        return load(self._source("original-train"))

    @cached_property
    def evaluated(self) -> list[Record]:
        """The evaluation records, set by set."""
        return [record for part in SETS for record in load(self._source(part))[:RECORDS]]

    def _source(self, part: str) -> str:
        return f"persona:{part}?path={self.data}"

    def run(self, indices: Sequence[int]) -> Path:
        """Train on these pairs, unless that is done; return the run's folder."""
        indices = sorted(map(int, indices))
        name = hashlib.sha256(json.dumps(indices).encode()).hexdigest()[:12]
        folder, rows = self.out / self.kind / name, self.out / "pairs" / f"{name}.jsonl"
        write_text(rows, "".join(json.dumps(_row(self.pairs[i])) + "\n" for i in indices))
        config = TrainConfig(
            model=self.model,
            kind=self.kind,
            train=str(rows),
            eval={part: self._source(part) for part in SETS},
            out=str(folder),
            cache=str(self.out / "cache"),
            device="cpu",
            resume=folder.exists(),
            **SETTINGS,
        )
        return train(config)

    def margins(self, indices: Sequence[int]) -> np.ndarray:
        """Return the margins of the evaluation records after training on these pairs."""
        folder = self.run(indices) / "scores"
        rows = [row for part in SETS for row in read_scores(folder / f"{part}.jsonl")[:RECORDS]]
        return np.array([row.scores_chosen[0] - row.scores_rejected[0] for row in rows])


def _row(record: Record) -> Mapping[str, str]:
    (chosen,), (rejected,) = record.chosen[0], record.rejected[0]
    return {
        "id": record.id,
        "prompt": record.prompt[0].content,
        "chosen": chosen.content,
        "rejected": rejected.content,
    }


def main() -> None:
    """Measure the kinds that are asked for, and write what all results say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.explain_suite")
    parser.add_argument("--data", help="file of the agreeableness prompts")
    parser.add_argument("--model", help="folder of the initial language model")
    parser.add_argument("--kind", action="append", default=[])
    parser.add_argument("--out", default="runs/explain-suite", help="folder of the runs")
    arguments = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for kind in arguments.kind:
        suite = Retraining(arguments.model, arguments.data, kind, Path(arguments.out))
        results[kind] = measure(suite)
        write_text(RESULTS, json.dumps(results, indent=1) + "\n")
    write_tables(DOCS, markdown(results))
    print(markdown(results))


def measure(suite: Retraining) -> dict[str, Any]:
    """Return scores and removals of all attributions for one kind."""
    count = len(suite.pairs)
    halves = draw_halves(count, HALVES)
    retrained = np.stack([suite.margins(half) for half in halves])
    attributions, changes = attribute(suite)
    scores = {
        name: score_halves(values, halves, retrained) for name, values in attributions.items()
    }
    whole = suite.margins(range(count))
    removed = [without(count, pairs) for pairs in draw_tenths(count, DRAWS)]
    random = np.stack([targets(whole - suite.margins(pairs)) for pairs in removed])
    return {
        "lds": summarise_scores(scores, OURS),
        "as trained": {
            "first step": (changes * whole > 0).tolist(),
            "last layer": (attributions[LAST_LAYER].mean(1) * whole > 0).tolist(),
        },
        "random": np.abs(random).mean(0).tolist(),
        "removal": {
            name: [
                float(targets(whole - suite.margins(without(count, pairs)))[k])
                for k, pairs in enumerate(map(strongest_tenth, targets(attributions[name])))
            ]
            for name in REMOVED
        },
    }


def attribute(suite: Retraining) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return (records, pairs) attributions by name, computed once, and the first step's changes."""
    path = suite.out / f"attributions-{suite.kind}.npz"
    if not path.exists():
        np.savez(path, **_attribute(suite))
    with np.load(path) as stored:
        values = dict(stored)
    return values, values.pop("changes")


def _attribute(suite: Retraining) -> dict[str, np.ndarray]:
    from benchmarks.tangent_kernel import tangent_kernel_attributions  # needs dattri

    folder = suite.run(range(len(suite.pairs))) / "reward_model"
    config = CachedComputeConfig(device="cpu", cache=str(suite.out / "cache"))
    trained = open_scorer(str(folder), None, None, KindConfig(), config).model.eval()
    options, location = KindConfig(beta=SETTINGS["beta"]), Path(suite.model)
    initial = (
        find_kind(suite.kind)
        .initialise(location, ChatTemplate.load(location), options, torch.float32, 0)
        .eval()
    )
    assert isinstance(initial, TrainedRewardModel) and isinstance(trained, TrainedRewardModel)
    trees, explained = initial.encode_for_training(suite.pairs), initial.encode(suite.evaluated)
    step = measure_first_step(initial, explained, trees, SETTINGS["batch_size"])
    values = {OURS: _margins(step.effects), "changes": _margins(step.changes[:, None])[:, 0]}
    device = torch.device("cpu")
    reference = Reference(location, initial.template, device, config, torch.float32)
    for name, model in (("initial", initial), ("trained", trained)):
        values[f"last layer, {name} model"] = np.concatenate(
            [
                _margins(measure_contributions(ExplainedRecord.read(model, tree), trees, None))
                for tree in explained
            ]
        )
        kernel = tangent_kernel_attributions(model, reference, trees, explained)
        values |= {f"dattri {method}, {name}": matrix for method, matrix in kernel.items()}
    return values


def _margins(values: torch.Tensor) -> np.ndarray:
    return (values[0::2] - values[1::2]).double().numpy()


def draw_halves(pairs: int, count: int, seed: int = 0) -> np.ndarray:
    """Return (count, pairs // 2) indices of random halves of the pairs."""
    random = np.random.default_rng(seed)
    return np.stack([np.sort(random.permutation(pairs)[: pairs // 2]) for _ in range(count)])


def draw_tenths(pairs: int, count: int, seed: int = 1) -> np.ndarray:
    """Return (count, pairs // 10) indices of random tenths of the pairs."""
    random = np.random.default_rng(seed)
    return np.stack([random.permutation(pairs)[: pairs // 10] for _ in range(count)])


def strongest_tenth(values: np.ndarray) -> np.ndarray:
    """Return the indices of the tenth of the pairs with the highest values."""
    return np.argsort(-values, kind="stable")[: len(values) // 10]


def without(pairs: int, removed: np.ndarray) -> list[int]:
    """Return the indices of the pairs that are left."""
    return sorted(set(range(pairs)) - set(removed.tolist()))


def targets(by_record: np.ndarray) -> np.ndarray:
    """Return what is explained for removal: of each set its mean and its first records."""
    sets = by_record.reshape(len(SETS), -1, *by_record.shape[1:])
    return np.concatenate([np.stack([part.mean(0), *part[:SINGLE]]) for part in sets])


def score_halves(
    attributed: np.ndarray, halves: np.ndarray, retrained: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (halves, records) sums of what is attributed to each half, and actual margins."""
    return attributed[:, halves].sum(2).T, retrained


def rank_correlations(predicted: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Return for each column Spearman's correlation over the rows; 0 where a column is constant."""
    x, y = (rankdata(values, axis=0) for values in (predicted, actual))
    x, y = x - x.mean(0), y - y.mean(0)
    scale = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    return np.divide((x * y).sum(0), scale, out=np.zeros_like(scale), where=scale > 0)


def bootstrap(predicted: np.ndarray, actual: np.ndarray, draws: int = 1000) -> np.ndarray:
    """Return mean scores over drawn records and halves, the same ones for every attribution."""
    random, (halves, records) = np.random.default_rng(0), actual.shape
    means = []
    for _ in range(draws):
        drawn = np.ix_(random.integers(halves, size=halves), random.integers(records, size=records))
        means.append(rank_correlations(predicted[drawn], actual[drawn]).mean())
    return np.array(means)


def summarise_scores(
    scores: Mapping[str, tuple[np.ndarray, np.ndarray]], default: str
) -> dict[str, Any]:
    """Return by name the mean score with its 95 % interval, and that of the default's lead."""
    means = {name: bootstrap(*score) for name, score in scores.items()}
    summary = {}
    for name, score in scores.items():
        by_record = rank_correlations(*score)
        summary[name] = {
            "value": float(by_record.mean()),
            "interval": np.quantile(means[name], [0.025, 0.975]).tolist(),
            "lead": np.quantile(means[default] - means[name], [0.025, 0.975]).tolist(),
            "by_record": by_record.round(4).tolist(),
        }
    return summary


def removal_ratios(of_kind: Mapping[str, Any], name: str) -> list[float]:
    """Return mean falls of margins without the named pairs, in sizes of random changes.

    They are those of the single records of each set, then of the mean margins of all sets.
    """
    named, random = (
        np.reshape(values, (len(SETS), 1 + SINGLE))
        for values in (of_kind["removal"][name], of_kind["random"])
    )
    singles = named[:, 1:].mean(1) / random[:, 1:].mean(1)
    return [*singles.tolist(), float(named[:, 0].mean() / random[:, 0].mean())]


def markdown(results: Mapping[str, Any]) -> str:
    """Return the tables as they stand in the documentation."""
    names = list(dict.fromkeys(name for of_kind in results.values() for name in of_kind["lds"]))
    head = [title for kind in results for title in (f"{kind}: LDS", *SETS)]
    lines = [f"| attribution | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
    for name in names:
        cells = []
        for of_kind in results.values():
            score = of_kind["lds"][name]
            means = np.reshape(score["by_record"], (len(SETS), -1)).mean(1)
            low, high = score["interval"]
            cells.append(f"{score['value']:.2f} [{low:.2f}, {high:.2f}]")
            cells += [f"{mean:.2f}" for mean in means]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    turned = ~np.array([of_kind["as trained"]["last layer"] for of_kind in results.values()])
    lines += ["", f"| LDS where the last layer pulls | {OURS} | {LAST_LAYER} |", "|---|---|---|"]
    for title, chosen in (("as training went", ~turned), ("the other way", turned)):
        cells = []
        for name in (OURS, LAST_LAYER):
            scores = np.array([of_kind["lds"][name]["by_record"] for of_kind in results.values()])
            cells.append(f"{scores[chosen].mean():.2f}" if chosen.any() else "")
        lines.append(f"| {title}: {chosen.sum()} | {' | '.join(cells)} |")
    head = [f"{kind}: {of}" for kind in results for of in (*SETS, "mean margins")]
    lines += ["", f"| removed as raising it most | {' | '.join(head)} |"]
    lines.append("|---|" + "---|" * len(head))
    for name in REMOVED:
        ratios = [
            f"{ratio:.1f}"
            for of_kind in results.values()
            for ratio in removal_ratios(of_kind, name)
        ]
        lines.append(f"| {name} | {' | '.join(ratios)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
