"""The README.md beside a trained model."""

import json
import re
from dataclasses import replace

import yaml
from toy import configure

from rewardgap.configs.training import TrainConfig
from rewardgap.io.run_folder import Run
from rewardgap.training.model_card import model_card, write_model_card
from rewardgap.training.train import train

CONFIG = TrainConfig(
    model="some/model",
    kind="implicit",
    train="pairs.jsonl",
    out="run",
    eval={"test": "test.jsonl"},
    beta=0.1,
)
SUMMARY = {
    "n": 200,
    "ties": 0,
    "accuracy": {"value": 0.71234, "low": 0.65, "high": 0.77},
    "margin": {"value": 0.4, "low": 0.3, "high": 0.5},
    "separation": {"value": 0.9, "low": 0.8, "high": 1.0},
    "baselines": {
        "longer": {"value": 0.6, "low": 0.5, "high": 0.7},
        "bag_of_words": {"value": 0.4, "low": 0.3, "high": 0.5},
    },
    "where_longer_fails": {"value": 0.3, "low": 0.2, "high": 0.4},
}


def front_matter(text: str) -> dict:
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---")[1])


def test_metadata_are_a_model_index():
    front = front_matter(model_card(CONFIG, 1200, {"test": SUMMARY}, "AutoModelForCausalLM"))
    assert front["base_model"] == "some/model"
    assert front["tags"] == ["reward-model", "rewardgap", "implicit"]
    (entry,) = front["model-index"]
    assert entry["name"] == "model-implicit-reward-model"
    (result,) = entry["results"]
    assert result["dataset"] == {"type": "test.jsonl", "name": "test"}
    assert result["metrics"][0] == {"type": "accuracy", "name": "accuracy", "value": 0.7123}


def test_the_table_has_baselines_beside_the_model():
    text = model_card(CONFIG, 1200, {"test": SUMMARY}, "AutoModelForCausalLM")
    assert (
        "| set | records | accuracy | margin | separation | (longer) | "
        "(bag of words) | where longer fails |" in text
    )
    assert (
        "| test | 200 | 0.712 [0.650, 0.770] | 0.400 [0.300, 0.500] | 0.900 [0.800, 1.000] | "
        "0.600 | 0.400 | 0.300 |" in text
    )
    assert "on 1,200 pairs of `pairs.jsonl`" in text
    assert "beta 0.1" in text and "max length" not in text
    assert "`AutoModelForCausalLM`" in text


def test_sets_without_lengths_and_runs_without_sets():
    bare = {key: value for key, value in SUMMARY.items() if key != "where_longer_fails"} | {
        "baselines": {}
    }
    assert "| 0.400 [0.300, 0.500] | 0.900 [0.800, 1.000] | – |" in model_card(
        CONFIG, 9, {"other": bare}, None
    )
    text = model_card(CONFIG, 1200, {}, None)
    assert "Evaluation" not in text and "transformers loads" not in text
    assert front_matter(text)["model-index"][0]["results"] == []


def test_it_names_the_class_that_loads_the_model(tmp_path):
    run = Run(tmp_path)
    for architecture, loader in (
        ("LlamaForSequenceClassification", "AutoModelForSequenceClassification"),
        ("LlamaForCausalLM", "AutoModelForCausalLM"),
    ):
        run.reward_model.mkdir(exist_ok=True)
        (run.reward_model / "config.json").write_text(json.dumps({"architectures": [architecture]}))
        write_model_card(run, CONFIG, 12, {"test": SUMMARY})
        assert f"loads it as `{loader}`" in (run.reward_model / "README.md").read_text()
    assert [path.name for path in run.reward_model.iterdir() if path.name.startswith(".")] == []


def test_it_tells_no_place_on_this_machine(tmp_path):
    """A folder's last name is the base model's; where it lay says nothing to others."""
    (tmp_path / "base").mkdir()
    for name in ("train.jsonl", "test.jsonl"):
        (tmp_path / name).touch()
    config = TrainConfig(
        model=str(tmp_path / "base"),
        kind="explicit",
        train=[str(tmp_path / "train.jsonl"), f"persona:original-train?path={tmp_path}"],
        out="b",
        eval={"test": str(tmp_path / "test.jsonl")},
    )
    text = model_card(config, 1, {"test": SUMMARY}, None)
    assert "`train.jsonl, persona:original-train`" in text
    (result,) = front_matter(text)["model-index"][0]["results"]
    assert result["dataset"]["type"] == "test.jsonl"
    assert not re.search(re.escape(str(tmp_path)), text)
    assert front_matter(text)["base_model"] == "base"


def test_training_leaves_it_and_a_resumed_run_makes_it_again(folders, tmp_path):
    config = configure(tmp_path, folders("llama"), epochs=1)
    run = Run(train(config))
    card = run.reward_model / "README.md"
    text = card.read_text()
    accuracy = json.loads(run.metrics.read_text())["test"]["accuracy"]["value"]
    (result,) = front_matter(text)["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == round(accuracy, 4)
    assert "`AutoModelForSequenceClassification`" in text
    for path in (run.metrics, card):
        path.unlink()
    train(replace(config, resume=True))
    assert card.read_text() == text
