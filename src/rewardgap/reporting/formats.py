"""Tables as Markdown, LaTeX and CSV.

In Markdown and LaTeX a line of a table is followed by the paper's numbers and by the difference,
where there are any; in CSV they are columns.
"""

import csv
import io
from collections.abc import Callable, Mapping
from itertools import groupby

from rewardgap.reporting.paper.tables import Entry, Row, Table

NOTHING = "–"
MINUS = "−"

Line = tuple[str, str, tuple[str, ...]]
"""A group, a label, and a text for every column."""


def lines_of(table: Table) -> list[Line]:
    """The table as it is read: every row, then the paper's and the difference from it."""
    lines: list[Line] = []
    group = None
    for row in table.rows:
        shown = row.group if row.group != group else ""
        group = row.group
        lines.append((shown, row.label, _texts(row, lambda each: ours(each, table.decimals))))
        if any(entry.paper for entry in row.entries):
            lines.append(("", "paper", _texts(row, lambda each: papers(each, table.decimals))))
        if any(entry.difference is not None for entry in row.entries):
            lines.append(("", "difference", _texts(row, difference)))
    return lines


def _texts(row: Row, text: Callable[[Entry], str]) -> tuple[str, ...]:
    return tuple(map(text, row.entries))


def ours(entry: Entry, decimals: int) -> str:
    """Our number with its deviation, and a dagger where planned runs are missing."""
    if entry.value is None:
        return NOTHING
    return _spread(entry.value, entry.deviation, decimals) + ("†" if entry.partial else "")


def papers(entry: Entry, decimals: int) -> str:
    """The paper's number with its deviation."""
    if entry.paper is None:
        return NOTHING
    return _spread(entry.paper.mean, entry.paper.deviation, decimals)


def difference(entry: Entry) -> str:
    """The difference in standard deviations."""
    if entry.difference is None:
        return NOTHING
    return f"{entry.difference:+.1f} σ".replace("-", MINUS)


def _spread(mean: float, deviation: float | None, decimals: int) -> str:
    text = f"{mean:.{decimals}f}"
    return text if deviation is None else f"{text} ± {deviation:.{decimals}f}"


def markdown(table: Table) -> str:
    """The table in GitHub's Markdown, under its title."""
    headings = (*table.stubs, *(f"{what}, {kind}" for what, kind in table.columns))
    rule = ["---", "---", *["--:"] * len(table.columns)]
    lines = [f"**{table.title}**", "", _pipes(headings), _pipes(rule)]
    for group, label, texts in lines_of(table):
        derived = label in ("paper", "difference")
        lines.append(_pipes([group, f"*{label}*" if derived else label, *texts]))
    return "\n".join([*lines, "", *table.notes, ""])


def _pipes(texts: tuple[str, ...] | list[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def latex(table: Table) -> str:
    r"""The table for LaTeX with the package booktabs, ready to be \input."""
    spans = [(what, len(list(some))) for what, some in groupby(table.columns, lambda each: each[0])]
    above = " & ".join(rf"\multicolumn{{{width}}}{{c}}{{{_escape(what)}}}" for what, width in spans)
    rules, start = "", 3
    for _, width in spans:
        rules += rf"\cmidrule(lr){{{start}-{start + width - 1}}}"
        start += width
    headings = (*table.stubs, *(kind for _, kind in table.columns))
    body: list[str] = []
    for group, label, texts in lines_of(table):
        if group and body:
            body.append(r"\midrule")
        cells = [_escape(text) for text in (group, label, *texts)]
        if label in ("paper", "difference"):
            cells[1:] = [rf"{{\footnotesize {cell}}}" for cell in cells[1:]]
        body.append(" & ".join(cells) + r" \\")
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escape(table.title)}. {_escape(' '.join(table.notes))}}}",
            rf"\label{{tab:{table.name}}}",
            rf"\begin{{tabular}}{{ll{'r' * len(table.columns)}}}",
            r"\toprule",
            rf"& & {above} \\",
            rules,
            " & ".join(map(_escape, headings)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


_LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "−": "$-$",
    "σ": r"$\sigma$",
    "†": r"$^\dagger$",
    "–": "--",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def _escape(text: str) -> str:
    """Text with every sign that LaTeX would read as its own."""
    return "".join(_LATEX.get(sign, sign) for sign in text)


def comma_separated(table: Table) -> str:
    """The table as CSV at full precision, with a column for each part of an entry."""
    parts: Mapping[str, Callable[[Entry], float | None]] = {
        "": lambda entry: entry.value,
        " sd": lambda entry: entry.deviation,
        " paper": lambda entry: entry.paper.mean if entry.paper else None,
        " paper sd": lambda entry: entry.paper.deviation if entry.paper else None,
        " difference": lambda entry: entry.difference,
    }
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{what} {kind}{part}" for what, kind in table.columns for part in parts]
    writer.writerow([*table.stubs, *names])
    for row in table.rows:
        values = [get(entry) for entry in row.entries for get in parts.values()]
        writer.writerow(
            [row.group, row.label, *("" if value is None else value for value in values)]
        )
    return file.getvalue()


FORMATS: Mapping[str, Callable[[Table], str]] = {
    "md": markdown,
    "tex": latex,
    "csv": comma_separated,
}
