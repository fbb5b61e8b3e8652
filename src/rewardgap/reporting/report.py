"""The report of grids and runs: tables, figures and one page, from score files alone.

No model is loaded, and no torch: everything is computed from what runs have written.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from rewardgap.configs.experiments import ReportConfig
from rewardgap.io.files import write_text
from rewardgap.reporting.analysis import Analysis, analyse
from rewardgap.reporting.formats import FORMATS
from rewardgap.reporting.grid import read_grids
from rewardgap.reporting.numbers import numbers
from rewardgap.reporting.page import Page, render
from rewardgap.reporting.paper.figures import Drawn, draw_figures
from rewardgap.reporting.paper.tables import Table, absent_tables, own_table, paper_tables
from rewardgap.reporting.records import pack
from rewardgap.reporting.results import Measured, measure
from rewardgap.reporting.rewardbench import write_results
from rewardgap.reporting.sections import Section, section


def report(config: ReportConfig) -> Path:
    """Write tables, figures, the page, every number as JSON, and RewardBench's result files.

    What a grid plans and does not have is listed; the rest is shown.

    Returns:
        the page.

    Raises:
        UserError: a folder holds no run, two runs have one name, a file is damaged, or score files
            of one set rate different data.
    """
    out = Path(config.out)
    experiments = [measure(experiment) for experiment in read_grids(config.folders)]
    by_name = {each.experiment.name: each for each in experiments}
    tables = paper_tables(by_name)
    own = {name: own_table(each) for name, each in by_name.items()}
    _write_tables([*tables, *(table for table in own.values() if table.rows)], out / "tables")
    figures = draw_figures(by_name, out / "figures")
    analysed = _analyse(experiments, tables, own)
    for measured in experiments:
        write_results(measured, out / "rewardbench")
    content = numbers(analysed, [*tables, *own.values()], figures)
    write_text(out / "report.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    page = out / "index.html"
    write_text(page, render(_page(analysed, tables, figures)))
    return page


def _write_tables(tables: Sequence[Table], folder: Path) -> None:
    for table in tables:
        for ending, text in FORMATS.items():
            write_text(folder / f"{table.name}.{ending}", text(table))


def _analyse(
    experiments: Sequence[Measured], tables: Sequence[Table], own: Mapping[str, Table]
) -> list[tuple[Measured, Analysis, Section]]:
    found = []
    for measured in experiments:
        name = measured.experiment.name
        analysis = analyse(measured)
        beside_paper = [table for table in tables if table.experiment == name]
        found.append((measured, analysis, section(measured, analysis, beside_paper, own[name])))
    return found


def _page(
    analysed: Sequence[tuple[Measured, Analysis, Section]],
    tables: Sequence[Table],
    figures: Drawn,
) -> Page:
    measured = [each for each, _, _ in analysed]
    return Page(
        sections=[section for _, _, section in analysed],
        tables=tables,
        absent_tables=absent_tables(tables),
        figures=figures,
        records=pack(measured),
        runs=sum(len({cell for rows in each.rows.values() for cell in rows}) for each in measured),
        version=version("rewardgap"),
    )
