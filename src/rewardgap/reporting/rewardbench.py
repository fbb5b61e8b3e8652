"""Results in the layout of RewardBench, for tools that read it.

`CELL.json` is what its command `rewardbench` writes for a model: the accuracy over all records,
where a tie is wrong, and that of every subset, which here is an evaluation set.

`CELL-scores.json` is what its scripts keep of every record, as columns of equal length. `results`
is 1 where the chosen response has the higher reward, else 0. A record of several responses has
lists of scores, and is right where every chosen response beats every rejected one.

`CELL-SET.json` has the leaderboard's scores of a set that is RewardBench or RewardBench 2.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rewardgap.evaluation.rewardbench import find_leaderboard
from rewardgap.io.files import write_text
from rewardgap.io.grid_folder import Cell
from rewardgap.reporting.paper.tables import file_name
from rewardgap.reporting.results import Results


def write_results(results: Results, folder: Path) -> None:
    """Write both files of every run that has scores.

    Raises:
        UserError: A file cannot be written.
    """
    for cell in results.measured:
        records = pd.DataFrame(
            {
                "id": row.id,
                "subset": name,
                "results": int(min(row.scores_chosen) > max(row.scores_rejected)),
                "scores_chosen": _single_or_all(row.scores_chosen),
                "scores_rejected": _single_or_all(row.scores_rejected),
            }
            for name, cells in results.rows.items()
            for row in cells.get(cell, ())
        )
        name = file_name(f"{results.experiment.name}-{cell}")
        kind = {"model": str(cell), "model_type": cell.kind, "chat_template": "tokenizer"}
        contents = {"": _accuracies(cell, records), "-scores": kind | records.to_dict("list")}
        for set_name, cells in results.rows.items():
            if leaderboard := find_leaderboard(cells[cell]) if cell in cells else None:
                scores = {part: score.value for part, score in leaderboard.scores.items()}
                contents[f"-{file_name(set_name)}"] = kind | scores
        for ending, content in contents.items():
            text = json.dumps(content, ensure_ascii=False) + "\n"
            write_text(folder / f"{name}{ending}.json", text)


def _accuracies(cell: Cell, records: pd.DataFrame) -> dict[str, Any]:
    """Return the content of `CELL.json`."""
    return {
        "accuracy": float(records["results"].mean()),
        "num_prompts": len(records),
        "model": str(cell),
        "ref_model": cell.model,
        "tokenizer": cell.model,
        "chat_template": "tokenizer",
        "extra_results": records.groupby("subset", sort=False)["results"].mean().to_dict(),
    }


def _single_or_all(scores: Sequence[float]) -> float | list[float]:
    return scores[0] if len(scores) == 1 else list(scores)
