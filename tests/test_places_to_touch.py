"""How many files a change touches: each test makes the change, in as many files as it says."""

import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from toy import pair_rows, train_toy, write_rows

from rewardgap import cli
from rewardgap.checks.data import DATA_CHECKS, register_data_check
from rewardgap.checks.findings import Check, CheckFinding
from rewardgap.commands.command import Command
from rewardgap.configs.experiments import ReportConfig, RunConfig
from rewardgap.configs.forecasting import ExplainConfig, ForecastConfig
from rewardgap.configs.scoring import MetricsConfig
from rewardgap.data.layouts import LAYOUTS, RECOGNISED
from rewardgap.data.layouts.layout import RowLayout, columns, pair
from rewardgap.data.load import load
from rewardgap.data.sources import SOURCES
from rewardgap.evaluation.measures import MEASURES, Measure, register_measure
from rewardgap.evaluation.table import metrics
from rewardgap.experiments.executors import EXECUTORS
from rewardgap.experiments.executors.local import LocalExecutor
from rewardgap.experiments.experiment import read_experiment
from rewardgap.experiments.run import run
from rewardgap.explaining.explain import explain
from rewardgap.forecasting.forecast import forecast
from rewardgap.models.kinds import KINDS, register_kind
from rewardgap.reporting.report import report

