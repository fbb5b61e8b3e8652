"""The command line: what it takes, what it prints, and one line for every mistake."""

import errno
import gc
import json
import os
import resource
import shutil
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
from command_line import GOOD, flags
from processes import start
from toy import read_rows, write_rows

import rewardgap.io.cache
from rewardgap.cli import main
from rewardgap.configs.training import TrainConfig
from rewardgap.io.run_folder import Run
from rewardgap.models.hub import refuse_absent_model
from rewardgap.models.kinds import KINDS


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown command 'trian'; did you mean train?"),
        (["fly"], "unknown command 'fly'; the commands are demo, train, score"),
        (["train"], "required: model, kind, train, out"),
        (flags("train", colour="red"), "unknown key --colour; the keys are max_length, "),
        (
            flags("ches", data="train.jsonl", cache="here"),
            "cache is no longer a key of rewardgap ches: leave it out, nothing is cached",
        ),
        (
            flags("explain", twin="a"),
            "twin is no longer a key of rewardgap explain: use counterpart",
        ),
        (flags("explain", twin_data="a"), "explain: use counterpart_data"),
        (flags("score", data="test.jsonl", likelihood_weight=1), "changes no reward"),
        (flags("train", kind="best"), f"unknown kind 'best'; the kinds are {', '.join(KINDS)}"),
        (flags("train", dtype="float16"), "auto, float32, bfloat16"),
        (flags("train", schedule="steps"), "constant, linear, cosine"),
        (flags("train", identical_pairs="keep"), "refuse, drop"),
        (flags("train", epochs="many"), "epochs must be a whole number"),
        (flags("train", epochs=0), "epochs must be at least 1; it is 0"),
        (flags("train", seed=-1), "seed must be at least 0"),
        (flags("train", learning_rate=0), "learning_rate must be positive"),
        (flags("train", max_grad_norm=-1), "max_grad_norm must be positive"),
        (flags("train", beta=0), "beta must be positive and finite; it is 0"),
        (flags("score", data="test.jsonl", beta=-1), "beta must be positive and finite; it is -1"),
        (flags("forecast", train="train.jsonl", eval__a="test.jsonl", beta="nan"), "beta must be"),
        (flags("train", learning_rate=".inf"), "learning_rate must be positive and finite"),
        (flags("train", eval="test.jsonl"), "given with a name: as --eval.NAME test.jsonl"),
        ([*flags("train"), "--eval.test"], "--eval.test is given without a value"),
        ([*flags("train"), "--max-steps", "--resume"], "--max-steps is given without a value"),
        (
            flags("train", learning_rat=1),
            "unknown key --learning-rat; did you mean --learning-rate?",
        ),
        (flags("train", lr=1), "unknown key --lr; did you mean --lora-rank or --learning-rate?"),
        (flags("train", steps=1), "--max-steps or --warmup-steps or --eval-steps?"),
        ([*flags("train"), "--resum"], "unknown key --resum; did you mean --resume?"),
        (["chek", "data", "train.jsonl"], "unknown command 'chek'; did you mean check data?"),
        (["check"], "did you mean check data or check model?"),
        ([*flags("train"), "--quiet", "--verbose"], "--quiet and --verbose exclude each other"),
        ([*flags("train"), "--log-every", "often"], "--log-every takes seconds"),
        ([*flags("train"), "--epochs", "2"], "--epochs is given twice, as '1' and '2'"),
        (flags("train", train="train.jsonl?limit=" + "9" * 30), "`limit` must be a whole number"),
        (flags("train", eval='{"../a": "test.jsonl"}'), "eval has the name '../a'"),
        (flags("train", eval__a="none.jsonl"), "none.jsonl: no such file"),
        (flags("train", device="cuda:99"), "device"),
        (flags("train", config="none.yaml"), "none.yaml"),
        (flags("train", train="none.jsonl"), "none.jsonl: no such file"),
        (flags("train", train="agreement"), "agreement:PART"),
        (flags("train", model="./none"), "./none does not exist"),
        (flags("train", model="none"), "none is neither a directory nor a model that the hub"),
        ([*flags("train"), "extra"], "extra"),
        (["train", "extra"], "unexpected 'extra'"),
        (["train", "--model"], "--model"),
        (flags("score", data="none.jsonl"), "none.jsonl: no such file"),
        (flags("score", data="test.jsonl"), "name one with --kind: explicit, "),
        (["score", "model", "more", "--data", "test.jsonl"], "unexpected 'more'"),
        (["metrics"], "required: scores"),
        (["metrics", "none.jsonl"], "there is no score file none.jsonl"),
        (["metrics", "."], "rewardgap: . holds no score files of a run"),
        (["run", "none.yaml", "--out", "out"], "cannot read none.yaml: No such file"),
    ],
)
def test_a_mistake_in_the_words_is_one_line(words, message, refused):
    assert message in refused(words)


