"""The command `report` from folders to files."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from grids import Grid, write_grid, write_run
from memory import peak_kibibytes

from rewardgap.cli import main
from rewardgap.configs.experiments import ReportConfig
from rewardgap.errors import UserError
from rewardgap.evaluation.scores import ScoreRow, write_scores
from rewardgap.reporting.paper import saving
from rewardgap.reporting.report import report

TINY = Grid(
    models=("m",),
    kinds=("explicit", "implicit"),
    seeds=(0,),
    sets={"ultrafeedback": ("in-distribution", None), "rewardmath": ("domain", None)},
    records=4,
)
REWARDS = [(1.0, 0.0), (0.0, 1.0), (3.0, 0.0), (0.0, 0.0)]
"""Two right, one wrong, one tie."""


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_grid(folder / "grid", TINY, lambda *_: REWARDS)
    return report(ReportConfig(folders=[str(folder / "grid")], out=str(folder / "out"))).parent


@pytest.fixture(autouse=True)
def one_format(monkeypatch):
    """Figures cost the most time by far; `out` has them in every format."""
    monkeypatch.setattr(saving, "FORMATS", ("svg",))


def test_every_promised_file_is_there(out):
    names = {str(path.relative_to(out)) for path in out.rglob("*.*")}
    tables = {f"tables/{name}.{end}" for name in ("table-1", "table-2", "table-3", "chat-by-set")
              for end in ("md", "tex", "csv")}  # fmt: skip
    figures = {f"figures/figure-{n}.{end}" for n in (2, 5, 9) for end in ("svg", "pdf", "png")}
    cells = {f"rewardbench/chat-m-{kind}-seed-0" for kind in TINY.kinds}
    exports = {f"{cell}{end}" for cell in cells for end in (".json", "-scores.json")}
    assert names == tables | figures | exports | {"index.html", "report.json"}


def test_report_json_has_the_numbers(out):
    content = json.loads((out / "report.json").read_text())
    experiment = content["experiments"]["chat"]
    topics = experiment["topics"]
    overall = topics["accuracy"]["overall"]["ultrafeedback"]["explicit"]
    assert overall["figures"]["accuracy"]["value"] == 2.5 / 4
    assert overall["baselines"].keys() == {"longer", "shorter", "bag_of_words"}
    compared = topics["comparisons"]["kinds"]["ultrafeedback"]["explicit/implicit"]
    assert (compared["wins"], compared["difference"]["value"]) == (0, 0)
    assert topics["win_rates"]["by_rule"]["rewardmath"]["explicit/implicit"]["tie"] == 100
    row = next(row for row in experiment["runs"] if row["set"] == "rewardmath")
    assert (row["kind"], row["metric"], row["value"]) == ("explicit", "accuracy", 2.5 / 4)
    assert (row["seed"], row["low"], row["paper"]) == (0, None, 0.594)
    assert len(topics["training"][0]["steps"]) == 30
    entry = content["tables"]["table-3"]["rows"][0]["entries"][0]
    assert (entry["value"], entry["paper"]["mean"]) == (2.5 / 4, 0.752)


def test_results_in_the_layout_of_rewardbench(out):
    """There a tie is wrong."""
    results = json.loads((out / "rewardbench/chat-m-explicit-seed-0.json").read_text())
    assert results == {
        "accuracy": 0.5,
        "num_prompts": 8,
        "model": "m, explicit, seed 0",
        "ref_model": "m",
        "tokenizer": "m",
        "chat_template": "tokenizer",
        "extra_results": {"ultrafeedback": 0.5, "rewardmath": 0.5},
    }
    scores = json.loads((out / "rewardbench/chat-m-explicit-seed-0-scores.json").read_text())
    assert scores["results"] == [1, 0, 1, 0] * 2
    assert scores["scores_chosen"][2] == 3.0
    assert (scores["id"][4], scores["subset"][4]) == ("rewardmath-0", "rewardmath")
    columns = ("id", "subset", "results", "scores_chosen", "scores_rejected")
    assert {len(scores[column]) for column in columns} == {8}


def test_records_of_several_responses(tmp_path):
    """Right where every chosen response beats every rejected one."""
    for kind, other in (("explicit", 0.5), ("implicit", 2.5)):
        write_run(tmp_path / kind, "m", kind, 0, {"best": "best.jsonl"})
        rows = [ScoreRow("a", (2.0, 3.0), (1.0, other)), ScoreRow("b", (1.0,), (0.0,))]
        write_scores(tmp_path / kind / "scores/best.jsonl", rows)
    out = report(ReportConfig(folders=[str(tmp_path)], out=str(tmp_path / "out"))).parent
    paths = sorted((out / "rewardbench").glob("*-scores.json"))
    assert [json.loads(path.read_text())["results"] for path in paths] == [[1, 1], [0, 1]]
    assert json.loads(paths[0].read_text())["scores_chosen"] == [[2.0, 3.0], 1.0]
    numbers = json.loads((out / "report.json").read_text())
    topics = numbers["experiments"]["runs trained on train.jsonl"]["topics"]
    overall = topics["accuracy"]["overall"]["best"]
    assert overall["implicit"]["figures"]["accuracy"]["value"] == (3 / 4 + 1) / 2


def test_plain_runs_are_compared_without_a_paper(tmp_path):
    for kind in ("explicit", "implicit"):
        write_run(tmp_path / "runs" / kind, "m", kind, 0, {"mine": "mine.jsonl"})
        rows = [ScoreRow(str(i), (float(i),), (2.0,)) for i in range(5)]
        write_scores(tmp_path / "runs" / kind / "scores/mine.jsonl", rows)
    out = report(ReportConfig(folders=[str(tmp_path / "runs")], out=str(tmp_path / "out"))).parent
    assert {path.stem for path in (out / "tables").iterdir()} == {
        "runs-trained-on-train.jsonl-by-set"
    }
    assert (
        "beside the paper" not in (out / "index.html").read_text().split("<main")[1].split("<h2")[0]
    )


def test_a_grid_without_any_scores_says_so(tmp_path):
    folder = write_grid(tmp_path / "grid", TINY)
    for path in folder.rglob("scores/*.jsonl"):
        path.unlink()
    out = report(ReportConfig(folders=[str(folder)], out=str(tmp_path / "out"))).parent
    page = (out / "index.html").read_text()
    assert "No run has scores yet." in page
    assert "m, implicit, seed 0 has no scores yet" in page
    assert len(json.loads((out / "report.json").read_text())["experiments"]["chat"]["missing"]) == 2
    assert list((out / "tables").glob("chat-*")) == []


def test_an_unfinished_grid_is_reported_with_what_is_missing(tmp_path):
    folder = write_grid(tmp_path / "grid", TINY)
    (folder / "m/implicit/seed-0/scores/rewardmath.jsonl").unlink()
    out = report(ReportConfig(folders=[str(folder)], out=str(tmp_path / "out"))).parent
    line = "m, implicit, seed 0 lacks scores for rewardmath"
    assert json.loads((out / "report.json").read_text())["experiments"]["chat"]["missing"] == [line]
    assert line in (out / "index.html").read_text()


def test_a_rewording_of_other_records_is_named_and_the_rest_shown(tmp_path):
    sets = {"a": ("in-distribution", None), "b": ("token-level", "a")}
    folder = write_grid(tmp_path / "grid", replace(TINY, sets=sets))
    for path in folder.rglob("scores/b.jsonl"):
        path.write_text("\n".join(path.read_text().splitlines()[:3]))
    out = report(ReportConfig(folders=[str(folder)], out=str(tmp_path / "out"))).parent
    topics = json.loads((out / "report.json").read_text())["experiments"]["chat"]["topics"]
    robustness = topics["robustness"]
    assert "a and b are not counterparts: they have 4 and 3 rows" in robustness["not_shifts"]["b"]
    assert robustness["drops"] == {} and topics["accuracy"]["overall"].keys() == {"a", "b"}
    assert "not counterparts" in (out / "index.html").read_text()


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.*")}


def test_a_report_is_replaced_by_one_of_the_same_runs_or_more_and_never_mixed(tmp_path):
    first, second = (write_grid(tmp_path / name, replace(TINY, name=name)) for name in ("a", "b"))
    out = tmp_path / "out"
    report(ReportConfig(folders=[str(first)], out=str(out)))
    (out / "tables/left-over.md").write_text("of an older version")
    report(ReportConfig(folders=[str(first)], out=str(out)))
    assert "left-over.md" not in names_in(out)
    report(ReportConfig(folders=[str(first), str(second)], out=str(out)))
    both = names_in(out)
    assert {"a-by-set.md", "b-by-set.md"} <= both
    with pytest.raises(UserError, match="out is a report of other runs; choose another out"):
        report(ReportConfig(folders=[str(second)], out=str(out)))
    assert names_in(out) == both
    assert [path.name for path in tmp_path.glob(".*unfinished")] == []


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    grid = write_grid(tmp_path / "grid", TINY)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    config = ReportConfig(folders=[str(grid)], out=str(tmp_path / "out"))
    with pytest.raises(UserError, match="is not empty and no report alone; choose another out"):
        report(config)
    with pytest.raises(UserError, match="is a file; choose another out"):
        report(replace(config, out=str(tmp_path / "out/notes.txt")))
    assert names_in(tmp_path / "out") == {"notes.txt"}


def test_the_claim_and_its_outcome_come_first_and_figures_are_shown(out):
    page = (out / "index.html").read_text()
    top, pictures = page.split("<main")[1].split("<figure", 1)
    assert "<strong>Claim under test:</strong> What chat claims." in top
    assert "<strong>Not decided.</strong>" in top and "<details" not in top
    assert pictures.count('src="data:image/svg+xml;base64,') == 3
    content = json.loads((out / "report.json").read_text())["experiments"]["chat"]
    assert content["outcome"] == "" and len(content["headlines"]) <= 3


def test_the_command(tmp_path, capsys):
    folder = write_grid(tmp_path / "grid", TINY)
    assert main(["report", str(folder), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'out' / 'index.html'}\n"
    assert main(["report", str(tmp_path / "absent"), "--out", str(tmp_path / "out")]) == 2
    assert re.fullmatch("rewardgap: there is no folder .*absent\n", capsys.readouterr().err)
    assert main(["report", "--out", str(tmp_path)]) == 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read there")
def test_a_large_grid_makes_a_small_page_in_little_memory(tmp_path):
    """A quarter of 60 runs, 7 sets and 200 records, within a quarter of 15 MB beside Vega's 1.

    The process is one of its own, and needs no torch.

    `python -m benchmarks.large_report` measures all of it.
    """
    grid = Grid(
        models=("a", "b", "c", "d", "e"),
        kinds=("explicit", "generative", "implicit"),
        seeds=(0,),
        records=50,
        words=400,
    )
    folder = write_grid(tmp_path / "grid", grid)
    script = (
        "import sys\n"
        "from rewardgap.cli import main\n"
        "from rewardgap.reporting.paper import saving\n"
        "saving.FORMATS = ('svg',)\n"
        "assert main(['report', sys.argv[1], '--out', sys.argv[2], '--quiet']) == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    assert peak_kibibytes(script, folder, tmp_path / "out") < 2**20
    assert (tmp_path / "out" / "index.html").stat().st_size < 1e6 + 10e6 / 4
