"""What commands print: tables for people, and with --json the same for programs."""

import dataclasses
import json
import logging

import pytest
from tiny import tiny_model
from toy import pair_rows, read_rows, train_toy, write_rows

from rewardgap.cli import main
from rewardgap.commands import COMMANDS
from rewardgap.commands.command import find


def printed(capsys, *words: object) -> str:
    assert main([*map(str, words), "--quiet"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_the_key_json_where_it_has_figures(name):
    command = COMMANDS[name]
    keys = {key.name for key in dataclasses.fields(find(command.config))}
    assert ("json" in keys) == (command.figures is not None)


def test_score_ches_and_explain_print_json(folders, tmp_path, capsys):
    run = train_toy(tmp_path, folders("llama"), epochs=1)
    data = tmp_path / "test.jsonl"
    out = tmp_path / "a.jsonl"
    scored = json.loads(
        printed(capsys, "score", run.folder, "--data", data, "--out", out, "--json")
    )
    assert scored["out"] == str(out) and scored["n"] == len(read_rows(out)) == 6
    metrics = json.loads(printed(capsys, "metrics", out, "--json"))
    assert metrics[str(out)]["accuracy"] == scored["accuracy"]
    ches = ("ches", folders("llama"), "--data", data, "--out", tmp_path / "c.jsonl")
    rows = json.loads(printed(capsys, *ches, "--json"))
    assert [row["data_row"] for row in rows] == list(range(6))
    assert rows[0]["chosen_text"] == pair_rows(1, start=12)[0]["chosen"]
    table = printed(capsys, *ches, "--overwrite").splitlines()
    assert table[1].split() == ["CHES", "row", "record", "chosen", "rejected"] and len(table) == 8
    page = ("explain", run.folder, "--data", data, "--row", 2, "--out", tmp_path / "a.html")
    explained = json.loads(printed(capsys, *page, "--max-pairs", 2, "--json"))
    assert explained["record"]["id"] == "pair-14" and "prefers" in explained["summary"]
    said = printed(capsys, *page, "--max-pairs", 2, "--overwrite")
    assert " ".join(said.split()).startswith(explained["summary"].split(".")[0])
    assert max(map(len, said.splitlines()[:-1])) <= 80


def test_an_earlier_result_is_told_before_anything_is_loaded(tmp_path, capsys):
    data = write_rows(tmp_path / "data.jsonl", pair_rows(2))
    words = ("score", tmp_path, "--kind", "length", "--data", data, "--out", data)
    assert main([*map(str, words)]) == 2
    assert "exists already: choose another out, or pass --overwrite\n" in capsys.readouterr().err


def test_theory_says_what_was_checked():
    report = {"seed": 0, "theorem1": {"holds": True, "checked": "on 4 random tasks"}}
    command = COMMANDS["theory"]
    text = command.report(find(command.config)(out="o"), report)
    assert text == "theorem1 holds: on 4 random tasks\nwrote o\n"


def test_a_model_without_a_template_is_told(tmp_path, caplog):
    folder = tiny_model(tmp_path / "bare", template=None)
    caplog.set_level(logging.WARNING)
    train_toy(tmp_path, folder, epochs=1, max_steps=1)
    said = [record.message for record in caplog.records if "has no chat template" in record.message]
    assert len(said) == 1 and "[USER]…[ASSISTANT]…[EOS]" in said[0]
