"""What is planned, against what a run then does; and files that cannot be planned."""

import json

import pytest
import yaml
from toy import configure, pair_rows, read_rows, write_rows

from rewardgap import cli
from rewardgap.configs.planning import PlanConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.data.records import Message
from rewardgap.planning import plan as planner
from rewardgap.planning.plan import plan
from rewardgap.training import memory
from rewardgap.training.train import train


@pytest.fixture
def training(folders, tmp_path):
    """The file of a training, with changes."""

    def write(**changes) -> str:
        config = configure(tmp_path, folders("llama"), **changes)
        values = {key: value for key, value in config.settings().items() if value is not None}
        path = tmp_path / "training.yaml"
        path.write_text(yaml.safe_dump(values | {"cache": config.cache}))
        return str(path)

    return write


@pytest.fixture
def experiment(folders, tmp_path) -> str:
    """The file of an experiment of two kinds, two seeds and a variation."""
    values = {
        "name": "toy",
        "claim": "It can be planned.",
        "models": [str(folders("llama"))],
        "kinds": ["explicit", "implicit"],
        "seeds": [0, 1],
        "train": {"name": "yes", "data": write_rows(tmp_path / "train.jsonl", pair_rows(12))},
        "eval": {
            "test": {
                "category": "in-distribution",
                "data": write_rows(tmp_path / "test.jsonl", pair_rows(6, start=12)),
            }
        },
        "settings": {"epochs": 2, "device": "cpu", "cache": str(tmp_path / "cache")},
        "variations": [{"epochs": 3}],
    }
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(values))
    return str(path)


def test_tokens_and_steps_are_those_of_the_log(training, tmp_path, folders, caplog):
    caplog.set_level("INFO")
    (planned,) = plan(PlanConfig(file=training(max_steps=7))).trainings
    work = planned.work
    assert not (tmp_path / "out").exists()
    log = read_rows(train(configure(tmp_path, folders("llama"), max_steps=7)) / "log.jsonl")
    tokens = [4 * row["tokens_per_second"] / row["pairs_per_second"] for row in log]
    assert work.tokens_trained == sum(map(round, tokens)) and work.steps == len(log) == 7
    assert f"12 pairs of 12 records, {work.tokens:,} tokens" in caplog.text
    (whole,) = plan(PlanConfig(file=training(), settings={"epochs": 2})).trainings
    assert whole.work.tokens_trained == 2 * work.tokens and whole.work.steps == 6
    template = ChatTemplate.load(folders("llama"))
    texts = [
        template.render((Message("user", row["prompt"]), Message("assistant", row[side])))
        for row in pair_rows(12)
        for side in ("chosen", "rejected")
    ]
    assert work.tokens_unshared == sum(map(len, template.tokenize(texts))) > work.tokens


