"""An experiment's folder: what is written is read, and what is not an experiment is refused."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rewardgap.errors import UserError
from rewardgap.io.generations import (
    Answer,
    CorrectShare,
    read_answers,
    read_shares,
    write_answers,
    write_shares,
)
from rewardgap.io.grid_folder import (
    ClaimedLead,
    ExperimentRecord,
    GridFolder,
    SetRecord,
    read_experiment_record,
    write_experiment,
)


@pytest.fixture
def record(tmp_path: Path) -> ExperimentRecord:
    folder = tmp_path / "grid"
    grid = GridFolder(folder)
    return ExperimentRecord(
        name="toy",
        claim="It can be learnt.",
        profile=None,
        train="yes",
        sets=(
            SetRecord("test", "in-distribution", None, "a.jsonl"),
            SetRecord("reworded", "token-level", "test", "b.jsonl"),
        ),
        cells=(grid.cell("m", "explicit", 0), grid.cell("m", "implicit", 1, "beta=0.1")),
        folders=(folder,),
        generate=("test",),
        forecast=True,
        train_data=["a.jsonl", "b.jsonl"],
        settings={"epochs": 3, "learning_rate": 1e-6},
        predicts=(ClaimedLead("explicit", "chance", "test"),),
    )


def test_what_is_written_is_read(record):
    write_experiment(record)
    assert read_experiment_record(record.folders[0]) == record


def test_the_layout_of_the_folder(record):
    grid, (first, varied) = GridFolder(record.folders[0]), record.cells
    places = [grid.place(first), grid.place(varied)]
    assert places == ["m/explicit/seed-0", "m/implicit~beta=0.1/seed-1"]
    paths = [
        grid.experiment,
        grid.language_model("m"),
        grid.initial_answers("m", "test"),
        grid.forecast("m"),
        first.shares,
        first.answers("test"),
    ]
    assert [path.relative_to(grid.folder).as_posix() for path in paths] == [
        "experiment.yaml",
        "initial/m/language_model",
        "initial/m/generations/test.jsonl",
        "forecasts/m",
        "m/explicit/seed-0/generations.json",
        "m/explicit/seed-0/generations/test.jsonl",
    ]
    assert grid.forecasts() == []
    (grid.forecast("m")).mkdir(parents=True)
    (grid.forecast("m") / "forecast.json").touch()
    assert grid.forecasts() == [grid.forecast("m")]


def test_cells_are_added_and_stay(record):
    write_experiment(record)
    grid = GridFolder(record.folders[0])
    new = grid.cell("m", "explicit", 7)
    write_experiment(replace(record, cells=(new, record.cells[0])))
    known = read_experiment_record(grid.folder).cells
    assert known == (new, *record.cells)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"settings": {"epochs": 4}}, "settings"),
        ({"train_data": "c.jsonl"}, "train"),
        ({"sets": (SetRecord("test"),)}, "eval"),
        ({"name": "other", "train": "no"}, "name, train"),
    ],
)
def test_another_experiment_is_refused(changes, key, record):
    write_experiment(record)
    with pytest.raises(UserError, match=f"holds an experiment with another {key}; choose"):
        write_experiment(replace(record, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "the key 'name' is missing"),
        ({"cells": None}, "the key 'cells' is missing"),
        ({"cells": [{"model": "m"}]}, "the key 'kind' is missing"),
        ({"eval": ["test"]}, "eval is ['test']"),
        ({"eval": {"b": None}}, "eval.b is None"),
        ({"eval": {"b": {"category": ["domain"]}}}, "eval.b.category is ['domain']"),
        ({"cells": [3]}, "a cell is 3"),
        ({"profile": ["small"]}, "profile is ['small']"),
        ({"generate": "b"}, "generate is 'b'"),
        ({"settings": [3]}, "settings is [3]"),
        (
            {"eval": {"b": {"category": "domain", "twin_of": "a"}}},
            "eval.b: the key 'twin_of' is now named 'shift_of'; rename it",
        ),
    ],
)
def test_a_damaged_experiment_is_refused_in_one_line(changes, message, record):
    write_experiment(record)
    path = GridFolder(record.folders[0]).experiment
    values = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value}))
    for act in (lambda: read_experiment_record(path.parent), lambda: write_experiment(record)):
        with pytest.raises(UserError, match=re.escape(message)) as raised:
            act()
        assert str(raised.value).startswith(str(path)) and "\n" not in str(raised.value)


def test_a_file_in_place_of_the_folder_is_refused(record):
    record.folders[0].touch()
    with pytest.raises(UserError, match="is a file; choose another out"):
        write_experiment(record)


def test_answers_and_shares_are_read_as_they_were_written(tmp_path):
    answers = [Answer("a", "yes\nno", True), Answer("b", "", False)]
    write_answers(tmp_path / "answers.jsonl", answers)
    assert read_answers(tmp_path / "answers.jsonl") == answers
    shares = {"test": CorrectShare(0.5, 0.25, 4), "train": CorrectShare(1.0, None, 2)}
    write_shares(tmp_path / "shares.json", shares)
    assert read_shares(tmp_path / "shares.json") == shares
    (tmp_path / "answers.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(
        UserError, match="no file of answers: the key 'response' is missing; remove it"
    ):
        read_answers(tmp_path / "answers.jsonl")


def test_a_cell_in_a_folder_that_cannot_be_is_refused(record):
    write_experiment(record)
    path = GridFolder(record.folders[0]).folder / "experiment.yaml"
    values = yaml.safe_load(path.read_text())
    values["cells"][0]["folder"] = "9" * 300
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=r"the folder '999.* of a cell cannot be"):
        read_experiment_record(path.parent)
