"""Shifted records: as an option of any data, as files of the command shift, and what is refused."""

import json
import logging

import pytest
from refusals import refused
from toy import pair_rows, read_rows, several_rows, write_rows

from rewardgap.cli import main
from rewardgap.data.load import data_fingerprint, load
from rewardgap.data.records import prompt_key, record_row
from rewardgap.data.shifts import SHIFTS
from rewardgap.evaluation.robustness import drop
from rewardgap.evaluation.scores import ScoreRow

ROWS = [
    {
        "id": "prose",
        "prompt": "Why is the color important?",
        "chosen": "I do not know.",
        "rejected": "No.",
    },
    {
        "id": "turns",
        "prompt": [
            {"role": "system", "content": "Be kind to the color."},
            {"role": "user", "content": "Which color?"},
        ],
        "chosen": ["The color is red.", "A color, it is."],
        "rejected": [[{"role": "assistant", "content": "No color.", "reasoning_content": "color"}]],
        "tools": [{"name": "color"}],
        "chat_template_kwargs": {"color": "red"},
        "subset": "color",
    },
    {"prompt": "Same?", "chosen": "grey", "rejected": "gray"},
]


@pytest.fixture
def data(tmp_path) -> str:
    return write_rows(tmp_path / "data.jsonl", ROWS)


def text(record) -> list[str]:
    return [message.content for turns in (record.prompt, *record.responses) for message in turns]


def test_an_option_shifts_any_data_and_keeps_ids_and_all_else(data):
    plain, shifted = load(data), load(f"{data}?shift=british")
    assert [record.id for record in shifted] == [record.id for record in plain]
    assert [record.row for record in shifted] == [0, 1, 2]
    assert text(shifted[1]) == [
        *("Be kind to the color.", "Which color?"),
        *("The colour is red.", "A colour, it is.", "No colour."),
    ]
    assert json.loads(shifted[1].rejected[0][0].further) == {"reasoning_content": "color"}
    assert shifted[1].template_arguments == plain[1].template_arguments
    assert shifted[1].metadata["subset"] == "color"
    marks = [record.metadata["shift"] for record in shifted]
    assert [(mark["changed"], mark["texts"]) for mark in marks] == [(0, 2), (3, 3), (0, 2)]
    assert text(shifted[2]) == text(plain[2])  # or both responses would be grey
    sides = {"prompt": [1], "chosen": [2, 3], "rejected": [4]}
    for side, changed in sides.items():
        record = load(f"{data}?shift=british&side={side}")[1]
        pairs = zip(text(record), text(plain[1]), strict=True)
        assert [place for place, (a, b) in enumerate(pairs) if a != b] == changed, side


def test_seed_rate_sample_and_source(data, tmp_path):
    many = write_rows(tmp_path / "many.jsonl", several_rows(12))
    specs = [f"{many}?shift=typos&rate=0.9{more}" for more in ("", "&seed=1", "&sample=6&seed=1")]
    first, second, sampled = (load(spec) for spec in specs)
    assert first != second and load(specs[0]) == first
    by_id = {record.id: text(record) for record in second}
    assert len(sampled) == 6 and all(by_id[record.id] == text(record) for record in sampled)
    assert len({data_fingerprint(spec) for spec in (many, *specs)}) == 4
    persona = load("agreement:paraphrased-test?test=8&shift=upper-case&seed=2")
    assert persona[0].chosen[0][0].content.isupper()


def test_a_shifted_prompt_is_the_counterpart_of_its_original(data):
    plain, once = load(data), load(f"{data}?shift=upper-case&side=prompt")
    assert [r.prompt for r in plain] != [r.prompt for r in once]
    assert list(map(prompt_key, plain)) == list(map(prompt_key, once))
    rows = [
        [
            ScoreRow(
                id=r.id, scores_chosen=(1.0,) * len(r.chosen), scores_rejected=(sign,),
                tokens_chosen=(1,) * len(r.chosen), tokens_rejected=(1,), truncated=0, baselines={},
                prompt=prompt_key(r), data_row=r.row,
            )
            for r in records
        ]
        for records, sign in ((plain, 0.0), (once, 2.0))
    ]  # fmt: skip
    assert drop([(rows[0], rows[1])]).loss.difference.value == 1.0


