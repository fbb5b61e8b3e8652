"""Records that cannot be used: refused in one line by every command, or dropped and listed."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from shapes import NO_SYSTEM
from tiny import TEMPLATE
from toy import configure, pair_rows, read_rows, write_rows

from rewardgap.configs.forecasting import ChesConfig, ExplainConfig, ForecastConfig
from rewardgap.configs.scoring import ScoreConfig
from rewardgap.data.documents import read_documents
from rewardgap.data.dropped import DroppedRecord
from rewardgap.data.load import load
from rewardgap.data.prepared import PreparedData
from rewardgap.errors import UserError
from rewardgap.explaining.displacement import ches
from rewardgap.explaining.explain import explain
from rewardgap.forecasting.forecast import forecast
from rewardgap.io.run_folder import Run
from rewardgap.scoring.score import score
from rewardgap.training.train import train

RAISING = NO_SYSTEM + TEMPLATE
SYSTEM = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]
BAD = {
    "empty": {"id": "empty", "prompt": "hi", "chosen": "yes", "rejected": " "},
    "missing": {"id": "missing", "prompt": "hi", "chosen": "yes"},
    "system": {"id": "system", "prompt": SYSTEM, "chosen": "yes", "rejected": "no"},
}
REASONS = {
    "empty": "`rejected` has an empty response",
    "missing": "`rejected` is missing",
    "system": "the chat template fails: no system role",
}


@pytest.fixture
def model(folders: Callable[..., Path]) -> Path:
    return folders("llama", "<|pad|>", RAISING)


def mixed_rows(count: int, start: int = 0) -> list[Mapping[str, Any]]:
    """Good pairs with the bad rows after the first of them."""
    first, *rest = pair_rows(count, start)
    return [first, *BAD.values(), *rest]


def listed(path: Path, name: str) -> dict[str, str]:
    """Reasons by id or line, of one data set."""
    return {row["record"]: row["reason"] for row in read_rows(path) if row["data"] == name}


def without_places(path: Path) -> str:
    """A score file but for the numbers of rows in their data, which bad rows shift."""
    return re.sub(r', "data_row": \d+', "", path.read_text())


def assert_listed(entries: dict[str, str], data: str) -> None:
    assert list(entries) == [f"{data}, line 2", f"{data}, line 3", "system"]
    for reason, words in zip(entries.values(), REASONS.values(), strict=True):
        assert reason.startswith(words)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_record_is_refused_in_one_line(name, model, tmp_path):
    data = write_rows(tmp_path / "mixed.jsonl", [*pair_rows(4), BAD[name]])
    for changes in ({"train": data}, {"eval": {"test": data}}):
        with pytest.raises(UserError) as caught:
            train(configure(tmp_path, model, **changes))
        message = str(caught.value)
        where = "record system" if name == "system" else f"{data}, line 5"
        assert message.startswith(f"{where}: {REASONS[name]}") and "\n" not in message
        assert "`bad_records: drop`" in message


@pytest.mark.parametrize("kind", ["explicit", "implicit", "generative", "length"])
def test_a_run_without_bad_records_is_as_if_they_were_not_there(kind, model, tmp_path, caplog):
    runs = {}
    for name, rows in (("clean", pair_rows), ("mixed", mixed_rows)):
        folder = tmp_path / name
        folder.mkdir()
        config = configure(
            folder,
            model,
            kind=kind,
            epochs=1,
            train=write_rows(folder / "training.jsonl", rows(12)),
            eval={"test": write_rows(folder / "held.jsonl", rows(6, 12))},
            bad_records="drop",
        )
        runs[name] = Run(train(config))
    clean, mixed = runs.values()
    assert without_places(mixed.scores("test")) == without_places(clean.scores("test"))
    assert [row["data_row"] for row in read_rows(mixed.scores("test"))] == [0, 4, 5, 6, 7, 8]
    assert not clean.dropped.exists()
    assert_listed(listed(mixed.dropped, "the training data"), config.train)
    assert_listed(listed(mixed.dropped, "test"), config.eval["test"])
    assert caplog.text.count("records dropped that cannot be used: 3, the first ") == 2
    again = train(replace(config, resume=True))
    assert_listed(listed(Run(again).dropped, "the training data"), config.train)


def test_trees_from_the_cache_still_say_what_was_dropped(model, tmp_path):
    data = write_rows(tmp_path / "mixed.jsonl", mixed_rows(6))
    first, second = (
        configure(
            tmp_path, model, train=data, bad_records="drop", epochs=1, out=str(tmp_path / out)
        )
        for out in ("first", "second")
    )
    lists = [read_rows(Run(train(config, PreparedData())).dropped) for config in (first, second)]
    assert lists[0] == lists[1] and len(lists[0]) == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "hi", "chosen": ', "broken JSON ("),
        (b'{"prompt": "\xe9"}', "not UTF-8 (byte 13)"),
        (b'["a list"]', "a list, not an object"),
        (b"\x00\x01", "broken JSON ("),
    ],
)
def test_a_broken_line_is_a_bad_record(line, reason, model, tmp_path):
    """It is refused where it is, or dropped and listed; every other line counts."""
    data = tmp_path / "lines.jsonl"
    lines = [json.dumps(row).encode() for row in pair_rows(6)]
    data.write_bytes(b"\n".join([*lines[:2], line, *lines[2:], line]))
    with pytest.raises(UserError) as caught:
        load(str(data))
    assert str(caught.value).startswith(f"{data}, line 3: {reason}")
    dropped: list[DroppedRecord] = []
    records = load(str(data), bad=dropped)
    assert [record.id for record in records] == [row["id"] for row in pair_rows(6)]
    assert [record.row for record in records] == [0, 1, 3, 4, 5, 6]
    assert [entry.record for entry in dropped] == [f"{data}, line {n}" for n in (3, 8)]
    assert all(entry.reason.startswith(reason) for entry in dropped)
    settings = {"kind": "length", "bad_records": "drop"}
    run = Run(train(configure(tmp_path, model, train=str(data), **settings)))
    assert list(listed(run.dropped, "the training data")) == [entry.record for entry in dropped]


def test_a_broken_document_or_row_of_a_source_is_refused(model, tmp_path):
    """A JSON array is one document; sources read their rows whole."""
    array = tmp_path / "rows.json"
    array.write_text(json.dumps(pair_rows(3))[:-1])
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "p", "responses": ["a", "b"], "scores": [1, 2]}\n{\n')
    for data in (str(array), f"scored:all-pairs?path={rows}"):
        with pytest.raises(UserError, match="broken JSON"):
            load(data, bad=[])
    documents = tmp_path / "documents.jsonl"
    documents.write_text('{"text": "some words"}\n{\n')
    with pytest.raises(UserError, match="line 2: broken JSON"):
        read_documents(str(documents))


def test_data_of_which_nothing_is_left(model, tmp_path):
    data = write_rows(tmp_path / "bad.jsonl", [BAD["system"]])
    config = configure(tmp_path, model, train=data, bad_records="drop")
    with pytest.raises(
        UserError, match=r"drop .system: the chat template fails.* leaves no record"
    ):
        train(config)
    config = ScoreConfig(
        model=str(model),
        kind="implicit-no-reference",
        data=data,
        out=str(tmp_path / "scores"),
        bad_records="drop",
    )
    with pytest.raises(UserError, match="leaves no record"):
        score(config)
    unreadable = write_rows(tmp_path / "unreadable.jsonl", [BAD["empty"]])
    with pytest.raises(UserError, match="no records that can be used; the first: `rejected` has"):
        train(configure(tmp_path, model, train=unreadable, bad_records="drop"))
    assert not (tmp_path / "scores").exists()


def test_score_and_ches_list_what_they_drop(model, tmp_path):
    clean = write_rows(tmp_path / "clean.jsonl", pair_rows(6))
    mixed = write_rows(tmp_path / "mixed.jsonl", mixed_rows(6))
    common = {"model": str(model), "device": "cpu", "bad_records": "drop"}
    kind = {"kind": "implicit-no-reference"}
    for name, data in (("clean", clean), ("mixed", mixed)):
        score(ScoreConfig(**common, **kind, data=data, out=str(tmp_path / f"{name}.scores")))
        ches(ChesConfig(**common, data=data, out=str(tmp_path / f"{name}.ches")))
    for suffix in ("scores", "ches"):
        written = [without_places(tmp_path / f"{name}.{suffix}") for name in ("clean", "mixed")]
        assert written[0] == written[1]
        assert not (tmp_path / f"clean.{suffix}.dropped.jsonl").exists()
        assert_listed(listed(tmp_path / f"mixed.{suffix}.dropped.jsonl", mixed), mixed)
    again = {"out": str(tmp_path / "mixed.scores"), "overwrite": True}
    score(ScoreConfig(**common, **kind, data=clean, **again))
    assert not (tmp_path / "mixed.scores.dropped.jsonl").exists(), "it belongs to other scores"
    for call, config in ((score, ScoreConfig), (ches, ChesConfig)):
        keys = kind if config is ScoreConfig else {}
        with pytest.raises(UserError, match="line 2: `rejected` has an empty response"):
            call(config(model=str(model), data=mixed, out=str(tmp_path / "none"), **keys))
    assert not list(tmp_path.glob("none*"))


def test_forecast_and_explain_leave_them_out(model, tmp_path):
    folder = tmp_path / "forecast"
    config = ForecastConfig(
        model=str(model),
        train=write_rows(tmp_path / "train.jsonl", mixed_rows(6)),
        eval={"test": write_rows(tmp_path / "test.jsonl", mixed_rows(4, 6))},
        kinds=["explicit", "generative"],
        out=str(folder),
        cache=str(tmp_path / "cache"),
        device="cpu",
        bad_records="drop",
    )
    forecast(config)
    assert_listed(listed(folder / "dropped.jsonl", "the training data"), config.train)
    assert_listed(listed(folder / "dropped.jsonl", "test"), config.eval["test"])
    scores = [row["id"] for row in read_rows(folder / "scores" / "explicit" / "test.jsonl")]
    assert scores == [row["id"] for row in pair_rows(4, 6)]
    page = tmp_path / "page.html"
    asked = {"model": str(folder), "data": config.eval["test"], "out": str(page), "device": "cpu"}
    keys = {"kind": "explicit", "bad_records": "drop", "cache": str(tmp_path / "cache")}
    explain(ExplainConfig(**asked, **keys, id="pair-7"))
    assert json.loads(page.with_suffix(".json").read_text())["influence"]
    assert_listed(listed(Path(f"{page}.dropped.jsonl"), "the training data"), config.train)
    with pytest.raises(UserError, match="record system: the chat template fails"):
        explain(ExplainConfig(**asked, **keys, id="system", overwrite=True))


def test_moved_borders_are_said_once_for_a_data_set(folders, tmp_path, caplog):
    thinking = TEMPLATE.replace("'<|assistant|>' }}", "'<|assistant|>thinks: ' }}")
    caplog.set_level(logging.WARNING)
    train(configure(tmp_path, folders("llama", "<|pad|>", thinking), epochs=1))
    assert caplog.text.count("12 of 12 records have a response that begins before the end") == 1
    assert caplog.text.count("6 of 6 records have a response that begins before the end") == 1


def test_a_template_that_makes_pairs_identical_is_named(folders, tmp_path):
    trims = TEMPLATE.replace("m['content']", "m['content'] | trim")
    rows = [*pair_rows(3), {"id": "r", "prompt": "hi", "chosen": "yes", "rejected": "yes "}]
    config = configure(
        tmp_path,
        folders("llama", "<|pad|>", trims),
        train=write_rows(tmp_path / "rows.jsonl", rows),
    )
    with pytest.raises(
        UserError, match=r"^the chat template makes .* in 1 of 4 records, first r: "
    ):
        train(config)