def test_a_misspelt_folder_is_not_asked_of_the_hub(refused, desk, monkeypatch):
    from huggingface_hub import constants

    (desk / "runs" / "explicit").mkdir(parents=True)
    words = flags("score", model="runs/explicti", data="test.jsonl")
    assert "no folder runs/explicti; did you mean runs/explicit?" in refused(words)
    words = flags("score", model="runs/none", data="test.jsonl")
    assert "no folder runs/none; give a model directory" in refused(words)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(desk / "hub"))
    (desk / "hub" / "models--runs--explicti").mkdir(parents=True)
    refuse_absent_model("runs/explicti")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "data.jsonl: holds no records"),
        ([GOOD, "{"], "data.jsonl, line 2: broken JSON"),
        ([GOOD, GOOD, ["a"]], "data.jsonl, line 3: a list, not an object"),
        ([GOOD, {"prompt": "hi", "chosen": "yes"}], "line 2: `rejected` is missing"),
        ([GOOD | {"chosen": 3}], "line 1: `chosen` must be"),
        ([GOOD | {"prompt": {"a": "b"}}], "line 1: `prompt` must be"),
        ([GOOD, GOOD | {"rejected": " "}], "line 2: `rejected` has an empty response"),
        ([GOOD, GOOD | {"rejected": "yes"}], "line 2: the same response is both chosen and"),
        ([GOOD | {"id": "a"}, GOOD | {"id": "a"}], "line 2: `id` 'a' occurs twice"),
    ],
)
@pytest.mark.parametrize("key", ["train", "eval.test", "data"])
def test_a_mistake_in_the_data_is_one_line(key, rows, message, desk, refused):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (desk / "data.jsonl").write_text("".join(line + "\n" for line in lines))
    command = "score" if key == "data" else "train"
    assert message in refused(flags(command, **{key: "data.jsonl"}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3\n", "rewardgap: unknown key epoch; did you mean epochs?"),
        ("epochs: three\n", "epochs must be a whole number"),
        ("- epochs\n", "- epochs"),
        ("epochs: [\n", "config"),
        ("train: []\n", "an empty list names no data"),
        ("train: train.jsonl\nepochs: null\n", "epochs must be a whole number; it is null"),
        ("epochs: 3\n# \udcff", "config.yaml cannot be read: 'utf-8' codec can't decode"),
    ],
)
def test_a_mistake_in_the_yaml_is_one_line(text, message, desk, refused):
    (desk / "config.yaml").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert message in refused(flags("train", config="config.yaml", train=None, epochs=None))


@pytest.mark.parametrize(
    ("command", "text", "message"),
    [
        ("ches", "cache: here", "cache is no longer a key of rewardgap ches: leave it out"),
        ("explain", "twin: a", "twin is no longer a key of rewardgap explain: use counterpart"),
        (
            "score",
            "likelihood_weight: 1",
            "likelihood_weight is no longer a key of rewardgap score",
        ),
    ],
)
def test_a_removed_key_in_the_yaml_is_one_line(command, text, message, desk, refused):
    (desk / "config.yaml").write_text(text)
    assert message in refused(flags(command, config="config.yaml"))


def test_a_flag_given_twice_trains_on_both_files(desk):
    assert main([*flags("train"), "--train", "test.jsonl"]) == 0
    assert Run(desk / "out").read_config()["train"] == ["train.jsonl", "test.jsonl"]


def test_the_home_folder_in_flags_and_yaml(desk, monkeypatch):
    monkeypatch.setenv("HOME", str(desk))
    values = {"train": ["~/train.jsonl"], "eval": {"a": "~/test.jsonl"}, "out": "~/runs/a"}
    (desk / "config.yaml").write_text(json.dumps(values))
    words = flags("train", config="config.yaml", train=None, out=None, model="~/model")
    assert main([*words, "--cache", "~/cache"]) == 0
    assert (desk / "runs/a/scores/a.jsonl").exists()
    assert not (desk / "~").exists()
    words = flags("score", model="~/runs/a", data="~/test.jsonl", out="~/scores.jsonl")
    assert main(words) == 0
    assert (desk / "scores.jsonl").read_bytes() == (desk / "runs/a/scores/a.jsonl").read_bytes()


