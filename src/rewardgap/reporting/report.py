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
from rewardgap.io.files import remove_unfinished, write_text
from rewardgap.reporting.page import Section, render, section
from rewardgap.reporting.paper.figures import draw_figures
from rewardgap.reporting.paper.tables import own_table, paper_tables
from rewardgap.reporting.paper.writing import FORMATS
from rewardgap.reporting.records import pack
from rewardgap.reporting.results import Results, read_results
from rewardgap.reporting.rewardbench import write_results
from rewardgap.reporting.topic import all_topics


@by_keywords(ReportConfig)
def report(config: ReportConfig) -> Path:
    """Write tables, figures, the page, every number as JSON, and RewardBench's result files.

    What a grid plans and does not have is listed; the rest is shown. Returns the page.

    Raises:
        UserError: A folder holds no run, two runs have one name, a file is damaged, or score files
            of one set rate different data.
    """
    out = Path(config.out)
    remove_unfinished(out)
    experiments = {results.experiment.name: results for results in read_results(config.folders)}
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
    write_text(
        out / "report.json", json.dumps(_plain(content), indent=1, ensure_ascii=False) + "\n"
    )
    runs = sum(len(results.measured) for results in experiments.values())
    records = pack(experiments.values())
    page = render(list(sections.values()), tables, figures, records, runs)
    write_text(out / "index.html", page)
    return out / "index.html"


def _experiment(results: Results, section: Section) -> dict[str, Any]:
    """Return the numbers of an experiment by topic, and of every run."""
    experiment = results.experiment
    frame = results.frame.drop(columns="experiment").astype(object)
    return {
        "claim": experiment.claim,
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
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value
