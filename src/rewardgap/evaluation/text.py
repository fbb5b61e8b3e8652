"""How numbers and names are written, in every table and sentence."""

from collections.abc import Collection, Sequence

from rewardgap.evaluation.bootstrap import Interval


def align_columns(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return rows of cells as lines of text, every column as wide as its widest cell.

    Args:
        rows: Rows of equal length.
        right: Indices of the columns that are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown_table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return rows of cells as a table of Markdown, the first row as its heading.

    Args:
        rows: Rows of equal length.
        left: So many columns are aligned to the left, all others to the right.
    """
    heading, *others = rows
    rule = ["---"] * left + ["--:"] * (len(heading) - left)
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (heading, rule, *others)]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def format_interval(interval: Interval) -> str:
    """Return a value with its interval: "0.912 [0.880, 0.940]"."""
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def counted(number: int, noun: str) -> str:
    """Return "1 record" or "1,234 records"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def share(part: int, whole: int, noun: str) -> str:
    """Return "12 of 200 records (6 %)"; a share is given its first digit that is not zero."""
    percent = 100 * part / whole if whole else 0.0
    digits = f"{percent:.0f}" if percent >= 10 or percent == 0 else f"{percent:.2g}"
    return f"{part:,} of {counted(whole, noun)} ({digits} %)"


def join_names(names: Collection[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last