def test_identical_responses_can_be_dropped(desk, caplog):
    write_rows(desk / "data.jsonl", [GOOD, GOOD | {"rejected": "yes"}])
    assert main(flags("train", train="data.jsonl", identical_pairs="drop")) == 0
    assert "are the same: 1, the first at data.jsonl, line 2" in caplog.text


def test_a_warning_is_shown_once_however_often_the_data_are_read(desk, forks):
    write_rows(desk / "data.jsonl", [GOOD, GOOD | {"rejected": "yes"}])
    words = flags("train", train="data.jsonl", identical_pairs="drop")
    run = start(forks, desk / "printed", main, words)
    assert run.end() == 0, run.stderr
    assert run.stderr.count("the first at data.jsonl, line 2") == 1


def test_a_remedy_is_the_flag_to_type(desk, refused):
    write_rows(desk / "same.jsonl", [GOOD | {"rejected": "yes"}])
    words = flags("train", train="same.jsonl")
    assert "remove the row or set --identical-pairs drop\n" in refused(words)
    write_rows(desk / "empty.jsonl", [GOOD | {"rejected": ""}])
    message = refused(flags("train", train="empty.jsonl"))
    assert message.endswith("; --bad-records drop leaves such records out\n")


WRONG = [
    flags("train", train="none.jsonl"),
    flags("train", eval__a="none.jsonl"),
    flags("train", model="./none"),
    flags("train", kind="best"),
    flags("score", data="none.jsonl"),
    flags("score", data="test.jsonl", reference="a/b/none"),
    flags("forecast", train="train.jsonl", eval__a="test.jsonl", kinds="[best]"),
    flags("explain", data="none.jsonl", id="a", out="why.html"),
    ["run", "experiment.yaml", "--out", "out", "--profile", "none"],
]


def test_what_is_not_there_is_told_before_torch_is_imported(desk):
    """Each of these is refused in a process that has imported neither torch nor transformers."""
    (desk / "experiment.yaml").write_text("name: a\n")
    script = "import sys; from rewardgap.cli import main; "
    script += f"assert [main(words) for words in {WRONG}] == [2] * {len(WRONG)}; "
    script += "assert not {'torch', 'transformers', 'pandas'} & sys.modules.keys()"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("\n") == len(WRONG)


@pytest.mark.parametrize("command", ["train", "score"])
def test_a_model_directory_without_safe_weights(command, desk, refused):
    folder = shutil.copytree(desk / "model", desk / "bare")
    words = flags(command, model="bare", kind="implicit-no-reference")
    words += ["--data", "test.jsonl"] if command == "score" else []
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "bare has no safetensors weights" in refused(words)
    (folder / "config.json").unlink()
    assert "bare has no config.json" in refused(words)


def test_a_reference_with_another_tokenizer(desk, refused):
    folder = shutil.copytree(desk / "model", desk / "other")
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace("<|user|>", "<|human|>"))
    words = flags("score", kind="implicit", reference="other", data="test.jsonl")
    assert "other has another tokenizer than the reward model" in refused(words)


def test_the_exit_looks_for_no_garbage(desk, monkeypatch):
    handlers = []
    monkeypatch.setattr("atexit.register", handlers.append)
    assert main(["check", "data", "train.jsonl"]) in (0, 3, 4)
    assert handlers == [gc.freeze]


def test_an_output_folder_of_another_configuration(refused, capsys, monkeypatch):
    monkeypatch.setattr(rewardgap.io.cache, "SETTLED", 1e6)  # a slow machine notes hashes meanwhile
    assert main(flags("train", eval__test="test.jsonl")) == 0
    message = refused(flags("train", eval__test="test.jsonl", seed=1, kind="implicit"))
    assert "out holds a run with another kind, seed; choose another out" in message
    assert "pass --resume" in refused(flags("train", eval__test="test.jsonl"))
    capsys.readouterr()
    assert main([*flags("train", eval__test="test.jsonl"), "--resume"]) == 0
    assert "wrote out" in capsys.readouterr().out


@pytest.mark.parametrize(("room", "every"), [(200, 0), (1200, 0), (20_000, 1), (20_000, 0)])
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(room, every, desk, capsys):
    words = flags("train", eval__test="test.jsonl", checkpoint_steps=every, epochs=5)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    capsys.readouterr()
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, usual[1]))
    try:
        assert main(words) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    error = capsys.readouterr().err
    assert error.startswith("rewardgap: ") and error.count("\n") == 1
    assert "File too large" in error  # what the system says of this disk
    allowed = {"config.yaml", "inputs.json", "log.jsonl", "checksums.json", "checkpoints"}
    assert {path.name for path in desk.glob("out/*")} <= allowed
    assert not list(desk.glob("out/**/*unfinished*"))
    assert main([*words, "--resume"]) == 0
    assert len(read_rows(desk / "out" / "log.jsonl")) == 10


