"""`check data`: every fault of broken data is named."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prose import FRENCH, Rows, pairs, sentences
from reports import alarms, named
from tiny import TEMPLATE, tiny_model
from toy import write_rows

from rewardgap.checks import data as module
from rewardgap.checks.data import DATA_CHECKS, check_data, register_data_check, warn_of_data
from rewardgap.checks.findings import Check, CheckFinding
from rewardgap.cli import main
from rewardgap.configs.checks import CheckDataConfig
from rewardgap.data.load import load
from rewardgap.errors import UserError

TRIMS = TEMPLATE.replace("m['content']", "m['content'] | trim")
REFUSES = TEMPLATE.replace(
    "{{ bos", "{{ raise_exception('no') if 'river' in messages[0].content }}{{ bos"
)


def spoilt(rows: Rows, count: int, **changes: Any) -> Rows:
    """The same rows; the last ones are changed, by values or by functions of the row."""

    def change(row: dict[str, Any]) -> dict[str, Any]:
        return row | {k: v(row) if callable(v) else v for k, v in changes.items()}

    return [*rows[:-count], *map(change, rows[-count:])]


MARKED = "<|im_start|>user\nWhat is it?<|im_end|>"
BROKEN: dict[str, tuple[Callable[[], Rows], str, str]] = {
    "identical": (
        lambda: spoilt(pairs(), 3, rejected=lambda row: row["chosen"]),
        "identical responses",
        "3 of 60 records (5 %) of train have one response both",
    ),
    "empty": (
        lambda: spoilt(pairs(), 2, rejected=" \n"),
        "refused rows",
        "2 of 60 rows (3.3 %) of train cannot be read: `rejected` has an empty response",
    ),
    "missing column": (
        lambda: [*pairs(), {"prompt": "What?", "chosen": "that"}],
        "refused rows",
        "`rejected` is missing",
    ),
    "no label": (
        lambda: [*pairs(), {"prompt": "What?", "response": "that"}],
        "refused rows",
        "there is no rejected response",
    ),
    "ids": (
        lambda: [row | {"id": f"{min(i, 56)}"} for i, row in enumerate(pairs())],
        "repeated ids",
        "3 of 60 records (5 %) of train have the id of an earlier record",
    ),
    "duplicates": (
        lambda: pairs() + pairs()[:4],
        "duplicates",
        "4 of 64 records (6.2 %) of train repeat an earlier pair",
    ),
    "contradictions": (
        lambda: [
            *pairs(),
            *(r | {"chosen": r["rejected"], "rejected": r["chosen"]} for r in pairs()[:5]),
        ],
        "contradictions",
        "10 of 65 records (15 %) of train prefer what another record",
    ),
    "score ties": (
        lambda: [
            row | {"score_chosen": 7.0, "score_rejected": 7.0 if i < 6 else 3.0}
            for i, row in enumerate(pairs())
        ],
        "score ties",
        "6 of 60 records (10 %) of train have equal scores",
    ),
    "margins of zero": (
        lambda: [row | {"margin": i % 4} for i, row in enumerate(pairs())],
        "score ties",
        "15 of 60 records (25 %)",
    ),
    "reversed scores": (
        lambda: [
            row | {"chosen_score": i - 50, "rejected_score": 0.5} for i, row in enumerate(pairs())
        ],
        "reversed scores",
        "51 of 60 records (85 %) of train score the rejected response higher",
    ),
    "not rewritten": (
        lambda: [
            row | {"orig_chosen": row["chosen" if i < 7 else "rejected"]}
            for i, row in enumerate(pairs())
        ],
        "unchanged responses",
        "7 of 60 records (12 %) of train have a chosen response that equals its original",
    ),
    "template in texts": (
        lambda: spoilt(pairs(), 2, prompt=lambda row: MARKED + row["prompt"]),
        "template in texts",
        "2 of 60 records (3.3 %) of train have parts of a chat template in their texts",
    ),
    "roles in texts": (
        lambda: spoilt(pairs(), 6, chosen=lambda row: f"Sure.\n\nHuman: {row['prompt']}"),
        "template in texts",
        "'Human:'",
    ),
    "one endless response": (
        lambda: spoilt(pairs(), 1, chosen="and so on " * 3000),
        "length outliers",
        "up to 29,999 characters where the median is",
    ),
    "length": (
        lambda: [row | {"chosen": row["chosen"] + row["rejected"]} for row in pairs()],
        "baselines",
        "'the longer response wins' is right on 100.0% of train",
    ),
    "a word": (
        lambda: [
            row | {"chosen": row["chosen"] + " Certainly", "rejected": row["rejected"] + " Hmm"}
            for row in pairs(200)
        ],
        "baselines",
        "'a bag of words' is right on 100.0% of the other half of train",
    ),
    "languages": (
        lambda: [
            row | ({"rejected": other} if i < 9 else {})
            for i, (row, other) in enumerate(
                zip(pairs(), sentences(9, 60, FRENCH, low=30), strict=True)
            )
        ],
        "languages",
        "French (9); in 9 records chosen and rejected responses are in different languages",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_fault_is_named_with_its_number_its_cost_and_its_remedy(fault, check):
    rows, name, what = BROKEN[fault]
    report = check(rows())
    finding = next(f for f in report.findings if f.check == name and what in f.what)
    assert finding.cost and finding.remedy
    assert report.status == (4 if finding.severity == "error" else 3)
    # Nothing else is said of them: a fault is no reason to suspect others.
    assert alarms(report) == {name}


def test_evaluation_data_that_were_trained_on(check):
    train, fresh = pairs(), pairs(30, 5)
    test = [
        *fresh,
        *train[:4],
        *(row | {"chosen": other["chosen"]} for row, other in zip(train[4:9], fresh, strict=False)),
        train[9] | {"chosen": train[9]["rejected"], "rejected": train[9]["chosen"]},
    ]
    report = check(train, {"test": test})
    answers, backwards, prompts = (f for f in report.findings if f.check == "shared with training")
    assert answers.what.startswith("4 of 40 records (10 %) of test have their prompt and their")
    assert backwards.what.startswith("1 of 40 records (2.5 %) of test have their pair, the other")
    assert prompts.what.startswith("6 of 40 records (15 %) of test have their prompt in")
    assert [f.severity for f in (answers, backwards, prompts)] == ["error", "error", "warning"]


def test_evaluation_data_that_were_nearly_trained_on(check):
    train = pairs(60, 3)
    near = [
        row | {"prompt": row["prompt"].replace(".", "!").upper(), "rejected": "none"}
        for row in pairs(60, 3)[:5]
    ]
    report = check(train, {"test": pairs(20, 30) + near})
    near_prompts, near_answers = (
        f.what for f in report.findings if f.check == "nearly shared with training"
    )
    assert near_prompts.startswith("5 of 25 records (20 %) of test have a prompt that is nearly")
    assert near_answers.startswith("5 of 25 records (20 %) of test have a prompt and chosen")


def test_a_broken_line_is_one_refused_row(check, tmp_path):
    rows = "".join(json.dumps(row) + "\n" for row in pairs(20))
    path = tmp_path / "pairs.jsonl"
    path.write_text(rows + "{\n" + rows)
    refused = named(check_data(CheckDataConfig(train=[str(path)])), "refused rows")
    assert refused.what.startswith("1 of 41 rows (2.4 %) of train cannot be read: broken JSON")
    assert refused.examples == (f"{path}, line 21",)


def test_a_file_that_cannot_be_read_to_its_end(check, tmp_path):
    rows = "".join(json.dumps(row | {"id": str(i)}) + "\n" for i, row in enumerate(pairs(2000)))
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress(rows.encode())[:-2000])
    report = check_data(CheckDataConfig(train=[str(path)], quick=True))
    assert "the rows after it were not read" in named(report, "refused rows").what


def test_a_file_of_which_nothing_can_be_read_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        check_data(CheckDataConfig(train=[str(tmp_path / "none.jsonl")]))
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UserError, match="holds no records"):
        check_data(CheckDataConfig(train=[str(tmp_path / "empty.jsonl")]))
    with pytest.raises(UserError, match="name data to check"):
        CheckDataConfig()


def test_what_a_models_limit_cuts_and_makes_identical(check, folders):
    rows = spoilt(pairs(20, 6), 3, rejected=lambda row: row["chosen"] + " again")
    rows = spoilt(rows, 1, prompt="What does <|end|> say?", chosen="yes", rejected="no")
    report = check(rows, model=str(folders("llama")), max_length=60)
    cut = named(report, "truncated")
    assert cut.what.startswith("19 of 20 records (95 %) of train are longer than 60 tokens")
    assert named(report, "identical tokens").what.startswith("2 of 20 records (10 %)")
    assert named(report, "special tokens in texts").what.startswith("1 of 20 records (5 %)")
    report = check(pairs(20, 6), model=str(folders("llama")))  # 512 positions
    assert not {"truncated", "identical tokens"} & {f.check for f in report.findings}


def test_what_a_template_makes_identical(check, tmp_path):
    folder = tiny_model(tmp_path / "model", "llama", "<|pad|>", TRIMS)
    report = check(spoilt(pairs(20, 6), 2, chosen="yes", rejected=" yes\n"), model=str(folder))
    finding = named(report, "identical tokens")
    assert finding.what == (
        "2 of 20 records (10 %) of train have equal responses once the template has written them"
    )


def test_what_a_template_refuses(check, tmp_path):
    folder = tiny_model(tmp_path / "model", "llama", "<|pad|>", REFUSES)
    report = check(pairs(20, 6), model=str(folder))
    count = sum("river" in row["prompt"] for row in pairs(20, 6))
    said = named(report, "refused by the template").what
    assert said.startswith(f"{count} of 20 records") and said.endswith(
        "the chat template fails: no"
    )


@pytest.mark.parametrize("package", ["rensa", "lingua"])
def test_a_package_that_is_not_there_is_told(package, check, monkeypatch):
    from rewardgap.checks import texts

    monkeypatch.setattr(texts, "find_spec", lambda name: None if name == package else True)
    report = check(pairs(), {"test": pairs(20, 8)})
    assert report.status == 0
    assert "pip install 'rewardgap[checks]'" in named(report, "not checked").remedy


def test_a_quick_look_leaves_the_slow_checks_out(check):
    rows = BROKEN["languages"][0]()
    assert check(rows, quick=True).findings == ()


def test_a_check_of_ones_own(check, monkeypatch):
    monkeypatch.setattr(module, "DATA_CHECKS", list(DATA_CHECKS))

    def find_questions(data: Any) -> Iterator[CheckFinding]:
        asked = [r.id for r in data.train.records() if r.prompt[0].content.endswith("?")]
        yield CheckFinding("warning", "questions", f"{len(asked)} questions", examples=tuple(asked))

    register_data_check(Check("questions", find_questions))
    assert named(check(spoilt(pairs(), 2, prompt="What?")), "questions").what == "2 questions"
    with pytest.raises(UserError, match="there is a check named 'questions' already"):
        register_data_check(Check("questions", find_questions))


def test_the_command_prints_80_columns_or_json_and_returns_the_status(tmp_path, capsys):
    sound = write_rows(tmp_path / "sound.jsonl", pairs(60, 1))
    tied = write_rows(tmp_path / "tied.jsonl", BROKEN["score ties"][0]())
    same = write_rows(tmp_path / "same.jsonl", BROKEN["identical"][0]())
    assert main(["check", "data", sound]) == 0
    assert capsys.readouterr().out == "records of train (60): nothing found\n"
    assert main(["check", "data", sound, "--eval.test", tied]) == 3
    assert main(["check", "data", "--train", same, "--eval.test", tied]) == 4
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert main(["check", "data", same, "--json"]) == 4
    printed = json.loads(capsys.readouterr().out)
    assert printed["status"] == 4 and len(printed["findings"][0]["examples"]) == 3
    assert main(["check", "data"]) == 2


def test_it_does_without_torch(tmp_path):
    words = ["check", "data", write_rows(tmp_path / "pairs.jsonl", pairs())]
    code = (
        f"import sys; from rewardgap.cli import main; main({words}); print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.endswith("nothing found\nFalse\n"), result.stderr


def test_a_look_before_training_is_a_few_lines(tmp_path, caplog):
    train = write_rows(tmp_path / "train.jsonl", pairs() + pairs()[:4])
    test = write_rows(tmp_path / "test.jsonl", BROKEN["length"][0]())
    warn_of_data(train, {"test": test})
    assert len(caplog.messages) == 4
    assert caplog.messages[0].startswith("60 of 60 records (100 %) of test have their prompt in")
    assert caplog.messages[-1] == "rewardgap check data says what this costs and how to mend it"
    caplog.clear()
    warn_of_data(write_rows(tmp_path / "sound.jsonl", pairs()), {})
    assert caplog.messages == []


def test_a_look_before_training_does_not_read_without_end(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(module, "QUICK_ROWS", 50)
    path = write_rows(tmp_path / "train.jsonl", pairs() + pairs()[:4])
    warn_of_data([path], {})
    assert caplog.messages == []


@pytest.mark.parametrize("identical", ["refuse", "drop"])
def test_the_rows_are_those_that_training_uses(identical, tmp_path):
    """A repeated pair outside the sample is not told, one in it is; what stops training is."""
    rows = [row | {"id": str(i)} for i, row in enumerate(pairs(60))]
    path = write_rows(tmp_path / "rows.jsonl", rows)
    used = [record.id for record in load(f"{path}?limit=50&sample=20&seed=3")]
    first, second = (next(i for i, r in enumerate(rows) if r["id"] == name) for name in used[:2])
    unused = [i for i in range(50) if rows[i]["id"] not in used]

    def named_for(*copies: tuple[int, int]) -> set[str]:
        changed = [dict(row) for row in rows]
        for source, copy in copies:
            changed[copy] = changed[source] | {"id": changed[copy]["id"]}
        write_rows(tmp_path / "rows.jsonl", changed)
        spec = f"{path}?limit=50&sample=20&seed=3"
        assert [record.id for record in load(spec)] == used
        config = CheckDataConfig(train=[spec], identical_pairs=identical, quick=True)
        report = check_data(config)
        assert "train (20)" in report.subject
        return {finding.check for finding in report.findings}

    assert "duplicates" not in named_for((unused[0], unused[1]), (first, unused[2]), (first, 55))
    assert "duplicates" in named_for((first, second))


@pytest.mark.parametrize("sample", ["", "?sample=20"])
def test_identical_pairs_are_left_out_as_in_training(sample, tmp_path):
    rows = pairs(30)
    rows[4] = rows[4] | {"rejected": rows[4]["chosen"]}
    spec = write_rows(tmp_path / "rows.jsonl", rows) + sample
    checks = {
        treatment: check_data(CheckDataConfig(train=[spec], quick=True, identical_pairs=treatment))
        for treatment in ("refuse", "drop")
    }
    named_checks = {t: {f.check for f in report.findings} for t, report in checks.items()}
    assert "identical responses" in named_checks["refuse"]
    assert "identical responses" not in named_checks["drop"]
    assert f"train ({20 if sample else 29})" in checks["drop"].subject
