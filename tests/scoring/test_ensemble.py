"""Ensembles of models, and rewards standardised by the scale that is saved with each."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy import pair_rows, read_rows, several_rows, train_toy, write_rows

import rewardgap
from rewardgap.cli import main
from rewardgap.errors import UserError
from rewardgap.io.run_folder import Run

ANSWERS = ["yes, sure", "no, never", "yes, certainly"]


@pytest.fixture(scope="module")
def runs(folders: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("runs")
    kinds = {"explicit": {}, "generative": {}}
    made = []
    for name, settings in kinds.items():
        (folder / name).mkdir()
        changes = {"kind": name, "epochs": 1, **settings}
        made.append(train_toy(folder / name, folders("llama"), **changes))
    return made


def name_of(rule: str, runs: list[Run]) -> str:
    return f"{rule}({','.join(str(run.folder) for run in runs)})"


def score(folder: Path, *words: str) -> list[dict[str, object]]:
    data = write_rows(folder / "data.jsonl", several_rows(4) + pair_rows(2))
    out = folder / "scores.jsonl"
    arguments = ["score", *words, "--data", data, "--out", str(out), "--device", "cpu"]
    assert main([*arguments, "--cache", str(folder / "cache"), "--overwrite"]) == 0
    return read_rows(out)


def rewards(rows: list[dict[str, object]]) -> np.ndarray:
    sides = [row[key] for row in rows for key in ("scores_chosen", "scores_rejected")]
    return np.array([r for side in sides for r in (side if isinstance(side, list) else [side])])


RULES = {
    "mean": lambda a, b: (a + b) / 2,
    "worst": np.minimum,
    "mean-std": lambda a, b: (a + b) / 2 - abs(a - b) / 2,
}


def test_the_command_combines_the_rewards_of_its_members(runs, tmp_path):
    members = [rewards(score(tmp_path, str(run.folder))) for run in runs]
    rows = score(tmp_path, name_of("mean-std", runs))
    assert rewards(rows) == pytest.approx(RULES["mean-std"](*members), abs=1e-6)
    assert [len(row["prompt"]) for row in rows] == [16] * len(rows)


def test_a_loaded_ensemble_combines_the_rewards_of_its_members(runs):
    alone = [rewardgap.load(str(run.folder), device="cpu").score("hi", ANSWERS) for run in runs]
    for rule, combine in RULES.items():
        loaded = rewardgap.load(name_of(rule, runs), device="cpu")
        expected = combine(*map(np.array, alone))
        assert loaded.score("hi", ANSWERS) == pytest.approx(expected, abs=1e-6)
        assert loaded.best("hi", ANSWERS) == ANSWERS[int(expected.argmax())]


def test_rewards_of_other_scales_are_said(runs, tmp_path, caplog):
    message = "is mostly the first; `--standardise` of score and rank brings them"
    score(tmp_path, name_of("mean", runs), "--standardise")
    assert message not in caplog.text
    score(tmp_path, name_of("mean", runs))
    assert message in caplog.text


def test_the_scale_is_that_of_the_training_responses(runs, tmp_path):
    for run in runs:
        config = run.read_config()
        saved = json.loads((run.reward_model / "rewardgap.json").read_text())["scale"]
        out, raw = tmp_path / "train.jsonl", rewardgap.load(str(run.folder), device="cpu")
        words = ["score", str(run.folder), "--data", config["train"], "--out", str(out)]
        words += ["--device", "cpu", "--overwrite"]
        assert main([*words, "--cache", str(tmp_path / "cache")]) == 0
        values = rewards(read_rows(out))
        assert (saved["mean"], saved["deviation"]) == pytest.approx(
            (values.mean(), values.std()), rel=1e-4
        )
        assert saved["responses"] == len(values)
        standard = rewardgap.load(str(run.folder), device="cpu", standardise=True)
        expected = (np.array(raw.score("hi", ANSWERS)) - saved["mean"]) / saved["deviation"]
        assert standard.score("hi", ANSWERS) == pytest.approx(expected, abs=1e-4)


def test_a_scale_of_other_data_is_saved_and_changes_no_reward(folders, tmp_path, capsys):
    run = train_toy(tmp_path, folders("llama"), epochs=1, eval={})
    before = rewards(score(tmp_path, str(run.folder)))
    after = rewards(score(tmp_path, str(run.folder), "--save-scale"))
    standard = rewards(score(tmp_path, str(run.folder), "--standardise"))
    assert (after == before).all()
    assert standard.mean() == pytest.approx(0, abs=1e-5)
    assert standard.std() == pytest.approx(1, abs=1e-5)
    out = ["--data", str(tmp_path / "data.jsonl"), "--out", str(tmp_path / "s.jsonl")]
    assert main(["score", str(run.folder), *out, "--standardise", "--save-scale"]) == 2
    assert "leave out standardise" in capsys.readouterr().err


def test_mistakes(folders, runs, tmp_path, capsys):
    data = write_rows(tmp_path / "data.jsonl", pair_rows(2))
    words = ["--data", data, "--out", str(tmp_path / "out.jsonl"), "--device", "cpu"]
    wrong = {
        "median(a,b)": "median is no ensemble; choose mean, worst, mean-std",
        "mean(a)": "members, none of them an ensemble, as mean(runs/a,runs/b)",
        "mean(./absent,./gone)": "./absent does not exist",
        "mean(a,worst(b,c))": "none of them an ensemble",
    }
    for name, message in wrong.items():
        assert main(["score", name, *words]) == 2
        assert message in capsys.readouterr().err
    run = train_toy(tmp_path, folders("llama"), kind="constant", eval={})
    assert main(["score", str(run.folder), *words, "--standardise"]) == 2
    assert "has no scale of its rewards to standardise by" in capsys.readouterr().err
    assert main(["score", str(run.folder), *words, "--save-scale"]) == 2
    assert "give no scale" in capsys.readouterr().err
    with pytest.raises(UserError, match="median is no ensemble"):
        rewardgap.load("median(a,b)")
