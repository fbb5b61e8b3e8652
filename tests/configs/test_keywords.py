"""Commands called by keywords: what is checked, and what help says of them."""

import inspect
from dataclasses import fields

import pytest

import rewardgap
from rewardgap.configs.help import field_texts
from rewardgap.configs.keywords import accepts, configure
from rewardgap.configs.printing import PrintConfig
from rewardgap.configs.training import TrainConfig
from rewardgap.errors import UserError

PRINTED = {key.name for key in fields(PrintConfig)}
NEEDED = {"model": "m", "kind": "explicit", "train": "a.jsonl", "out": "o"}


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"epoch": 1}, "rewardgap.train has no keyword 'epoch'; did you mean epochs?"),
        ({"lr": 1}, "no keyword 'lr'; did you mean lora_rank or learning_rate?"),
        ({"colour": 1}, "no keyword 'colour'; it has max_length, "),
        ({"kind": "a"}, r"rewardgap.train also needs model, train, out; see help\(rewardgap.train"),
        (NEEDED | {"epochs": "3"}, "epochs must be a whole number; it is '3'"),
        (NEEDED | {"epochs": True}, "epochs must be a whole number; it is True"),
        (NEEDED | {"learning_rate": "a"}, "learning_rate must be a number; it is 'a'"),
        (NEEDED | {"dtype": "float16"}, "dtype must be one of auto, float32, bfloat16; it is 'fl"),
        (NEEDED | {"eval": "a.jsonl"}, "eval must be a mapping; it is 'a.jsonl'"),
        (NEEDED | {"model": None}, "model must be text; it is None"),
        (NEEDED | {"epochs": 0}, "epochs must be at least 1; it is 0"),
    ],
)
def test_a_wrong_keyword_is_one_line(keywords, message):
    with pytest.raises(UserError, match=message) as error:
        configure(TrainConfig, keywords, "train")
    assert "\n" not in str(error.value)


def test_right_keywords_make_the_configuration():
    config = configure(TrainConfig, {**NEEDED, "learning_rate": 1, "report_to": "wandb"}, "train")
    assert config == TrainConfig(**NEEDED, learning_rate=1, report_to=["wandb"])


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        (int | None, (1, None), (1.0, "1", True)),
        (float, (1, 0.5), (True, "1")),
        (list[str], ([], ["a"]), ("a", [1])),
        (dict[str, str], ({}, {"a": "b"}), ([], {"a": 1}, {1: "a"})),
        (str | list[str], ("a", ["a"]), (1, [1])),
        (bool, (True,), (1, "yes")),
    ],
)
def test_types_are_those_of_the_annotation(annotation, right, wrong):
    assert all(accepts(annotation, value) for value in right)
    assert not any(accepts(annotation, value) for value in wrong)


def test_help_lists_every_keyword_with_its_meaning():
    parameters = inspect.signature(rewardgap.train).parameters
    assert parameters["epochs"].default == 5 and parameters["model"].default is inspect._empty
    said = " ".join(inspect.getdoc(rewardgap.train).split())
    assert "Keywords, or a TrainConfig of them: model: initial language model: a directory" in said
    assert "batch_size: pairs per optimiser step" in said
    assert "json" not in inspect.signature(rewardgap.metrics).parameters  # that is of printing


def test_help_of_a_configuration_says_what_its_keys_mean(capsys):
    for name in (name for name in dir(rewardgap) if name.endswith("Config")):
        form = getattr(rewardgap, name)
        said = " ".join(inspect.getdoc(form).split())
        assert said.startswith(inspect.getdoc(form).partition("\n")[0])
        for key, text in field_texts(form).items():
            assert f"{key}: {' '.join(text.split())}" in said or key in PRINTED, (name, key)
    help(rewardgap.TrainConfig)
    assert "batch_size: pairs per optimiser step" in capsys.readouterr().out


def test_a_configuration_is_given_alone():
    with pytest.raises(UserError, match="takes keywords, or a MetricsConfig"):
        rewardgap.metrics("runs/explicit")
