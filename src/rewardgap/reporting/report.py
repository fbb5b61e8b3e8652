"""The report of grids and runs: tables, figures and one page, from score files alone.

No model is loaded, and no torch: everything is computed from what runs have written.
"""

import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from rewardgap.configs.experiments import ReportConfig
from rewardgap.data.in_memory import by_keywords
from rewardgap.errors import UserError, reported
from rewardgap.io.files import read_json, whole_folder, write_text
from rewardgap.reporting.page import Section, render, section
from rewardgap.reporting.paper.figures import draw_figures
from rewardgap.reporting.paper.tables import own_table, paper_tables
from rewardgap.reporting.paper.writing import FORMATS
from rewardgap.reporting.records import pack
from rewardgap.reporting.results import Results, read_results
from rewardgap.reporting.rewardbench import write_results
from rewardgap.reporting.topic import all_topics

REPORT = "report.json"
PARTS = {REPORT, "index.html", "tables", "figures", "rewardbench"}


@by_keywords(ReportConfig)
def report(config: ReportConfig) -> Path:
    """Write tables, figures, the page, every number as JSON, and RewardBench's result files.

    What a grid plans and does not have is listed; the rest is shown. An older report of the same
    runs is replaced as a whole. Returns the page.

    Raises:
        UserError: A folder holds no run, two runs have one name, a file is damaged, score files of
            one set rate different data, or `out` holds anything but a report of these runs.
    """
    out = Path(config.out)
    experiments = {results.experiment.name: results for results in read_results(config.folders)}
    _check_replaceable(out, experiments)
    with whole_folder(out.resolve()) as folder:
        _write(experiments, folder)
    return out / "index.html"


def _check_replaceable(out: Path, experiments: Mapping[str, Results]) -> None:
    """Refuse a folder of anything but a report whose runs all are among these."""
    if out.is_file():
        raise UserError(f"{out} is a file; choose another out")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    names = {name for name in names if not name.endswith(".unfinished")}
    if not names:
        return
    if REPORT not in names or not names <= PARTS:
        raise UserError(f"{out} is not empty and no report alone; choose another out, or empty it")
    ours = {(name, *cell.key) for name, results in experiments.items() for cell in results.measured}
    if not _runs_in(out / REPORT) <= ours:
        raise UserError(
            f"{out} is a report of other runs; choose another out, or remove it: a report is "
            "replaced only by one of the same runs, or of more"
        )


def _runs_in(path: Path) -> set[tuple[Any, ...]]:
    """Return experiment, model, kind, seed and variation of the runs in a report."""
    content = read_json(path)
    with reported((KeyError, TypeError, AttributeError), f"{path} is no report: "):
        return {
            (name, *(row[key] for key in ("model", "kind", "seed", "variation")))
            for name, experiment in content["experiments"].items()
            for row in experiment["runs"]
            if row["metric"] == "accuracy"
        }


def _write(experiments: Mapping[str, Results], out: Path) -> None:
    """Write all parts of the report into a folder."""
    tables = paper_tables(experiments)
    by_set = {name: own_table(results) for name, results in experiments.items()}
    for table in (*tables, *(table for table in by_set.values() if table.rows)):
        for ending, text in FORMATS.items():
            write_text(out / "tables" / f"{table.name}.{ending}", text(table))
    figures = draw_figures(experiments, out / "figures")
    sections = {}
    for name, results in experiments.items():
        beside = [table for table in tables if table.experiment == name]
        sections[name] = section(results, beside, by_set[name])
        write_results(results, out / "rewardbench")
    content = {
        "experiments": {
            name: _experiment(results, sections[name]) for name, results in experiments.items()
        },
        "tables": {table.name: table for table in (*tables, *by_set.values())},
        "figures": figures,
    }
    write_text(out / REPORT, json.dumps(_plain(content), indent=1, ensure_ascii=False) + "\n")
    pictures = {name: (out / f"figures/{name}.svg").read_bytes() for name in figures.titles}
    page = render(list(sections.values()), tables, figures, pack(experiments.values()), pictures)
    write_text(out / "index.html", page)


def _experiment(results: Results, section: Section) -> dict[str, Any]:
    """Return the numbers of an experiment by topic, and of every run."""
    experiment = results.experiment
    frame = results.frame.drop(columns="experiment").astype(object)
    return {
        "claim": experiment.claim,
        "outcome": section.outcome,
        "headlines": section.headlines,
        "train": experiment.train,
        "profile": experiment.profile,
        "sets": {entry.name: entry for entry in experiment.sets},
        "facts": section.facts,
        "missing": section.missing,
        "findings": section.findings,
        "topics": {topic.name: topic.measure(results) for topic in all_topics()},
        "runs": frame.where(frame.notna(), None).to_dict("records"),
    }


def _plain(value: Any) -> Any:
    """Dataclasses, mappings and sequences as JSON has them; pairs are joined by a slash."""
    if is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    if isinstance(value, Mapping):
        texts = {key: key if isinstance(key, str) else "/".join(key) for key in value}
        return {text: _plain(value[key]) for key, text in texts.items()}
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
