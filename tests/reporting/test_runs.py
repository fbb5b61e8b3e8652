"""What the report reads: grids, runs outside grids, what is missing, and what is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from grids import Grid, score_rows, write_grid, write_run

from rewardgap.errors import UserError
from rewardgap.evaluation.scores import write_scores
from rewardgap.io.grid_folder import ExperimentRecord
from rewardgap.reporting.results import Results, measure
from rewardgap.reporting.runs import CURVE_POINTS, read_curves, read_grids
from rewardgap.reporting.topics import accuracy

SMALL = Grid(
    models=("m",),
    seeds=(0,),
    sets={"ultrafeedback": ("in-distribution", None), "rewardmath": ("domain", None)},
    records=4,
)


def read_one(*folders: Path) -> ExperimentRecord:
    (experiment,) = read_grids([str(folder) for folder in folders])
    return experiment


def test_a_grid_is_read_as_it_is_planned(tmp_path):
    grid = replace(
        SMALL, variations=("", "beta=0.1"), sets={"a": ("domain", None), "b": ("x", "a")}
    )
    experiment = read_one(write_grid(tmp_path, grid))
    assert (experiment.name, experiment.train, experiment.profile) == (
        "chat",
        "ultrafeedback",
        "small",
    )
    assert [(each.name, each.category, each.shift_of) for each in experiment.sets] == [
        ("a", "domain", None),
        ("b", "x", "a"),
    ]
    assert {(cell.kind, cell.variation, cell.subject) for cell in experiment.cells} == {
        (kind, variation, subject)
        for kind in ("explicit", "implicit")
        for variation, subject in (("", "m"), ("beta=0.1", "m, beta=0.1"))
    }


def test_folders_of_grids_and_of_runs_are_searched(tmp_path):
    write_grid(tmp_path / "here" / "chat", SMALL)
    write_grid(tmp_path / "here" / "math", replace(SMALL, name="math"))
    write_run(tmp_path / "here" / "runs" / "one", "m", "explicit", 0, {})
    found = read_grids([str(tmp_path)])
    assert [each.name for each in found] == ["chat", "math", "runs trained on train.jsonl"]


def test_runs_outside_grids_are_told_apart_by_what_differs(tmp_path):
    for name, beta in (("low", 0.01), ("high", 0.1)):
        write_run(tmp_path / name, "m", "implicit", 0, {})
        config = yaml.safe_load((tmp_path / name / "config.yaml").read_text())
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config | {"beta": beta}))
    write_run(tmp_path / "alone", "m", "explicit", 0, {})
    cells = read_one(tmp_path).cells
    assert {(cell.kind, cell.variation) for cell in cells} == {
        ("implicit", "beta=0.01"),
        ("implicit", "beta=0.1"),
        ("explicit", ""),
    }


def test_a_grid_that_two_machines_worked_on_becomes_one(tmp_path):
    """Both plan all cells; each has done one kind."""
    first, second = write_grid(tmp_path / "1", SMALL), write_grid(tmp_path / "2", SMALL)
    for path in (first / "m/implicit/seed-0/config.yaml", second / "m/explicit/seed-0/config.yaml"):
        path.unlink()
    experiment = read_one(first, second)
    assert {
        (cell.kind, cell.run.folder.relative_to(tmp_path).parts[0]) for cell in experiment.cells
    } == {
        ("explicit", "1"),
        ("implicit", "2"),
    }


def test_what_is_missing_is_listed_and_the_rest_is_there(tmp_path):
    folder = write_grid(tmp_path, replace(SMALL, kinds=("explicit", "implicit", "generative")))
    (folder / "m/implicit/seed-0/scores/rewardmath.jsonl").unlink()
    for path in (folder / "m/generative/seed-0").rglob("*.*"):
        path.unlink()
    measured = measure(read_one(folder))
    assert measured.missing == (
        "m, implicit, seed 0 lacks scores for rewardmath",
        "m, generative, seed 0 has not begun",
    )
    assert [len(cells) for cells in measured.rows.values()] == [2, 1]


def test_a_curve_is_thinned_to_means(tmp_path):
    experiment = read_one(write_grid(tmp_path, SMALL))
    for cell in experiment.cells:
        steps = range(1, 10 * CURVE_POINTS + 1)
        cell.run.log.write_text("".join(f'{{"step": {s}, "loss": {s}}}\n' for s in steps))
    for curve in read_curves(experiment):
        assert len(curve.steps) == CURVE_POINTS
        assert (curve.steps[0], curve.values["loss"][0]) == (10, 5.5)  # the mean of 1 … 10


def test_the_line_that_a_run_is_writing_is_not_read(tmp_path):
    experiment = read_one(write_grid(tmp_path, SMALL))
    for cell in experiment.cells:
        cell.run.log.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    assert [curve.steps for curve in read_curves(experiment)] == [(1,), (1,)]


def test_planned_generations_and_forecasts_are_missed(tmp_path):
    folder = write_grid(tmp_path, replace(SMALL, seeds=(0, 1)))
    plan = yaml.safe_load((folder / "experiment.yaml").read_text())
    plan |= {"generate": ["rewardmath"], "forecast": True}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(plan))
    forecast = "there is no forecast from m yet"
    assert measure(read_one(folder)).missing == (
        "no run has generated responses for rewardmath yet",
        forecast,
    )
    shares = {"rewardmath": {"correct": 0.25, "initial": 0.5, "n": 8}}
    (folder / "m/implicit/seed-0/generations.json").write_text(json.dumps(shares))
    measured = measure(read_one(folder))
    assert measured.missing == (
        "m, implicit, seed 1 has not generated responses for rewardmath",
        forecast,
    )
    spreads = [
        measured.spread("correct", ["rewardmath"], kind) for kind in ("implicit", "initial model")
    ]
    counts = {(spread.files, spread.planned) for spread in spreads}
    assert counts == {(1, 2)}


def test_training_files_of_one_name_are_told_apart(tmp_path):
    trained = ["/one/train.jsonl", "/two/train.jsonl", ["a.jsonl", "/b/c.jsonl"]]
    for number, train in enumerate(trained):
        write_run(tmp_path / str(number), "m", "explicit", 0, {})
        path = tmp_path / str(number) / "config.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"train": train}))
    for folders in ([tmp_path], [tmp_path / str(number) for number in range(3)]):
        assert [each.train for each in read_grids([str(each) for each in folders])] == [
            "/one/train.jsonl",
            "/two/train.jsonl",
            "a.jsonl, c.jsonl",
        ]


def test_scores_in_another_order_are_aligned(tmp_path):
    folder = write_grid(tmp_path, SMALL)
    path = folder / "m/implicit/seed-0/scores/rewardmath.jsonl"
    path.write_text("\n".join(reversed(path.read_text().splitlines())))
    rows = measure(read_one(folder)).rows["rewardmath"]
    assert len({tuple(row.id for row in some) for some in rows.values()}) == 1


def test_records_that_a_run_has_dropped_count_for_no_run(tmp_path):
    """A template of one model may refuse what that of another writes."""
    folder = write_grid(tmp_path / "grid", SMALL)
    run = folder / "m/implicit/seed-0"
    path = run / "scores/rewardmath.jsonl"
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join(rest))
    assert "1 records are in only one" in refuse(tmp_path, "grid")
    entry = {"data": "rewardmath", "record": json.loads(first)["id"], "reason": "no system role"}
    (run / "dropped.jsonl").write_text(json.dumps(entry | {"data": "another"}) + "\n")
    assert "1 records are in only one" in refuse(tmp_path, "grid")
    (run / "dropped.jsonl").write_text(json.dumps(entry) + "\n")
    results = measure(read_one(folder))
    assert {len(rows) for rows in results.rows["rewardmath"].values()} == {len(rest)}
    assert {name: count for name, count in results.left_out.items() if count} == {"rewardmath": 1}
    assert [f.text for f in accuracy.sentences(results)] == [
        "1 records of rewardmath are left out of every run, as some have dropped them: "
        "all are measured on the same records."
    ]


def refuse(tmp_path: Path, *names: str) -> str:
    with pytest.raises(UserError) as caught:
        for experiment in read_grids([str(tmp_path / name) for name in names]):
            measure(experiment)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_without_runs_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds none" in refuse(tmp_path, "empty")
    assert "there is no folder" in refuse(tmp_path, "absent")


def test_two_runs_of_one_name_are_refused(tmp_path):
    for name in ("1", "2"):
        write_grid(tmp_path / name, SMALL)
    assert re.search(
        "two runs of one name.*m, explicit, seed 0.*1/m.*2/m", refuse(tmp_path, "1", "2")
    )
    for name in ("a", "b"):
        write_run(tmp_path / "runs" / name, "m", "explicit", 0, {})
    assert "two runs of one name" in refuse(tmp_path, "runs")


def test_scores_of_other_data_are_refused(tmp_path):
    folder = write_grid(tmp_path / "grid", SMALL)
    other = score_rows("another", [(1.0, 0.0)] * 4, SMALL)
    write_scores(folder / "m/implicit/seed-0/scores/rewardmath.jsonl", other)
    message = refuse(tmp_path, "grid")
    assert re.search("explicit.*implicit.*rewardmath.*8 records.*same data", message)


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("experiment.yaml", "name: [", "cannot read .*experiment.yaml"),
        (
            "experiment.yaml",
            "name: chat",
            "experiment.yaml is no grid's experiment: the key 'train'",
        ),
        (
            "m/explicit/seed-0/scores/rewardmath.jsonl",
            "{",
            "rewardmath.jsonl, line 1: not valid JSON",
        ),
        ("m/explicit/seed-0/log.jsonl", '{"step": 1}\n{\n', "log.jsonl, line 2: not of a training"),
        ("m/explicit/seed-0/log.jsonl", '{"loss": 1}\n', "log.jsonl is no training log: .*'step'"),
        ("m/explicit/seed-0/log.jsonl", '{"step": 1}\n{"step": 1}\n', "line 2.* not the next one"),
        *(
            ("m/explicit/seed-0/log.jsonl", f'{{"step": 1, "loss": {value}}}\n', "line 1.*remove")
            for value in ("true", '"a"', "NaN", "1e999", "[1]", "null", "9" * 400, "[" * 100_000)
        ),
        ("m/explicit/seed-0/log.jsonl", "[1]\n", "line 1: not of a training log"),
        ("m/explicit/seed-0/generations.json", "[" * 100_000, "cannot read .*generations.json"),
        (
            "m/explicit/seed-0/generations.json",
            '{"rewardmath": {"correct": 1.5, "initial": null, "n": 3}}',
            "generations.json is no file of generations: 1.5 is no share",
        ),
        (
            "m/explicit/seed-0/generations.json",
            '{"rewardmath": {"correct": 0.5, "initial": null, "n": -3}}',
            "generations.json is no file of generations: -3 is no number of prompts",
        ),
        ("m/explicit/seed-0/scores/rewardmath.jsonl", "[" * 100_000, "line 1: not valid JSON"),
        ("forecasts/m/forecast.json", '{"a": {"explicit": 3}}', "forecast.json is no forecast"),
        (
            "forecasts/m/forecast.json",
            '{"a": {"explicit": {"loss": "low", "accuracy": {"value": 0, "low": 0, "high": 0}}}}',
            "forecast.json is no forecast: 'low' is no finite number; remove",
        ),
        ("m/explicit/seed-0/generations.json", "[]", "generations.json is no file of generations"),
        ("forecasts/m/forecast.json", '{"a": {"explicit": {}}}', "forecast.json is no forecast"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, path, text, complaint):
    folder = write_grid(tmp_path / "grid", SMALL)
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)
    assert re.search(complaint, refuse(tmp_path, "grid"))


def test_folders_of_one_experiment_must_agree_on_its_sets(tmp_path):
    write_grid(tmp_path / "1", SMALL)
    write_grid(
        tmp_path / "2", replace(SMALL, seeds=(1,), sets={"rewardmath": ("token-level", None)})
    )
    assert "disagree on the category" in refuse(tmp_path, "1", "2")


def test_generations_and_forecasts_are_read(tmp_path):
    folder = write_grid(tmp_path, SMALL)
    share = {"rewardmath": {"correct": 0.25, "initial": 0.5, "n": 8}}
    (folder / "m/implicit/seed-0/generations.json").write_text(json.dumps(share))
    accuracy = {"value": 0.7, "low": 0.6, "high": 0.8}
    explicit = {"accuracy": accuracy, "loss": 0.3, "separator_share": 0.25}
    forecast = {"rewardmath": {"explicit": explicit}}
    (folder / "forecasts/m").mkdir(parents=True)
    (folder / "forecasts/m/forecast.json").write_text(json.dumps(forecast))
    measured: Results = measure(read_one(folder))
    kinds = ("implicit", "initial model")
    shares = {
        ("rewardmath", kind): measured.spread("correct", ["rewardmath"], kind).mean
        for kind in kinds
    }
    assert shares == {("rewardmath", "implicit"): 0.25, ("rewardmath", "initial model"): 0.5}
    (only,) = measured.forecasts
    found = (only.model, only.name, only.kind, only.accuracy.low, only.separator_share)
    assert found == ("m", "rewardmath", "explicit", 0.6, 0.25)
