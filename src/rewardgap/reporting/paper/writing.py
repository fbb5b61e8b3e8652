"""Tables as they are read, and as Markdown, LaTeX and CSV.

On the page, in Markdown and in LaTeX a line of a table is followed by the paper's numbers and by
the difference, where there are any; in CSV they are columns.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pandas as pd

from rewardgap.evaluation.text import markdown_table
from rewardgap.reporting.paper.tables import Entry, Table
from rewardgap.reporting.topic import NOTHING

PARTS: Mapping[str, Callable[[Entry], float | None]] = {
    "": lambda entry: entry.value,
    " sd": lambda entry: entry.deviation,
    " paper": lambda entry: entry.paper.mean if entry.paper else None,
    " paper sd": lambda entry: entry.paper.deviation if entry.paper else None,
    " difference": lambda entry: entry.difference,
}
"""The columns of an entry in CSV."""
SIGNS = str.maketrans({"±": r"$\pm$", "−": "$-$", "σ": r"$\sigma$", "†": r"$^\dagger$", "–": "--"})
"""What pandas does not escape for LaTeX."""
TABULAR, END = "\\begin{tabular}", "\\end{tabular}\n"
NARROW = "\\centering\n\\small\n\\setlength{\\tabcolsep}{3pt}\n"
"""What lets a table of many columns fit a page."""
ESCAPES = str.maketrans(
    {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {sign: f"\\{sign}" for sign in "&%$#_{}"}
)
"""What pandas escapes in cells, and not in a caption."""


class Line(NamedTuple):
    """A line of a table: "ours", "paper" or "difference", its labels, and a text per column."""

    part: str
    group: str
    label: str
    texts: tuple[str, ...]


def lines_of(table: Table) -> list[Line]:
    """Return the table as it is read: every row, then the paper's and the difference from it."""
    lines: list[Line] = []
    group = None
    for row in table.rows:
        shown, group = (row.group if row.group != group else ""), row.group
        entries = (_texts(entry, table.decimals) for entry in row.entries)
        values, papers, differences = zip(*entries, strict=True)
        lines.append(Line("ours", shown, row.label, values))
        for part, texts in (("paper", papers), ("difference", differences)):
            if any(texts):
                lines.append(Line(part, "", part, texts))
    return lines


def _texts(entry: Entry, decimals: int) -> tuple[str, str, str]:
    """Write what was measured, and the paper's and the difference, where there are any."""
    value, deviation, paper, paper_deviation, difference = (get(entry) for get in PARTS.values())
    return (
        _spread(value, deviation, decimals) + "†" * entry.partial,
        "" if paper is None else _spread(paper, paper_deviation, decimals),
        "" if difference is None else f"{difference:+.1f} σ".replace("-", "−"),
    )


def _spread(mean: float | None, deviation: float | None, decimals: int) -> str:
    if mean is None:
        return NOTHING
    text = f"{mean:.{decimals}f}"
    return text if deviation is None else f"{text} ± {deviation:.{decimals}f}"


def markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown, under its title."""
    headings = [*table.stubs, *(f"{quantity}, {kind}" for quantity, kind in table.columns)]
    rows = [headings]
    for line in lines_of(table):
        label = line.label if line.part == "ours" else f"*{line.label}*"
        rows.append([line.group, label, *line.texts])
    written = markdown_table(rows, left=len(table.stubs))
    return "\n".join([f"**{table.title}**", "", written, "", *table.notes, ""])


def latex(table: Table) -> str:
    r"""Return the table for LaTeX with the package booktabs, ready to be \input."""
    columns = pd.MultiIndex.from_tuples([*(("", stub) for stub in table.stubs), *table.columns])
    rows = [[line.group, line.label, *line.texts] for line in lines_of(table)]
    notes = " ".join(table.notes).translate(ESCAPES).translate(SIGNS)
    text = pd.DataFrame(rows, columns=columns).to_latex(
        index=False,
        escape=True,
        multicolumn_format="c",
        column_format="ll" + "r" * len(table.columns),
        label=f"tab:{table.name}",
        caption=f"{table.title}.".translate(ESCAPES),
    )
    text = text.translate(SIGNS).replace(TABULAR, NARROW + TABULAR, 1)
    text = text.replace(END, f"{END}\\par\\smallskip\n\\footnotesize {notes}\n", 1)
    return f"% needs \\usepackage{{booktabs}}\n{text}"


def comma_separated(table: Table) -> str:
    """Return the table as CSV at full precision, with a column for each part of an entry."""
    names = [f"{quantity} {kind}{part}" for quantity, kind in table.columns for part in PARTS]
    rows = [
        [row.group, row.label, *(get(entry) for entry in row.entries for get in PARTS.values())]
        for row in table.rows
    ]
    frame = pd.DataFrame(rows, columns=[*table.stubs, *names])
    return str(frame.to_csv(index=False, lineterminator="\n"))


FORMATS = {"md": markdown, "tex": latex, "csv": comma_separated}
