"""Experiments that are run, on tiny models: cells, failures, and SIGKILL."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import run_until_after
from processes import start
from tiny import TEMPLATE
from toy import pair_rows, read_rows, write_rows
from toy_experiment import cells, hamiltonian, settings

from rewardgap import cli
from rewardgap.configs.training import TrainConfig
from rewardgap.data.chat_template import ChatTemplate
from rewardgap.errors import UserError
from rewardgap.experiments import runner
from rewardgap.experiments.run import run
from rewardgap.io.run_folder import Run
from rewardgap.models.reference import Reference
from rewardgap.reporting.results import read_results
from rewardgap.reporting.topics import robustness
from rewardgap.scoring import generation
from rewardgap.training.train import train

KILLS = 10
SHORT = 8
"""Tokens of an answer where none is read."""


def stamps(folder: Path) -> dict[Path, int]:
    """When every file was written, without those that every call writes."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {p: p.stat().st_mtime_ns for p in paths if p.name != "experiment.yaml"}


def scores(folder: Path) -> dict[str, bytes]:
    paths = [*folder.rglob("scores/*.jsonl"), *folder.rglob("metrics.json")]
    paths += [*folder.rglob("generations.json"), *folder.rglob("generations/*.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_every_cell_is_a_run_and_done_once(config, monkeypatch):
    computed: list[int] = []
    written: list[int] = []
    compute, tokenize = Reference.compute, ChatTemplate.tokenize
    monkeypatch.setattr(
        Reference, "compute", lambda self, trees: computed.append(1) or compute(self, trees)
    )
    monkeypatch.setattr(
        ChatTemplate,
        "tokenize",
        lambda self, texts: written.append(len(texts)) or tokenize(self, texts),
    )
    folder = run(config()).folder
    runs = [Run(path) for path in cells(folder)]
    assert [path.folder.relative_to(folder).parts[1:] for path in runs] == [
        (kind, seed) for seed in ("seed-0", "seed-1") for kind in ("explicit", "implicit")
    ]
    for each in runs:
        assert json.loads(each.metrics.read_text())["test"]["n"] == 6
        assert len(read_rows(each.scores("test"))) == 6 and each.reward_model.is_dir()
    assert len(computed) == 2, "training and test data, for all seeds together"
    texts = [count for count in written if count > 1]  # not what the template asks of itself
    assert texts == [6, 12, 12, 24], "prompts and whole texts, for all kinds and seeds together"
    before = stamps(folder)
    run(config())
    assert stamps(folder) == before
    run(config(seeds=[0, 2]))
    assert len(cells(folder)) == 6 and len(stamps(folder)) > len(before)
    assert {path: stamp for path, stamp in stamps(folder).items() if path in before} == before


def test_a_run_of_another_model_is_refused_before_work(config, folders, tmp_path):
    folder = run(config(kinds=["length"])).folder
    other = tmp_path / folders("llama").name
    other.symlink_to(folders("qwen2"))
    with pytest.raises(UserError, match="holds a run with another model"):
        run(config(kinds=["length", "constant"], models=[str(other)]))
    assert len(list(folder.rglob("metrics.json"))) == 2


def test_a_done_cell_whose_data_changed_is_refused(config, tmp_path):
    told = config(kinds=["length"], seeds=[0])
    run(told)
    write_rows(tmp_path / "test.jsonl", pair_rows(6, start=13))
    with pytest.raises(UserError, match=r"changed since .*evaluation data: .*test.jsonl; restore"):
        run(told)


def test_a_failing_cell_stops_no_other(config, caplog, capsys):
    wrong = {"learning_rate": 1e30, "kinds": ["explicit"]}
    told = config(variations=[wrong, {"beta": 0.1, "kinds": ["length"]}])
    with pytest.raises(UserError, match=r"failed: .*explicit~.*/seed-0, .*seed-1; all else of the"):
        run(replace(told, kinds=["length", "explicit"]))
    assert caplog.text.count("learning_rate=1e+30/seed-0: the loss is nan: lower") == 1
    runs = [Run(cell) for cell in cells(Path(told.out))]
    assert [each.metrics.exists() for each in runs] == ["1e+30" not in str(r.folder) for r in runs]
    assert len(runs) == 8


def test_an_error_of_any_kind_fails_one_cell_and_can_be_overcome(config, monkeypatch, caplog):
    def fail(told: TrainConfig, shared: object) -> Path:
        if told.seed == 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried much.\nAnd more.")
        return train(told)

    with monkeypatch.context() as patched:
        patched.setattr(runner, "train", fail)
        with pytest.raises(UserError, match=r"failed: .*length/seed-0; all else"):
            run(config(kinds=["length"]))
    assert "length/seed-0: CUDA out of memory. Tried much.\n" in caplog.text
    folder = run(config(kinds=["length"])).folder
    assert all(Run(cell).metrics.exists() for cell in cells(folder))


def test_a_dry_run_does_nothing_and_counts_tokens(config, tmp_path, folders):
    told = config(variations=[{"beta": 0.1, "kinds": ["implicit"]}])
    lines = run(replace(told, dry_run=True)).table.splitlines()
    assert not Path(told.out).exists()
    assert len(lines) == 1 + 6 + 1 and lines[-1].startswith("6 of 6 to do")
    template = ChatTemplate.load(folders("llama"))
    sizes = {
        name: sum(
            len(template.tokenize([f"<|begin|><|user|>{row['prompt']}<|end|><|assistant|>"])[0])
            + sum(len(template.tokenize([row[k] + "<|end|>"])[0]) for k in ("chosen", "rejected"))
            for row in read_rows(tmp_path / f"{name}.jsonl")
        )
        for name in ("train", "test")
    }
    columns = [line.replace(",", "").split()[2:5] for line in lines[1:3]]
    trained, scored = 2 * sizes["train"], sizes["test"]
    assert columns[0] == [str(trained), "0", str(scored)]
    assert columns[1] == [str(trained), str(sum(sizes.values())), str(scored)]
    assert {line.split()[-1] for line in lines[1:]} == {"?"}  # no run tells how long one takes
    done = run(config(kinds=["implicit"], seeds=[1]))
    title, accuracies = str(done).splitlines()
    assert title.split() == ["accuracy", "test", "runs"] and accuracies.split()[1] == "implicit"
    metrics = json.loads((cells(done.folder)[0] / "metrics.json").read_text())
    assert accuracies.split()[2:] == [f"{metrics['test']['accuracy']['value']:.3f}", "1"]
    lines = run(replace(told, dry_run=True)).table.splitlines()[1:-1]
    assert [line.split()[1] for line in lines] == ["new", "new", "new", "done", "new", "new"]
    known = [not line.endswith("?") for line in lines]
    assert known == ["implicit" in line for line in lines] and any(known)


def test_missing_data_are_told_before_anything_is_done(config, tmp_path):
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(UserError, match=r"test: no source .* put test.jsonl into a folder"):
        run(config())
    assert not (tmp_path / "grid").exists()


def test_sets_that_are_no_twins_are_refused_before_anything_is_done(config, tmp_path, caplog):
    rows = pair_rows(6, start=12)
    reworded = [row | {"chosen": "Sure.", "rejected": "Never."} for row in rows]
    sets = {
        name: {"category": "token-level", "local": f"$data_dir/{name}.jsonl"}
        for name in ("test", "twin")
    }
    sets["twin"]["shift_of"] = "test"
    told = config(changes={"eval": sets}, kinds=["length"])
    unnamed = [row | {"id": f"twin-{row['id']}"} for row in reworded]
    for wrong, row in ((unnamed[::-1], 1), (unnamed[:5], 6)):
        write_rows(tmp_path / "twin.jsonl", wrong)
        for dry in (True, False):
            with pytest.raises(UserError, match=f"twin: its rows do not .* of test: row {row} has"):
                run(replace(told, dry_run=dry))
        assert not Path(told.out).exists()
    write_rows(tmp_path / "twin.jsonl", unnamed)
    run(replace(told, dry_run=True))
    other = [*reworded[:3], reworded[3] | {"prompt": "another"}]
    write_rows(tmp_path / "twin.jsonl", other)
    with pytest.raises(UserError, match=r"twin: its rows .* record pair-15 has another prompt"):
        run(told)
    write_rows(tmp_path / "twin.jsonl", reworded[:3:-1])  # ids tell which records correspond
    run(told)
    assert "4 of 6 records are in only one of test and twin" in caplog.text


BAD = {
    "empty": {"rejected": " "},
    "unwritable": {"chosen": "Forbidden words."},
}


@pytest.mark.parametrize(
    ("bad", "where"), [("empty", "both"), ("empty", "twin"), ("unwritable", "test")]
)
def test_a_record_that_one_of_two_sets_drops_is_left_out_of_their_comparison(
    bad, where, config, tmp_path, folders, caplog
):
    raising = (
        "{% for m in messages if 'Forbidden' in m['content'] %}"
        "{{ raise_exception('forbidden') }}{% endfor %}"
    )
    model = folders("llama", "<|pad|>", raising + TEMPLATE)
    rows = pair_rows(6, start=12)
    sets = {"test": rows, "twin": [row | {"id": f"twin-{row['id']}"} for row in rows]}
    for place, name in enumerate(sets):
        if where in (name, "both"):
            sets[name][2 + place] = sets[name][2 + place] | BAD[bad]
        write_rows(tmp_path / f"{name}.jsonl", sets[name])
    evaluation: dict[str, Any] = {
        name: {"category": "token-level", "local": f"$data_dir/{name}.jsonl"} for name in sets
    }
    evaluation["twin"]["shift_of"] = "test"
    told = config(changes={"eval": evaluation, "models": [str(model)]}, seeds=[0])
    with pytest.raises(UserError, match="bad_records: drop"):
        run(told)
    shutil.rmtree(told.out, ignore_errors=True)
    folder = run(replace(told, settings={"bad_records": "drop"})).folder
    lost = 2 if where == "both" else 1
    if bad == "empty":
        words = f"{lost} of 6 records are in only one of test and twin"
        assert caplog.text.count(words) == 1
    (results,) = read_results([str(folder)])
    measured = robustness.measure(results)
    assert not measured.not_shifts
    for kind, cost in measured.drops["twin"].items():
        assert (cost.loss.n, cost.left_out) == (6 - lost, lost), kind
        before, after = (
            {
                row["data_row"]: row["scores_chosen"] > row["scores_rejected"]
                for row in read_rows(folder / model.name / kind / f"seed-0/scores/{name}.jsonl")
            }
            for name in sets
        )
        assert len(before) + len(after) == 12 - lost
        both = before.keys() & after.keys()
        gained = sum(after[row] for row in both) - sum(before[row] for row in both)
        assert cost.loss.difference.value == pytest.approx(-gained / len(both))
    told_once = [f.text for f in robustness.sentences(results) if f.tone == "caution"]
    assert told_once == [
        f"Reworded as twin: {lost} records are in only one of the two sets; "
        "the comparison leaves them out."
    ]


def test_any_key_can_be_given_on_the_command_line(config, tmp_path, capsys):
    told, other = config(), tmp_path / "mine.jsonl"
    write_rows(other, pair_rows(12))
    words = ["run", told.experiment, "--out", told.out, "--data-dir", str(tmp_path)]
    words += ["--kinds", "constant", "--train", str(other), "--claim", "So it is."]
    words += ["--eval.test.category", "domain", "--eval.new.data", str(tmp_path / "test.jsonl")]
    words += ["--eval.new.category=token-level", "--eval.new.shift_of", "test"]
    assert cli.main(words) == 0
    written = yaml.safe_load((Path(told.out) / "experiment.yaml").read_text())
    assert (written["name"], written["claim"]) == ("toy on mine.jsonl", "So it is.")
    assert written["train"] == {"name": "mine.jsonl", "data": str(other)}
    assert written["eval"]["test"]["category"] == "domain"
    assert written["eval"]["new"] == {
        "data": str(tmp_path / "test.jsonl"),
        "category": "token-level",
        "shift_of": "test",
    }
    assert cli.main([*words, "--train.name", "yes", "--name", "toy 2", "--dry-run"]) == 0
    capsys.readouterr()
    assert cli.main([*words, "--eval.no.data", "a.jsonl"]) == 2
    assert "unknown evaluation set 'no'" in capsys.readouterr().err


def test_flags_are_settings_of_all_runs(config, tmp_path, capsys):
    told = config()
    words = ["run", told.experiment, "--out", told.out, "--data-dir", str(tmp_path)]
    words += ["--kinds", "constant", "length", "--seeds", "3", "--epochs", "7", "--dtype=float32"]
    assert cli.main(words) == 0
    assert f"wrote {told.out}" in capsys.readouterr().out
    paths = cells(Path(told.out))
    assert [path.parts[-2:] for path in paths] == [("constant", "seed-3"), ("length", "seed-3")]
    settings = Run(paths[0]).read_config()
    assert settings["epochs"] == 7 and settings["dtype"] == "float32" and settings["seed"] == 3
    for wrong, message in (
        (["--epoch", "7"], "epoch"),
        (["--epochs", "many"], "epochs"),
        (["--model", "other"], "unknown key 'model'"),
    ):
        assert cli.main([*words, *wrong]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_accuracies_are_forecast_for_the_kinds_that_can_be(config):
    told = config(changes={"forecast": True}, kinds=["length", "explicit"], seeds=[1])
    folder = run(told).folder
    (path,) = folder.glob("forecasts/*/forecast.json")
    accuracy = json.loads(path.read_text())["test"]["explicit"]["accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert path.parent.name == cells(folder)[0].parts[-3]
    assert list(json.loads(path.read_text())["test"]) == ["explicit"]
    before = stamps(folder)
    run(told)
    run(replace(told, kinds=["length"]))
    assert stamps(folder) == before
    run(replace(told, kinds=["implicit"]))
    assert set(json.loads(path.read_text())["test"]) == {"explicit", "implicit"}


@pytest.mark.slow
def test_killed_at_random_moments(config, forks, tmp_path, monkeypatch):
    """No finished cell is done again, and the scores come out the same."""
    changes = hamiltonian(settings=settings(tmp_path, checkpoint_steps=1, epochs=3))
    writes: list[object] = []
    replace = os.replace
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", lambda *paths: writes.append(paths) or replace(*paths))
        patched.setattr(generation, "MOST_NEW_TOKENS", SHORT)
        expected = scores(run(config("whole", changes)).folder)
    told = config("killed", changes)
    words = ["run", told.experiment, "--out", told.out, "--data-dir", str(tmp_path)]
    random = np.random.default_rng(KILLS)
    finished: dict[Path, int] = {}
    endings = []
    for moment in [*random.integers(1, 2 * len(writes) // KILLS, KILLS).tolist(), None]:
        arguments = (words, moment, random.uniform(0, 0.1), SHORT)
        killed = start(forks, tmp_path / "printed", run_until_after, *arguments)
        endings.append(killed.end())
        assert endings[-1] in (0, -signal.SIGKILL), killed.stderr
        assert {path: path.stat().st_mtime_ns for path in finished} == finished
        finished |= {
            path: path.stat().st_mtime_ns
            for metrics in Path(told.out).rglob("metrics.json")
            for path in metrics.parent.rglob("*.jsonl")
        }
    assert endings.count(-signal.SIGKILL) > KILLS // 2 and endings[-1] == 0
    assert scores(Path(told.out)) == expected
    assert not [path for cell in cells(Path(told.out)) for path in cell.rglob(".*")]
