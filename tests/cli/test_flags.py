"""From flags and YAML to the configuration of a command."""

from importlib import import_module
from pathlib import Path

import pytest
from command_line import GOOD, flags
from toy import write_rows

from rewardgap.cli import main
from rewardgap.configs.flags import REMOVED_KEYS
from rewardgap.configs.training import TrainConfig


@pytest.fixture
def configured(desk: Path, monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """What `train` is called with, in place of training."""
    seen: list[TrainConfig] = []

    def look(config: TrainConfig) -> Path:
        seen.append(config)
        return desk

    monkeypatch.setattr(import_module("rewardgap.training.train"), "train", look)
    for name in ("a.jsonl", "b.jsonl", "p.jsonl"):
        write_rows(desk / name, [GOOD])
    return seen


def test_flags_win_over_yaml_and_yaml_over_defaults(desk, configured):
    (desk / "config.yaml").write_text(
        "model: here\nkind: implicit\ntrain: [a.jsonl, b.jsonl]\nout: there\nepochs: 7\n"
        "learning_rate: 1e-5\neval:\n  one: a.jsonl\n  two: b.jsonl\n"
    )
    for words in (["--epochs", "9"], ["--epochs=9"]):
        assert main(["train", "--config", "config.yaml", *words]) == 0
    expected = TrainConfig(
        model="here",
        kind="implicit",
        train=["a.jsonl", "b.jsonl"],
        out="there",
        epochs=9,
        learning_rate=1e-5,
        eval={"one": "a.jsonl", "two": "b.jsonl"},
    )
    assert configured == [expected, expected]


def test_evaluation_sets_by_name(configured):
    assert main(flags("train", eval__a="a.jsonl", eval__paraphrased="p.jsonl")) == 0
    assert configured[0].eval == {"a": "a.jsonl", "paraphrased": "p.jsonl"}


@pytest.mark.parametrize(
    ("words", "resume"),
    [
        ([], False),
        (["--resume"], True),
        (["--resume", "--seed", "1"], True),
        (["--resume", "true"], True),
        (["--resume=false"], False),
        (["--resume", "--gradient_checkpointing"], True),
    ],
)
def test_a_bare_flag_is_true(words, resume, configured):
    assert main(flags("train") + words) == 0
    assert configured[0].resume is resume
    assert configured[0].gradient_checkpointing is ("--gradient_checkpointing" in words)


def test_the_defaults_are_the_papers(configured):
    assert main(flags("train", device=None, epochs=None, batch_size=None)) == 0
    config = configured[0]
    assert (config.learning_rate, config.batch_size, config.schedule) == (1e-6, 32, "constant")
    assert config.epochs == 5 and config.max_length is None and config.warmup_steps == 0


@pytest.mark.parametrize(
    ("command", "key"), [(command, key) for command, keys in REMOVED_KEYS.items() for key in keys]
)
def test_a_key_of_an_earlier_version_is_refused_with_its_remedy(command, key, refused):
    said = refused([command, f"--{key.replace('_', '-')}", "x"])
    remedy = REMOVED_KEYS[command][key]
    assert said == f"rewardgap: {key} is no longer a key of rewardgap {command}: {remedy}\n"