KIND = '''
"""A kind in one file: the mean log-probability of a response's tokens."""

import torch

from rewardgap.models.kinds.gradients import Terms
from rewardgap.models.kinds.reward_model import TrainedRewardModel
from rewardgap.models.packing import pack


class Mean(TrainedRewardModel):
    """r(x, y) = ln π(y | x) / |y|."""

    equation = "eq. 5 per token"
    coefficient = "ρ"

    def steps(self, states):
        tokens = states.pack.response_tokens
        return self.vocabulary.log_probs(states.predicting_states, tokens)

    def rewards(self, states):
        return states.total(self.steps(states)) / states.pack.response_lengths

    def prefixes(self, states):
        return [
            steps.cumsum(0) / torch.arange(1, len(steps) + 1)
            for steps in states.split(self.steps(states))
        ]

    def gradient_terms(self, pack):
        weights = 1 / pack.response_lengths
        return Terms.of_log_probs(pack, weights.repeat_interleave(pack.response_lengths))
'''
TOPIC = '''
"""How many records every set has: an item of the report in one file."""

from rewardgap.reporting.topic import TextTable, Topic


def measure(results):
    """Count the records of every set."""
    return {name: len(next(iter(results.rows[name].values()))) for name in results.sets}


def tables(results):
    """Return a line for every set."""
    rows = [[name, str(count)] for name, count in measure(results).items()]
    yield TextTable("Sizes of the sets", "Records.", ["set", "records"], rows, 1)


TOPIC = Topic("sizes", measure, tables=tables)
'''
SOURCE = '''
"""Sums: a source of data in one file."""

from rewardgap.data.spec import Source


def rows(part, *, size: int = 3):
    """Yield sums with a right and a wrong result."""
    for number in range(size):
        row = {"prompt": f"{number} + 1 =", "chosen": str(number + 1), "rejected": str(number)}
        yield f"sums:{part}, row {number + 1}", row


SOURCE = Source(rows, ("train", "test"))
'''
EXPERIMENT = """
name: sums
claim: Explicit models learn to count.
models: [{model}]
kinds: [explicit]
seeds: [0]
train: {{name: sums, data: {data}}}
eval: {{test: {{category: in-distribution, data: {data}}}}}
settings: {{epochs: 1, batch_size: 2, device: cpu}}
"""
CONFIG = '''
"""What the command can be told."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GreetConfig:
    """Greet somebody."""

    name: str
    """who is greeted"""
'''
COMMAND = '''
"""The command's function."""


def greet(config):
    """Return a greeting."""
    return f"Good day, {config.name}."
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which modules are imported."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_kind_is_one_file_from_training_to_the_report(package, folders, tmp_path):
    (package / "mean_kind.py").write_text(KIND)
    register_kind("mean", "mean_kind:Mean")
    try:
        run_folder = train_toy(tmp_path, folders("llama"), kind="mean").folder
        data = {"train": str(tmp_path / "train.jsonl"), "cache": str(tmp_path / "cache")}
        test = str(tmp_path / "test.jsonl")
        config = ForecastConfig(
            model=str(folders("llama")),
            kinds=["mean"],
            eval={"test": test},
            out=str(tmp_path / "forecast"),
            **data,
        )
        outcome = forecast(config).forecasts.theory["test"]["mean"]
        assert 0 <= outcome.at_loss.accuracy.value <= 1
        page = str(tmp_path / "why.html")
        explain(ExplainConfig(model=str(run_folder), data=test, id="pair-13", out=page, **data))
        written = json.loads((tmp_path / "why.json").read_text())
        assert written["kind"] == "mean"
        assert written["influence"]["equation"] == "eq. 5 per token"
        report(ReportConfig(folders=[str(run_folder)], out=str(tmp_path / "report")))
        (experiment,) = read_report(tmp_path)["experiments"].values()
        assert {row["kind"] for row in experiment["runs"]} == {"mean"}
    finally:
        del KINDS["mean"]


def read_report(folder: Path):
    return json.loads((folder / "report" / "report.json").read_text())


def test_a_measure_is_one_function_in_table_card_and_report(folders, tmp_path):
    register_measure(
        Measure(
            "ties",
            "share of ties",
            "",
            lambda scored: scored.mean(1.0 * (scored.accuracies == 0.5)),
        )
    )
    try:
        run_folder = train_toy(tmp_path, folders("llama")).folder
        scores = str(run_folder / "scores" / "test.jsonl")
        _, table = metrics(MetricsConfig(scores=[scores]))
        card = (run_folder / "reward_model" / "README.md").read_text()
        report(ReportConfig(folders=[str(run_folder)], out=str(tmp_path / "report")))
        page = (tmp_path / "report" / "index.html").read_text()
        assert all("share of ties" in text for text in (table, card, page))
    finally:
        MEASURES.pop()


def test_an_item_of_the_report_is_one_file(folders, tmp_path, monkeypatch):
    topic = import_module("rewardgap.reporting.topic")
    path = tmp_path / "sizes.py"
    path.write_text(TOPIC)
    monkeypatch.setattr(topic, "TOPICS", (*topic.TOPICS, "sizes"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "rewardgap.reporting.topics.sizes", import_module("sizes"))
    topic.all_topics.cache_clear()
    run_folder = train_toy(tmp_path, folders("llama")).folder
    report(ReportConfig(folders=[str(run_folder)], out=str(tmp_path / "report")))
    topic.all_topics.cache_clear()
    assert "Sizes of the sets" in (tmp_path / "report" / "index.html").read_text()
    (experiment,) = read_report(tmp_path)["experiments"].values()
    assert experiment["topics"]["sizes"] == {"test": 6}


def test_a_source_is_one_file(package, monkeypatch):
    (package / "sums_source.py").write_text(SOURCE)
    import sums_source

    monkeypatch.setitem(SOURCES, "sums", sums_source.SOURCE)
    records = load("sums:test?size=2")
    assert [record.chosen[0][0].content for record in records] == ["1", "2"]


def test_a_layout_is_one_entry(monkeypatch, tmp_path):
    def read(row):
        yield pair(row, row["ask"], (row["good"], row["bad"]), "ask good bad")

    layout = RowLayout(columns("ask good bad"), read)
    for registry in (RECOGNISED, LAYOUTS):
        monkeypatch.setitem(registry, "mine", layout)
    path = write_rows(tmp_path / "rows.jsonl", [{"ask": "1 + 1 =", "good": "2", "bad": "3"}])
    for spec in (path, f"{path}?layout=mine"):
        (record,) = load(spec)
        assert [record.chosen[0][0].content, record.rejected[0][0].content] == ["2", "3"]


def test_a_check_is_one_function(tmp_path, capsys):
    def find(data):
        for checked in data.sets:
            yield CheckFinding("warning", "few", f"{checked.name} has {len(checked.digest.ids)}")

    register_data_check(Check("few", find))
    try:
        data = write_rows(tmp_path / "rows.jsonl", pair_rows(4))
        assert cli.main(["check", "data", data, "--quick", "true"]) == 3
        assert "WARNING few: train has 4" in capsys.readouterr().out
    finally:
        DATA_CHECKS.pop()


def test_an_experiment_is_one_file(folders, tmp_path):
    data = write_rows(tmp_path / "data.jsonl", pair_rows(4))
    path = tmp_path / "sums.yaml"
    path.write_text(EXPERIMENT.format(model=folders("llama"), data=data))
    config = RunConfig(experiment=str(path), out=str(tmp_path / "out"), dry_run=True)
    assert read_experiment(config).claim == "Explicit models learn to count."
    assert "1 of 1 to do" in run(config).table


def test_an_executor_is_one_class(folders, tmp_path, monkeypatch):
    class Backwards(LocalExecutor):
        def run(self, runner, places, begin):
            done.extend(reversed(places))
            return super().run(runner, places[::-1], begin)

    done: list[str] = []
    monkeypatch.setitem(EXECUTORS, "backwards", Backwards)
    data = write_rows(tmp_path / "data.jsonl", pair_rows(4))
    path = tmp_path / "sums.yaml"
    path.write_text(EXPERIMENT.format(model=folders("llama"), data=data))
    told = RunConfig(experiment=str(path), out=str(tmp_path / "out"), kinds=["length", "constant"])
    plan = run(replace(told, executor="backwards"))
    assert done == [place for place, *_ in plan.lines][::-1] and len(plan.accuracies) == 2


def test_a_command_is_its_configuration_and_its_line(package, monkeypatch, capsys):
    (package / "greet_config.py").write_text(CONFIG)
    (package / "greet_command.py").write_text(COMMAND)
    command = Command(
        "greet",
        "greet_command:greet",
        "greet_config:GreetConfig",
        lambda config, greeting: f"{greeting}\n",
    )
    monkeypatch.setitem(cli.COMMANDS, "greet", command)
    assert cli.main(["greet", "--name", "Ada"]) == 0
    assert capsys.readouterr().out == "Good day, Ada.\n"
    assert cli.main(["greet", "--nam", "Ada"]) == 2
    assert "unknown key --nam; did you mean --name?" in capsys.readouterr().err
