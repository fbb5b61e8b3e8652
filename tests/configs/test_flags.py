"""Words of a command line as flags."""

from dataclasses import dataclass, field, fields

import pytest

from rewardgap.configs.flags import Keys, with_flags
from rewardgap.errors import UserError


@dataclass
class Command:
    file: str
    data_dir: str | None = None
    dry_run: bool = False
    again: bool | None = None
    models: list[str] | None = None
    seeds: list[int] = field(default_factory=list)
    train: str | list[str] = ""
    train_name: str = ""
    settings: dict[str, str] = field(default_factory=dict)


@dataclass
class Further:
    epochs: int
    clip_norm: float
    train: str
    checkpointing: bool


KEYS = Keys(
    {each.name: each for each in fields(Command)},
    {each.name: each for each in fields(Further)},
    "file",
)


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("a.yaml --data-dir here", "--file a.yaml --data_dir here"),
        ("--data-dir=a-b a.yaml", "--data_dir=a-b --file a.yaml"),
        ("--dry-run a.yaml", "--dry_run true --file a.yaml"),
        ("--dry_run false --again", "--dry_run false --again true"),
        ("--models a b --seeds 0 1", '--models ["a", "b"] --seeds [0, 1]'),
        ("--models [a,b]", "--models [a,b]"),
        ("--models", "--models []"),
        ("--seeds=[3] a.yaml", "--seeds=[3] --file a.yaml"),
        ("--train a.jsonl b.yaml", "--train a.jsonl --file b.yaml"),
        ("--epochs 3 --clip-norm=1e-3", "--settings.epochs 3 --settings.clip_norm=1e-3"),
        ("--checkpointing a.yaml", "--settings.checkpointing true --file a.yaml"),
        ("--eval.rewardbench-math x-y", "--eval.rewardbench-math x-y"),
        ("--eval.a.shift-of b --eval.a.data c", "--eval.a/shift-of b --eval.a/data c"),
        ("--train.name a", "--train_name a"),
        ("--settings.epochs 3", "--settings.epochs 3"),
        ("--colour red", "--colour red"),
        ("--train a --train b c.yaml", '--train ["a", "b"] --file c.yaml'),
        ("--train=a --train [b,c] --train d", '--train ["a", "b", "c", "d"]'),
        ("--seeds 0 1 --epochs 3 --seeds=2", "--seeds [0, 1, 2] --settings.epochs 3"),
        ("--config a.yaml --config b.yaml", "--config a.yaml --config b.yaml"),
        ("--eval.a x --eval.b y", "--eval.a x --eval.b y"),
        ("--help", "--help"),
        ("--print_config --epochs 3", "--print_config --settings.epochs 3"),
    ],
)
def test_words_become_flags_of_keys(words, flags):
    assert " ".join(with_flags(words.split(), KEYS)) == flags


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--epochs 3 --epochs 4", "--settings.epochs is given twice, as '3' and '4': give it once"),
        ("--data_dir a --data-dir=b", "--data_dir is given twice, as 'a' and 'b'"),
        ("--dry-run --dry-run false", "--dry_run is given twice"),
        ("--eval.a x --eval.a y", "--eval.a is given twice"),
        ("--file a b", "unexpected 'b'"),
        ("a --file=b", "--file is given twice, as 'a' and 'b'"),
        ("--train [a --train b", r"\[a: not a list"),
    ],
)
def test_a_flag_given_twice_is_never_the_last_value(words, message):
    with pytest.raises(UserError, match=message):
        with_flags(words.split(), KEYS)


def test_a_number_of_any_length_is_a_word():
    digits = "1" * 5000
    assert with_flags(["--models", "a", digits], KEYS) == ["--models", f'["a", "{digits}"]']


def test_a_second_bare_word_is_refused():
    with pytest.raises(UserError, match="unexpected 'b'"):
        with_flags(["a", "b"], KEYS)


def test_a_bare_word_needs_a_key():
    with pytest.raises(UserError, match="unexpected 'a': give every value with its flag"):
        with_flags(["a"], Keys(KEYS.fields, {}))
