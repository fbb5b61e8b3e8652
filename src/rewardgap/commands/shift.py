"""The commands shift and shift list: data in other words, and what can be done to them."""

from typing import Any

from rewardgap.commands.command import Command


def _say(config: Any, result: Any) -> str:
    """Return how many records every shift has changed, and where they are."""
    from rewardgap.evaluation.text import align_columns

    rows = [("shift", "rate", "side", "changed", "unchanged")]
    for row in result.rows():
        counts = (f"{row['changed']:,}", f"{row['unchanged']:,}")
        rows.append((row["shift"], f"{row['rate']:g}", row["side"], *counts))
    return f"{align_columns(rows, right=[1, 3, 4])}\nwrote {config.out}\n"


def _list(config: Any, result: Any) -> str:
    from rewardgap.evaluation.text import align_columns

    rows = [("shift", "keeps", "rate", "what it does")]
    for row in result.rows():
        said = "" if len(row["sides"]) == 4 else f" ({row['sides'][0]} only)"
        rows.append((row["shift"], row["keeps"], f"{row['rate']:g}", row["summary"] + said))
    return f"{align_columns(rows, right=[2])}\n"


def _figures(result: Any) -> Any:
    return result.rows()


SHIFT = Command(
    "shift",
    ".data.shift_files:shift",
    ".configs.shifting:ShiftConfig",
    _say,
    "rewardgap shift typos test.jsonl typos.jsonl --rate 0.05",
    positional="name data out",
    figures=_figures,
    imports_torch=False,
)
SHIFT_LIST = Command(
    "shift list",
    ".data.shift_files:shifts",
    ".configs.shifting:ShiftListConfig",
    _list,
    "rewardgap shift list",
    figures=_figures,
    imports_torch=False,
)
