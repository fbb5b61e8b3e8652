"""`check data`: every fault of broken data is named, sound data are left in peace."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import TEMPLATE, tiny_model
from toy import write_rows

from rewardgap.checks import data as module
from rewardgap.checks.data import DATA_CHECKS, check_data, register_data_check, warn_of_data
from rewardgap.checks.findings import Check, CheckFinding, CheckReport
from rewardgap.cli import main
from rewardgap.configs.checks import CheckDataConfig
from rewardgap.errors import UserError

TRIMS = TEMPLATE.replace("m['content']", "m['content'] | trim")
THINKS = TEMPLATE.replace("'<|assistant|>' }}{% endif", "'<|assistant|>Well: ' }}{% endif")

Rows = list[dict[str, Any]]

ENGLISH_TEXT = (
    "river bread window garden morning letter bridge summer teacher market winter road story "
    "cloud kitchen music forest table engine paper walked opened carried followed remembered "
    "quietly slowly often under behind between because although with from the a"
)
ENGLISH = ENGLISH_TEXT.split()
FRENCH_TEXT = (
    "rivière pain fenêtre jardin matin lettre pont été professeur marché hiver route histoire "
    "nuage cuisine musique forêt table moteur papier marchait ouvrait portait suivait "
    "doucement souvent sous derrière entre parce bien avec depuis la une les des"
)
FRENCH = FRENCH_TEXT.split()


def sentences(seed: int, count: int, words: list[str] = ENGLISH, low: int = 12) -> list[str]:
    """Different sentences of 12 to 40 words, drawn at random."""
    generator = np.random.default_rng(seed)
    return [
        " ".join(generator.choice(words, generator.integers(low, 40))).capitalize() + "."
        for _ in range(count)
    ]


def pairs(count: int = 60, seed: int = 0, words: list[str] = ENGLISH) -> Rows:
    """Pairs of which no rule tells the chosen response: all three texts are drawn alike."""
    texts = zip(*(sentences(3 * seed + part, count, words) for part in range(3)), strict=True)
    return [{"prompt": x, "chosen": y, "rejected": z} for x, y, z in texts]


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., CheckReport]:
    """The report on rows of training data and of evaluation sets."""

    def run(train: Rows, evaluation: dict[str, Rows] | None = None, **keys: Any) -> CheckReport:
        files = {
            name: write_rows(tmp_path / f"{name}.jsonl", rows)
            for name, rows in (evaluation or {}).items()
        }
        specs = [write_rows(tmp_path / "pairs.jsonl", train)]
        return check_data(CheckDataConfig(train=specs, eval=files, **keys))

    return run


def named(report: CheckReport, name: str) -> CheckFinding:
    """The one finding of a check."""
    (finding,) = [finding for finding in report.findings if finding.check == name]
    return finding


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
        "content-blind rules",
        "'the longer response wins' is right on 100.0% of train",
    ),
    "a word": (
        lambda: [
            row | {"chosen": row["chosen"] + " Certainly", "rejected": row["rejected"] + " Hmm"}
            for row in pairs(200)
        ],
        "content-blind rules",
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
    assert {f.check for f in report.findings if f.severity != "note"} == {name}


def prose(words: list[str], seed: int) -> Rows:
    return pairs(60, seed, words)


def conversation(row: dict[str, Any]) -> dict[str, Any]:
    opened = [{"role": "user", "content": row["prompt"]}]
    return {
        key: [*opened, {"role": "assistant", "content": row[key]}] for key in ("chosen", "rejected")
    }


def several() -> Rows:
    rows, more = pairs(60, 20), pairs(60, 21)
    return [
        row | {"chosen": [row["chosen"], other["chosen"]], "rejected": [row["rejected"]]}
        for row, other in zip(rows, more, strict=True)
    ]


def lognormal() -> Rows:
    """Lengths over two orders of magnitude, as those of real responses."""
    generator = np.random.default_rng(1)

    def text() -> str:
        return " ".join(generator.choice(ENGLISH, int(np.exp(generator.normal(3.5, 1)))))

    return [{"prompt": x, "chosen": text(), "rejected": text()} for x in sentences(2, 300)]


SOUND: dict[str, Callable[[], Rows]] = {
    "pairs": pairs,
    "french": lambda: prose(FRENCH, 7),
    "conversations": lambda: [conversation(row) for row in pairs(60, 10)],
    "several responses": several,
    "scores": lambda: [row | {"score_chosen": 5, "score_rejected": 2.5} for row in pairs(60, 11)],
    "ids": lambda: [row | {"id": i} for i, row in enumerate(pairs(60, 12))],
    "lengths of all sizes": lognormal,
    "one prompt": lambda: [row | {"prompt": "What did you see there?"} for row in pairs(60, 13)],
    "words": lambda: [
        row | {"chosen": ("yes", "no")[i % 2], "rejected": ("no", "yes")[i % 2]}
        for i, row in enumerate(pairs(60, 14))
    ],
    "rewritten": lambda: [
        row | {"orig_chosen": other["chosen"], "orig_rejected": other["rejected"]}
        for row, other in zip(pairs(60, 15), pairs(60, 16), strict=True)
    ],
    "code": lambda: [
        row
        | {
            k: f"```python\ndef f{i}(x):\n    return x {sign} {i}\n```"
            for k, sign in (("chosen", "+-"[i % 2]), ("rejected", "-+"[i % 2]))
        }
        for i, row in enumerate(pairs(60, 17))
    ],
    "three": lambda: pairs(3, 18),
}


@pytest.mark.parametrize("name", SOUND)
def test_sound_data_are_left_in_peace(name, check):
    report = check(SOUND[name](), {"test": pairs(40, 40)})
    assert [f for f in report.findings if f.severity != "note"] == []
    assert report.status == 0


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


def test_a_file_that_cannot_be_read_to_its_end(check, tmp_path):
    rows = "".join(json.dumps(row) + "\n" for row in pairs(20))
    (tmp_path / "pairs.jsonl").write_text(rows + "{\n" + rows)
    report = check_data(CheckDataConfig(train=[str(tmp_path / "pairs.jsonl")]))
    assert "line 21: broken JSON" in named(report, "refused rows").what


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
    folder = tiny_model(tmp_path / "model", "llama", "<|pad|>", THINKS)
    report = check(pairs(20, 6), model=str(folder))
    assert named(report, "refused by the template").what.startswith("20 of 20 records (100 %)")


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


@pytest.mark.skipif("REWARDGAP_SHARED" not in os.environ, reason="needs real data")
class TestRealData:
    """What is known to be wrong with the sets of the paper."""

    @staticmethod
    def report(train: list[str], *evaluation: str) -> CheckReport:
        folder = Path(os.environ["REWARDGAP_SHARED"]) / "data"
        specs = [str(folder / f"{name}.jsonl") for name in train]
        sets = {name: str(folder / f"{name}.jsonl") for name in evaluation}
        return check_data(CheckDataConfig(train=specs, eval=sets))

    @staticmethod
    def said(report: CheckReport, words: str) -> bool:
        return any(words in finding.what for finding in report.findings)

    def test_mathematics(self):
        report = self.report(["rewardmath_train"], "rewardmath_test", "rewardbench_math_test")
        for words in (
            "198 of 200 records (99 %) of rewardmath_test have their prompt and their chosen",
            "the 2,000 records of train have 466 different prompts",
            "181 of 200 records (90 %) of rewardbench_math_test have their prompt in the training",
            "'the shorter response wins' is right on 94.5% of rewardbench_math_test",
        ):
            assert self.said(report, words), words

    @pytest.mark.parametrize("name", ["uf_train200", "uf_paraphrase_train"])
    def test_one_identical_pair(self, name):
        assert self.said(self.report([name]), "1 of 200 records (0.5 %) of train have one response")

    def test_ties_of_scores(self):
        assert self.said(self.report(["uf_extra_train"]), "134 of 1,186 records (11 %)")

    @pytest.mark.parametrize(
        ("language", "chosen", "rejected"), [("french", 2, 4), ("spanish", 5, 4)]
    )
    def test_what_was_not_translated(self, language, chosen, rejected):
        name = f"uf_{language}_test"
        report = self.report(["uf_train200"], name)
        of = f"of {name} have a"
        counts = {"chosen": chosen, "rejected": rejected}
        for column, count in counts.items():
            whole = f"{count} of 200 records"
            assert any(
                f.what.startswith(whole) and f"{of} {column} response that equals" in f.what
                for f in report.findings
            )
        assert self.said(report, f"of {name} are in English, while most responses are in")