def test_a_grid_is_planned_cell_by_cell(experiment, capsys):
    words = ["plan", experiment, "--device-name", "h100", "--price", "3", "--devices", "2"]
    assert cli.main([*words, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    named = [(row["kind"], row["variation"], row["runs"]) for row in planned["trainings"]]
    assert named == [
        *(("explicit", "", 2), ("implicit", "", 2)),
        *(("explicit", "epochs=3", 2), ("implicit", "epochs=3", 2)),
    ]
    explicit, implicit, longer, again = planned["trainings"]
    assert longer["work"]["forward"] == 1.5 * explicit["work"]["forward"]
    assert implicit["work"]["reference"] > 0 == again["work"]["reference"]  # computed once
    ways = ["all weights", "LoRA of rank 16", "all weights, divided", "LoRA of rank 16, divided"]
    assert [need["way"] for need in explicit["needs"]] == ways
    work, need = implicit["work"], implicit["needs"][0]
    parts = ("forward", "backward", "reference", "evaluation")
    seconds = sum(work[part] for part in parts) / (0.18 * 989e12) / 2
    assert need["seconds"] == pytest.approx(seconds)
    assert need["cost"] == pytest.approx(seconds / 3600 * 3 * 2)
    assert cli.main([*words, "--kinds", "implicit", "--seeds", "1", "--epochs", "2"]) == 0
    shown = capsys.readouterr().out
    assert "explicit" not in shown and "On 2 devices (h100" in shown and "all 2 runs" in shown


def test_the_file_says_how_the_model_is_held(training, capsys):
    def need(devices: int = 1, **keys):
        told = PlanConfig(file=training(), devices=devices, device_name="h100", settings=keys)
        return plan(told).trainings[0].needs[0]

    adapted, small = need(adapter="lora"), need(adapter="lora", quantise="4bit")
    assert small.memory.weights < adapted.memory.weights < need().memory.weights
    whole, divided = need(4), need(4, shard=True)
    assert (whole.way, divided.way) == ("all weights", "all weights, divided")
    assert divided.memory.moments == pytest.approx(whole.memory.moments / 4, abs=1)
    away = need(4, shard=True, offload=True)
    assert away.memory.offloaded == pytest.approx(2 * divided.memory.moments, abs=9)  # 16 bytes
    words = ["--devices", "4", "--device-name", "h100"]
    assert cli.main(["plan", training(), *words, "--shard", "--offload"]) == 0
    assert "also 0.00 GiB of the computer's memory for each device" in capsys.readouterr().out
    both = need(4, shard=True, adapter="lora")
    assert both.way == "lora of rank 16, divided"
    assert both.memory.moments == pytest.approx(adapted.memory.moments / 4, abs=1)


def test_what_does_not_fit_is_told_what_would(training, monkeypatch, capsys):
    monkeypatch.setattr(memory, "HOLES", 1.0)  # activations are most of this model's memory
    need = plan(PlanConfig(file=training(kind="implicit"))).trainings[0].needs[0]
    assert need.fits and need.seconds is None
    monkeypatch.setattr(planner, "memory_of_device", lambda *configs: need.total - 1)
    assert cli.main(["plan", training(kind="implicit")]) == 0
    (said,) = (line for line in capsys.readouterr().out.splitlines() if "will not fit" in line)
    assert "fits with gradient_checkpointing or with token_budget" in said
    assert "or with LoRA of rank 16 or with 2 devices that divide it" in said
    monkeypatch.setattr(planner, "memory_of_device", lambda *configs: 1)
    assert cli.main(["plan", training(kind="implicit")]) == 0
    assert "no remedy was found" in capsys.readouterr().out


def test_this_machine_is_timed(training):
    (planned,) = plan(PlanConfig(file=training(), calibrate=True, price=36.0)).trainings
    need = planned.needs[0]
    assert need.seconds and 0 < need.seconds < 60
    assert need.cost == pytest.approx(need.seconds / 100)


def test_a_file_that_cannot_be_planned_is_one_line(training, experiment, tmp_path, capsys):
    empty = tmp_path / "empty.yaml"
    empty.write_text("[]")
    lacking = tmp_path / "lacking.yaml"
    lacking.write_text("kind: explicit\nlearning_rat: 1")
    for words, said in [
        ([str(empty)], "empty.yaml: holds no keys"),
        ([str(lacking)], "lacking.yaml: gives no model"),
        ([str(tmp_path / "none.yaml")], "none.yaml"),
        ([str(lacking), "--models", "x", "--train", "y"], "unknown key 'learning_rat'; did you"),
        ([training(), "--profile", "small"], "`profile` is for experiments"),
        ([training(), "--kinds", "explicitt"], "explicitt"),
        ([experiment, "--kinds", "explicitt"], "unknown kind 'explicitt'"),
        ([experiment, "--price", "2"], "price needs hours"),
        ([experiment, "--calibrate", "--device-name", "h100"], "leave out device_name"),
        ([experiment, "--device-name", "h1000"], "device_name must be one of a10, "),
        ([experiment, "--devices", "0"], "devices must be at least 1"),
    ]:
        assert cli.main(["plan", *words]) == 2, words
        captured = capsys.readouterr()
        last = captured.err.splitlines()[-1]
        assert last.startswith("rewardgap: ") and said in last and not captured.out
