"""Tables of results in the documentation, between two marks: written by suites, read by tests."""

from pathlib import Path

from rewardgap.io.files import write_text

BEGIN, END = "<!-- suite -->\n", "<!-- /suite -->"


def read_tables(page: Path) -> str:
    """Return what stands between the marks of a page."""
    return page.read_text().partition(BEGIN)[2].partition(END)[0]


def write_tables(page: Path, tables: str) -> None:
    """Put tables between the marks of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    write_text(page, before + BEGIN + tables + END + rest.partition(END)[2])
