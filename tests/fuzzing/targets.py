"""What the fuzzer reads: for every format a damaged copy, and a call of its reader.

A target damages files in an empty folder and returns the call. The call may raise a `UserError`;
any other exception is a fault, and so is an `AssertionError` about an outcome that is wrong.
"""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
import yaml
from toy import result, write_rows

import rewardgap
from fuzzing.material import Material
from fuzzing.mutations import (
    NUMBERS,
    TEXTS,
    change_digit,
    mutate_file,
    mutate_value,
    odd_value,
    write_parquet,
)
from rewardgap import cli
from rewardgap.configs.experiments import RunConfig
from rewardgap.configs.kind import KindConfig
from rewardgap.configs.scoring import MetricsConfig
from rewardgap.data.bag_of_words import BagOfWords
from rewardgap.data.documents import read_documents
from rewardgap.data.load import data_fingerprint, load
from rewardgap.data.prepared import PreparedData
from rewardgap.errors import UserError
from rewardgap.evaluation.table import metrics
from rewardgap.experiments.experiment import read_experiment
from rewardgap.experiments.grid import plan
from rewardgap.io.generations import Answer, read_answers, write_answers
from rewardgap.io.run_folder import Run
from rewardgap.models.kinds import find_kind
from rewardgap.models.reference import Reference
from rewardgap.reporting.records import pack
from rewardgap.reporting.results import read_results
from rewardgap.training.train import train

Call = Callable[[], object]
Target = Callable[[Material, Path, Random], Call]

TARGETS: dict[str, Target] = {}
"""By name; the functions below."""


def target(function: Target) -> Target:
    """Register a target by its name."""
    TARGETS[function.__name__] = function
    return function


@target
def data(material: Material, folder: Path, random: Random) -> Call:
    """Records in files, as far as their token trees."""
    rows = random.sample(material.rows, random.choice((1, 2, 4)))
    path = folder / f"data.{random.choice(('jsonl', 'jsonl', 'json', 'parquet'))}"
    if path.suffix == ".jsonl":
        write_rows(path, rows)
        mutate_file(path, random)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
        mutate_file(path, random)
    else:
        write_parquet(path, rows, random)
    identical = random.choice(("refuse", "drop"))
    kind = random.choice(("explicit", "generative", "implicit"))

    def read() -> None:
        records = load(str(path), identical)
        data_fingerprint(str(path))
        BagOfWords.fit(records)
        encoder = find_kind(kind).encoding(material.template, KindConfig())
        trees = encoder.encode(records, random.choice((None, None, 3, 40)))
        assert [tree.record for tree in trees] == [record.id for record in records]
        assert len({record.id for record in records}) == len(records)

    return read


SOURCES: dict[str, dict[str, Any]] = {
    "scored:best-worst": {"prompt": "p", "responses": ["a", "b", "c"], "scores": [1, 2, 3.5]},
    "scored:all-pairs": {"prompt": "p", "responses": ["a", "b"], "scores": [1, 3]},
    "winners:rows": {"prompt": "p", "response_a": "x", "response_b": "y", "winner": "model_a"},
    "ultrafeedback:pairs": {
        "prompt": "p", "chosen": "c", "rejected": "r", "score_chosen": 2.0, "score_rejected": 1.0
    },
    "rm-bench:total": {
        "prompt": "p", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"], "domain": "math",
        "id": "1"
    },
    "rewardbench-2:test": {
        "prompt": "p", "chosen": ["a"], "rejected": ["d", "e", "f"], "subset": "Math", "id": "1"
    },
}  # fmt: skip
OPTIONS = (
    "", "?", "&", "=", ":", "limit=1", "&limit=0", "&sample=2&seed=1", "&sample=-1", "&seed=x",
    "&path=", "&vertices=3", "²", "\0", "\ud800", "9" * 5000, "/", "..",
)  # fmt: skip


@target
def sources(material: Material, folder: Path, random: Random) -> Call:
    """Rows of named sources, and specifications."""
    name = random.choice(list(SOURCES))
    path = folder / "rows.jsonl"
    write_rows(path, [SOURCES[name] | {"prompt": f"p{i}", "id": str(i)} for i in range(3)])
    spec = f"{name}?path={path}"
    if random.random() < 0.7:
        mutate_file(path, random)
    else:
        spec = random.choice((spec, "hamiltonian:test?vertices=5&train=3&test=2", "agreement:test"))
        place = random.randrange(len(spec) + 1)
        spec = spec[:place] + random.choice(OPTIONS) + spec[place + random.choice((0, 0, 1, 4)) :]

    def read() -> None:
        records = load(spec, "drop")
        data_fingerprint(spec)
        assert len({record.id for record in records}) == len(records)

    return read


@target
def documents(material: Material, folder: Path, random: Random) -> Call:
    """Text to pretrain on."""
    path = folder / random.choice(("text.jsonl", "text.txt"))
    if path.suffix == ".jsonl":
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        write_rows(path, [{"text": "some words"}, {"messages": messages}])
    else:
        path.write_text("some words\n\nother words\n")
    mutate_file(path, random)
    return lambda: read_documents(str(path))