def test_a_disk_that_fills_while_scores_are_written(desk, monkeypatch, refused):
    assert main(flags("train")) == 0

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    message = refused(flags("score", model="out", data="test.jsonl", out="scores.jsonl"))
    assert message == "rewardgap: cannot write scores.jsonl: No space left on device\n"


def test_an_interrupt_is_one_line(monkeypatch, capsys):
    def interrupt(config: TrainConfig) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("rewardgap.training.train"), "train", interrupt)
    capsys.readouterr()
    assert main(flags("train")) == 130
    assert capsys.readouterr().err == "rewardgap: interrupted\n"


@pytest.mark.parametrize(
    ("left", "remedy"),
    [
        (["checkpoints/step-00000200"], "the same command with --resume continues after step 200"),
        (["log.jsonl"], "the same command with --resume continues from its first step"),
    ],
)
def test_an_interrupt_says_how_training_goes_on(left, remedy, desk, monkeypatch, capsys):
    def interrupt(config: TrainConfig) -> None:
        for name in left:
            (desk / config.out / name).mkdir(parents=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("rewardgap.training.train"), "train", interrupt)
    capsys.readouterr()
    assert main(flags("train")) == 130
    assert capsys.readouterr().err == f"rewardgap: interrupted: {remedy}\n"


def test_training_talks_on_standard_error_unless_it_is_to_be_quiet(desk, forks):
    """The quiet one imports everything anew, which must say nothing either."""
    words = flags("train", eval__test="test.jsonl")
    loud = start(forks, desk / "printed", main, [*words, "--log-every", "0"])
    assert loud.end() == 0 and "wrote out" in loud.stdout
    *_, last = loud.stderr.splitlines()
    assert "training explicit on model: 6 pairs of 6 records" in loud.stderr
    assert "training explicit: 2 of 2 steps, loss " in loud.stderr
    assert last == "next: rewardgap report out --out out-report"
    shutil.rmtree(desk / "out")
    process = [sys.executable, "-m", "rewardgap.cli", *words, "--quiet"]
    quiet = subprocess.run(process, capture_output=True, text=True)
    assert quiet.returncode == 0
    assert all(line.startswith("rewardgap: ") for line in quiet.stderr.splitlines())  # warnings
    assert quiet.stdout == loud.stdout


def test_train_score_and_metrics_one_after_the_other(desk, capsys):
    assert main(flags("train", eval__test="test.jsonl")) == 0
    printed = capsys.readouterr().out
    assert "test" in printed and "longer" in printed and "wrote out" in printed
    words = ["score", "out", "--data", "test.jsonl", "--out", "again.jsonl", "--device", "cpu"]
    assert main(words) == 0
    own = Run(desk / "out").scores("test")
    assert (desk / "again.jsonl").read_bytes() == own.read_bytes()
    capsys.readouterr()
    assert main(["metrics", "again.jsonl", str(own), "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(report) == ["again.jsonl", str(own)]
    kept = json.loads((desk / "out" / "metrics.json").read_text())["test"]
    assert {key: report["again.jsonl"][key] for key in kept} == kept
    assert main(["metrics", "again.jsonl", str(own)]) == 0
    assert "cannot be told from" in capsys.readouterr().out
    assert main(["metrics", "again.jsonl", "out", "--json"]) == 0  # a run is its score files
    again = json.loads(capsys.readouterr().out)
    assert list(again) == ["again.jsonl", "out/scores/test.jsonl"]
    assert again["again.jsonl"]["compared"] == {
        "out/scores/test.jsonl": report["again.jsonl"]["compared"][str(own)]
    }


def test_a_process_of_its_own_fails_with_status_2_and_one_line(desk, forks):
    """Before torch is imported, in a new interpreter, and after."""
    words = [sys.executable, "-m", "rewardgap.cli", *flags("train", train="none.jsonl")]
    early = subprocess.run(words, capture_output=True, text=True)
    assert early.returncode == 2
    (desk / "data.jsonl").write_text(json.dumps(GOOD) + "\n{\n")
    late = start(forks, desk / "printed", main, flags("train", train="data.jsonl"))
    assert late.end() == 2
    assert early.stderr.startswith("rewardgap: none.jsonl: no such file")
    assert late.stderr.startswith("rewardgap: data.jsonl, line 2: broken JSON")
    for result in (early, late):
        assert result.stdout == "" and result.stderr.count("\n") == 1
    assert not (desk / "out").exists()
