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


def format_interval(interval: Interval) -> str:
    """Return a value with its interval: "0.912 [0.880, 0.940]"."""
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def join_names(names: Collection[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    *head, last = names
    return f"{', '.join(head)} and {last}" if head else last