@target
def scores(material: Material, folder: Path, random: Random) -> Call:
    """Score files, of one or two models; the accuracy is compared with a plain count."""
    names = [folder / name for name in random.choice((("a.jsonl",), ("a.jsonl", "b.jsonl")))]
    for path in names:
        shutil.copy(material.run.scores("test"), path)
    mutate_file(names[0], random)

    def read() -> None:
        config = MetricsConfig(scores=list(map(str, names)), styles=random.random() < 0.1)
        report, _ = metrics(config)
        json.dumps(report, allow_nan=False)
        for path in names:
            assert math.isclose(report[str(path)]["accuracy"]["value"], _accuracy(path))

    return read


def _accuracy(path: Path) -> float:
    """Return the accuracy of a score file, computed by itself."""
    shares = []
    for line in filter(str.strip, path.read_text(encoding="utf-8").split("\n")):
        row = json.loads(line)
        chosen, rejected = (
            row[key] if isinstance(row[key], list) else [row[key]]
            for key in ("scores_chosen", "scores_rejected")
        )
        wins = [(a > b) + (a == b) / 2 for a in chosen for b in rejected]
        shares.append(sum(wins) / len(wins))
    return sum(shares) / len(shares)


CONFIGS: dict[str, dict[str, Any]] = {
    "train": {
        "model": "m", "kind": "explicit", "train": ["a.jsonl"], "eval": {"test": "b.jsonl"},
        "out": "o", "epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "max_grad_norm": 1.0,
        "schedule": "cosine", "seed": 0, "beta": 0.1, "max_length": 100, "device": "cpu",
        "token_budget": 100, "report_to": [], "identical_pairs": "drop", "resume": True,
    },
    "score": {"model": "m", "data": "a.jsonl", "out": "o", "kind": "explicit", "beta": 0.1},
    "metrics": {"scores": ["a.jsonl", "b.jsonl"], "styles": False, "json": True},
    "explain": {"model": "m", "data": "a", "id": "x", "out": "o.html", "top": 3, "seed": 0},
    "forecast": {"model": "m", "train": "a", "out": "o", "eval": {"t": "b"}, "kinds": ["explicit"]},
    "report": {"folders": ["a"], "out": "o"},
    "run": {
        "experiment": "e.yaml", "out": "o", "models": ["m"], "seeds": [0], "eval": {"a": "b"},
        "variations": [{"epochs": 2}], "settings": {"epochs": 1}, "forecast": True,
    },
    "pretrain": {
        "text": "t.txt", "out": "o", "vocabulary": 300, "width": 32, "heads": 2, "context": 64,
        "batch_tokens": 128, "learning_rate": 1e-3, "held_out": 0.1,
    },
    "demo": {"out": "o", "kinds": ["explicit"], "seeds": [0], "epochs": 1},
}  # fmt: skip


@target
def configurations(material: Material, folder: Path, random: Random) -> Call:
    """Configurations in YAML, and flags."""
    command = random.choice(list(CONFIGS))
    if random.random() < 0.6:
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(CONFIGS[command]))
        mutate_file(path, random)
        words = ["--config", str(path)]
    else:
        words, values = [], mutate_value(CONFIGS[command], random)
        for key, value in values.items() if isinstance(values, dict) else ():
            values = value if isinstance(value, list) else [value]
            words += [
                f"--{key}",
                *map(str, values if random.random() < 0.9 else [odd_value(random)]),
            ]

    def read() -> None:
        try:
            cli._configure(command, cli.COMMANDS[command], words)
        except UserError as error:  # as the command line prints it
            raise UserError(" ".join(str(error).split())) from error

    return read


@target
def experiments(material: Material, folder: Path, random: Random) -> Call:
    """Experiments' files, as far as the plan of the runs."""
    path = Path(shutil.copy(material.experiment, folder / "e.yaml"))
    mutate_file(path, random)
    profile = random.choice((None, None, "small"))

    def read() -> None:
        out = str(folder / "grid")
        experiment = read_experiment(RunConfig(experiment=str(path), out=out, profile=profile))
        specs = {name: source.data or "none" for name, source in experiment.eval.items()}
        plan(experiment, out, experiment.train.data or "none", specs).record()

    return read


@target
def reports(material: Material, folder: Path, random: Random) -> Call:
    """What a report reads: plans, configurations, logs, scores, forecasts, shares."""
    grid = Path(shutil.copytree(material.grid, folder / "grid"))
    files = [path for path in sorted(grid.rglob("*")) if path.is_file()]
    mutate_file(random.choice(files), random)

    def read() -> None:
        for results in read_results([str(grid)]):
            values = results.frame["value"].dropna()
            assert values.map(math.isfinite).all()
            pack([results])

    return read


@target
def answers(material: Material, folder: Path, random: Random) -> Call:
    """Files of generated responses."""
    path = folder / "answers.jsonl"
    write_answers(path, [Answer(str(i), "yes", i % 2 == 0) for i in range(3)])
    mutate_file(path, random)
    return lambda: [json.dumps(answer.id + answer.response) for answer in read_answers(path)]


