"""Every number of the report, for report.json."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from rewardgap.evaluation.summary import Summary
from rewardgap.reporting.analysis import Analysis
from rewardgap.reporting.paper.figures import Drawn
from rewardgap.reporting.paper.tables import Table, paired_win_rates
from rewardgap.reporting.results import Measured
from rewardgap.reporting.sections import Section


def numbers(
    experiments: Sequence[tuple[Measured, Analysis, Section]],
    tables: Sequence[Table],
    figures: Drawn,
) -> dict[str, Any]:
    """The report's content as JSON; a pair of names is joined by a slash."""
    return {
        "experiments": {
            measured.experiment.name: _experiment(measured, analysis, section)
            for measured, analysis, section in experiments
        },
        "tables": {table.name: _plain(table) for table in tables},
        "figures": _plain(figures),
    }


def _experiment(measured: Measured, analysis: Analysis, section: Section) -> dict[str, Any]:
    experiment = measured.experiment
    return {
        "claim": experiment.claim,
        "train": experiment.train,
        "profile": experiment.profile,
        "sets": {each.name: _plain(each) for each in experiment.sets},
        "facts": section.facts,
        "missing": list(section.missing),
        "findings": _plain(section.findings),
        **_plain(vars(analysis)),
        "win_rates": {
            name: _plain({pair: paired_win_rates(measured, [name], pair) for pair in tested})
            for name, tested in analysis.tested.items()
        },
        "runs": [
            {
                "model": cell.model,
                "kind": cell.kind,
                "seed": cell.seed,
                "variation": cell.variation,
                "sets": {
                    name: _plain(points[cell])
                    for name, points in measured.points.items()
                    if cell in points
                },
                "generations": _plain(measured.generations.get(cell, {})),
                "curve": _plain(measured.curves.get(cell)),
            }
            for cell in experiment.cells
        ],
        "forecasts": _plain(measured.forecasts),
    }


def _plain(value: Any) -> Any:
    """Dataclasses, mappings and sequences as JSON has them."""
    if isinstance(value, Summary):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {_key(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _key(key: str | tuple[str, ...]) -> str:
    return key if isinstance(key, str) else "/".join(key)