def test_the_command_writes_what_the_option_gives(data, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    arguments = ["shift", "look-alikes", data, str(out), "--rate", "0.5", "--seed", "3"]
    assert main([*arguments, "--side", "chosen", "--json", "--quiet"]) == 0
    (figures,) = json.loads(capsys.readouterr().out)
    spec = f"{data}?shift=look-alikes&rate=0.5&seed=3&side=chosen"
    assert load(str(out)) == load(spec)
    changed = sum(bool(row["shift"]["changed"]) for row in read_rows(out))
    assert (figures["changed"], figures["unchanged"]) == (changed, 3 - changed)
    assert main(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert "wrote" in capsys.readouterr().out
    twice = load(f"{out}?shift=upper-case&side=prompt")
    assert list(map(prompt_key, twice)) == list(map(prompt_key, load(data)))


def test_all_shifts_go_to_a_folder(tmp_path, capsys):
    data = write_rows(tmp_path / "data.jsonl", [{"prompt": "Why?", "response": "I do not know."}])
    folder = tmp_path / "shifts"
    assert main(["shift", "all", data, str(folder)]) == 0
    names = {path.stem for path in folder.iterdir()}
    assert names == {name for name, shift in SHIFTS.items() if shift.keeps != "nothing"}
    assert read_rows(folder / "contractions.jsonl")[0]["responses"] == ["I don't know."]
    assert read_rows(folder / "greeting.jsonl")[0]["prompt"] != "Why?"
    assert "contractions           1  responses        1          0" in capsys.readouterr().out
    assert main(["shift", "all", data, str(tmp_path / "p"), "--side", "prompt", "--json"]) == 0
    assert {row["side"] for row in json.loads(capsys.readouterr().out)} == {"prompt"}
    assert not (tmp_path / "p" / "opener.jsonl").exists()
    assert main(["shift", "all", data, str(folder)]) == 2
    assert main(["shift", "all", data, str(tmp_path / "x"), "--side", "rejected"]) == 2
    assert "has no labels, so no rejected response" in capsys.readouterr().err
    assert not list(tmp_path.glob("x/*"))


def test_a_list_tells_all_shifts(capsys):
    assert main(["shift", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(SHIFTS)
    assert main(["shift", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["shift"] == next(iter(SHIFTS))


@pytest.mark.parametrize(
    ("options", "words"),
    {
        "shift=typo": "unknown shift 'typo'; did you mean typos?",
        "shift=xyzzy": "`rewardgap shift list` lists all",
        "shift=typos&rate=1.5": "rate must be from 0 to 1; it is 1.5",
        "shift=typos&rate=-1": "rate must be from 0 to 1; it is -1",
        "shift=typos&rate=nan": "`rate` must be a number, not 'nan'",
        "shift=typos&side=left": "must be one of responses, prompt, chosen, rejected, not 'left'",
        "shift=opener&side=prompt": "the shift opener must be one of responses, chosen, rejected",
        "rate=0.5": "`rate` does nothing without `shift`: add `shift=NAME`",
    }.items(),
)
def test_wrong_options_are_refused_before_anything_is_read(options, words, data, tmp_path, capsys):
    assert words in refused(f"{data}?{options}")
    settings = dict(option.split("=") for option in options.split("&"))
    if name := settings.pop("shift", None):
        flags = [word for key, value in settings.items() for word in (f"--{key}", value)]
        assert main(["shift", name, "absent.jsonl", str(tmp_path / "out.jsonl"), *flags]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_other_mistakes(data, tmp_path, capsys):
    for arguments in (
        ["shift", "typos", "absent.jsonl", str(tmp_path / "out")],
        ["shift", "typos", data, str(tmp_path)],
        ["shift", "all", data, data, "--overwrite"],
        [
            "pretrain",
            "--text",
            "agreement:dialogues?count=9&shift=typos",
            "--out",
            str(tmp_path / "m"),
        ],
    ):
        assert main(arguments) == 2
    said = capsys.readouterr().err
    for words in (
        "absent.jsonl",
        "is a folder: name the file",
        "is a file: name a folder",
        "only preference",
    ):
        assert words in said
    assert not (tmp_path / "out").exists()


def test_counts_are_said_and_a_shift_that_finds_nothing_is_warned_of(data, caplog):
    caplog.set_level(logging.INFO)
    load(f"{data}?shift=british")
    load(f"{data}?shift=minify-code")
    said = [(record.levelname, record.message.rpartition(": ")[2]) for record in caplog.records]
    assert said == [
        ("INFO", "british changed 1 of 3 records; 2 have nothing to change"),
        ("WARNING", "minify-code changed 0 of 3 records; 3 have nothing to change"),
    ]


def test_data_checks_see_the_shifted_rows(tmp_path, capsys):
    data = write_rows(tmp_path / "data.jsonl", pair_rows(4))
    for spec, shared in ((data, True), (f"{data}?shift=upper-case", False)):
        main(["check", "data", data, "--eval.test", spec, "--quick", "--json"])
        assert ("their prompt and their chosen response" in capsys.readouterr().out) is shared


def test_a_row_is_read_as_the_record_that_wrote_it(data, tmp_path):
    records = load(data)
    again = write_rows(tmp_path / "again.jsonl", map(record_row, records))
    assert load(again) == records
