"""How much a command says on standard error."""

import logging

import pytest

from rewardgap.errors import UserError
from rewardgap.io.messages import Messages
from rewardgap.io.progress import SECONDS_PER_LINE


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("train --out a", Messages()),
        ("train --quiet --out a", Messages(logging.WARNING)),
        ("train --out a --verbose", Messages(logging.DEBUG)),
        ("train --log-every 5 --out a", Messages(seconds=5)),
        ("train --log_every=0.5 --out a --quiet", Messages(logging.WARNING, 0.5)),
    ],
)
def test_flags_of_all_commands(words, expected):
    left = words.split()
    assert Messages.of(left) == expected
    assert left == ["train", "--out", "a"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--quiet --verbose", "exclude each other"),
        ("--log-every", "--log-every takes seconds, such as --log-every 10; it is ''"),
        ("--log-every often", "'often'"),
        ("--log-every -1", "'-1'"),
        ("--log-every=nan", "'nan'"),
    ],
)
def test_flags_that_make_no_sense(words, message):
    with pytest.raises(UserError, match=message):
        Messages.of(words.split())


def test_one_process_speaks_for_all(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert Messages.of(["--verbose"]).level == logging.ERROR


def test_nothing_remains_of_it():
    logger = logging.getLogger("rewardgap")
    before = logger.level, SECONDS_PER_LINE.get()
    with Messages(logging.DEBUG, 7.0).shown():
        assert (logger.level, SECONDS_PER_LINE.get()) == (logging.DEBUG, 7.0)
    assert (logger.level, SECONDS_PER_LINE.get()) == before
