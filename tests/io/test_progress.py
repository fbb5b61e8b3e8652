"""Progress: lines off a terminal, a bar on one, and neither where the user wants quiet."""

import io
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from rewardgap.io import progress as module
from rewardgap.io.progress import SECONDS_PER_LINE, WorkProgress, duration, progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[float]:
    """A time that the test sets, and messages that are seen."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    caplog.set_level(logging.INFO, "rewardgap")
    return now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    screen = Terminal()
    monkeypatch.setattr(module, "sys", SimpleNamespace(stderr=screen))
    return screen


def test_a_line_now_and_then_with_figures_and_the_time_left(clock, caplog):
    bar = progress(range(2, 10), "training", initial=2)
    for step in bar:
        clock[0] += 16
        bar.say(loss=1 / (step + 1))
    assert [record.getMessage() for record in caplog.records] == [
        "training: 4 of 10 steps, loss 0.250, 32 s, 2 min left",
        "training: 6 of 10 steps, loss 0.167, 1 min, 1 min left",
        "training: 8 of 10 steps, loss 0.125, 2 min, 32 s left",
        "training: 10 of 10 steps, loss 0.100, 2 min, 1 s left",
    ]


def test_items_count_as_much_as_they_are(clock, caplog):
    for _ in progress(["a", "b", "c"], "scoring", unit="tokens", sizes=[3000, 2000, 1000]):
        clock[0] += 25
    assert [record.getMessage() for record in caplog.records] == [
        "scoring: 5,000 of 6,000 tokens, 50 s, 10 s left"
    ]


def test_records_of_unknown_number_are_counted(clock, caplog):
    for _ in progress(iter("abcd"), "reading", unit="records"):
        clock[0] += 15
    said = [record.getMessage() for record in caplog.records]
    assert said == ["reading: 2 records, 30 s", "reading: 4 records, 1 min"]


@pytest.mark.parametrize(("seconds", "lines"), [(0.0, 4), (4.0, 1), (5.0, 0)])
def test_the_user_says_how_often(seconds, lines, clock, caplog):
    token = SECONDS_PER_LINE.set(seconds)
    try:
        for _ in progress(range(4), "training"):
            clock[0] += 1
    finally:
        SECONDS_PER_LINE.reset(token)
    assert len(caplog.records) == lines


def test_a_terminal_has_a_bar_and_no_lines(terminal, clock, caplog):
    bar = progress(range(4), "training")
    for _ in bar:
        clock[0] += 60
        bar.say(loss=0.5)
        time.sleep(0.11)  # the bar is drawn ten times a second
    assert "training:   0% |" in terminal.getvalue()
    assert "| 4 of 4 steps, loss 0.500, 00" in terminal.getvalue()
    assert not caplog.records


@pytest.mark.parametrize("work", [lambda: [*progress(range(4), "training")], lambda: finish(9)])
def test_quiet_is_quiet_on_a_terminal(work: Callable[[], object], terminal):
    logger = logging.getLogger("rewardgap")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        work()
    finally:
        logger.setLevel(before)
    assert terminal.getvalue() == ""


def finish(total: float) -> None:
    work = WorkProgress(total, 0)
    work.begin("a")
    work.finish("a", 3)
    work.close()


def test_the_bar_of_tasks(terminal):
    finish(9)
    assert "a:  33% |" in terminal.getvalue()


def test_what_is_not_shown_is_done_all_the_same(terminal):
    assert [*progress("abc", "reading", shown=False)] == ["a", "b", "c"]
    assert terminal.getvalue() == ""


def test_a_line_for_every_task(clock, caplog):
    work = WorkProgress(100, 20)
    clock[0] = 60
    work.finish("explicit", 40)
    work.finish("implicit", 40)
    assert [record.getMessage() for record in caplog.records] == [
        "explicit: finished; 60% of all is done, 1 min, 1 min left",
        "implicit: finished; 100% of all is done, 1 min, 1 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59.4, "59 s"), (61, "1 min"), (3540, "59 min"), (7500, "2 h 5 min")],
)
def test_times_in_words(seconds, words):
    assert duration(seconds) == words