def _score(folder: Path, kind: str | None, material: Material) -> list[float]:
    reference = str(material.model) if kind == "implicit" else None
    cache = str(material.folder / "cache")
    scorer = rewardgap.load(str(folder), kind=kind, reference=reference, cache=cache)
    rewards = scorer.score("What is two plus two?", ["Four.", "Five.\n"])
    assert len(rewards) == 2 and all(isinstance(reward, float) for reward in rewards)
    return rewards


@target
def run_folders(material: Material, folder: Path, random: Random) -> Call:
    """Finished runs with a damaged file, as scoring reads them: the same rewards, or one line."""
    expected = material.rewards
    run = Run(Path(shutil.copytree(material.run.folder, folder / "run")))
    files = [run.config, *sorted(path for path in run.reward_model.iterdir() if path != run.card)]
    _damage(random.choice(files), random)

    def read() -> None:
        run.read_config()
        assert _score(run.folder, None, material) == expected

    return read


def _damage(path: Path, random: Random) -> None:
    """Damage a file, every second time in one digit alone."""
    if random.random() < 0.5:
        mutate_file(path, random)
    else:
        change_digit(path, random)


@target
def models(material: Material, folder: Path, random: Random) -> Call:
    """Model directories: configurations, tokenizers, weights."""
    model = Path(shutil.copytree(material.model, folder / "model"))
    files = [path for path in sorted(model.iterdir()) if path.suffix in (".json", ".safetensors")]
    mutate_file(random.choice(files), random)
    kind = random.choice(("explicit", "implicit", "implicit-no-reference", "generative", None))
    return lambda: _score(model, kind, material)


BITS = (
    "{{ 1 / 0 }}", "{{ x.y.z }}", "{{ messages[9] }}", "{{ raise_exception('no') }}", "{%", "}}",
    "{% for i in range(9) %}{{ i }}{% endfor %}", "{% include 'x' %}", "{{ tools }}", "\0",
    "{{ ''.__class__.__mro__ }}", "{{ cycler.__init__.__globals__ }}", "{{ messages.pop() }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ '\\ud800' }}", "{{ none + 1 }}",
    "{{ messages | tojson }}", "{{ messages[0].content[::-1] }}", "{{ m.content | trim }}",
)  # fmt: skip


@target
def templates(material: Material, folder: Path, random: Random) -> Call:
    """Chat templates."""
    model = Path(shutil.copytree(material.model, folder / "model"))
    path = model / "chat_template.jinja"
    text = path.read_text()
    for _ in range(random.choice((1, 1, 2))):
        start = random.randrange(len(text) + 1)
        end = start + random.choice((0, 0, 1, 5, 20))
        text = text[:start] + random.choice(BITS + TEXTS) + text[end:]
    path.write_text(text, encoding="utf-8", errors="replace")
    kind = random.choice(("implicit-no-reference", "generative"))
    return lambda: _score(model, kind, material)


@target
def resumed(material: Material, folder: Path, random: Random) -> Call:
    """Runs, killed or finished, with a damaged file: the same results in the end, or one line."""
    expected = material.results
    begun = random.choice((material.interrupted, material.whole))
    run = Run(Path(shutil.copytree(begun.folder, folder / "run")))
    files = [path for path in sorted(run.folder.rglob("*")) if path.is_file()]
    _damage(random.choice(files), random)

    def read() -> None:
        train(material.config("explicit", out=str(run.folder), resume=True))
        assert result(run) == expected

    return read


@target
def caches(material: Material, folder: Path, random: Random) -> Call:
    """Cached trees and reference log-probabilities: the same come out, damaged or not."""
    config = material.config("implicit", cache=str(material.folder / "whole-cache"))
    expected = _cached(material, config)
    cache = Path(shutil.copytree(config.cache or "", folder / "cache"))
    files = [path for path in sorted(cache.rglob("*")) if path.is_file()]
    mutate_file(random.choice(files), random)

    def read() -> None:
        assert _cached(material, material.config("implicit", cache=str(cache))) == expected

    return read


def _cached(material: Material, config: Any) -> tuple[list[Any], list[list[float]]]:
    encoder = find_kind("implicit").encoding(material.template, KindConfig())
    trees = PreparedData().training_trees(encoder, config)
    device = torch.device("cpu")
    reference = Reference(material.model, material.template, device, config, torch.float32)
    return list(trees), [values.tolist() for values in reference.log_probs(trees)]


@target
def numbers(material: Material, folder: Path, random: Random) -> Call:
    """Score files with extreme but finite rewards."""
    finite = [float(n) for n in NUMBERS if abs(n) < 1e301]
    sides = ("scores_chosen", "scores_rejected")
    path = folder / "scores.jsonl"
    write_rows(path, [{"id": i, **{s: random.choice(finite) for s in sides}} for i in range(4)])

    def read() -> None:
        report, _ = metrics(MetricsConfig(scores=[str(path)]))
        json.dumps(report, allow_nan=False)
        assert math.isclose(report[str(path)]["accuracy"]["value"], _accuracy(path))

    return read


__all__ = ["TARGETS", "Call", "Target", "UserError"]
