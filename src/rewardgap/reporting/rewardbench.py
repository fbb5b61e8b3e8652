"""Results in the layout of RewardBench, for tools that read it.

`CELL.json` is what its command `rewardbench` writes for a model: `accuracy` (over all records,
where a tie is wrong), `num_prompts`, `model`, `ref_model`, `tokenizer`, `chat_template`, and
`extra_results`, the accuracy of every subset, which here is an evaluation set.

`CELL-scores.json` is what its scripts keep of every record, as columns of equal length: `id`,
`subset`, `results` (1 where the chosen response has the higher reward, else 0), `scores_chosen`,
`scores_rejected`; beside them `model`, `model_type` and `chat_template`. A record of several
responses has lists in place of the two scores, and is right where every chosen one beats every
rejected one.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardgap.evaluation.scores import ScoreRow
from rewardgap.io.files import write_text
from rewardgap.io.grid_folder import Cell
from rewardgap.reporting.paper.tables import file_name
from rewardgap.reporting.results import Results, Rows


def write_results(results: Results, folder: Path) -> None:
    """Write both files of every run that has scores.

    Raises:
        UserError: A file cannot be written.
    """
    for cell in results.experiment.cells:
        sets = {name: rows[cell] for name, rows in results.rows.items() if cell in rows}
        if sets:
            name = file_name(f"{results.experiment.name}-{cell}")
            for ending, content in (("", accuracies(cell, sets)), ("-scores", records(cell, sets))):
                text = json.dumps(content, ensure_ascii=False) + "\n"
                write_text(folder / f"{name}{ending}.json", text)


def accuracies(cell: Cell, sets: Mapping[str, Rows]) -> dict[str, Any]:
    """Return the content of `CELL.json`."""
    right = {name: [_is_right(row) for row in rows] for name, rows in sets.items()}
    outcomes = [outcome for by_record in right.values() for outcome in by_record]
    return {
        "accuracy": _share(outcomes),
        "num_prompts": len(outcomes),
        "model": str(cell),
        "ref_model": cell.model,
        "tokenizer": cell.model,
        "chat_template": "tokenizer",
        "extra_results": {name: _share(by_record) for name, by_record in right.items()},
    }


def records(cell: Cell, sets: Mapping[str, Rows]) -> dict[str, Any]:
    """Return the content of `CELL-scores.json`."""
    flat = [(name, row) for name, rows in sets.items() for row in rows]
    return {
        "model": str(cell),
        "model_type": cell.kind,
        "chat_template": "tokenizer",
        "id": [row.id for _, row in flat],
        "subset": [name for name, _ in flat],
        "results": [int(_is_right(row)) for _, row in flat],
        "scores_chosen": [_single_or_all(row.scores_chosen) for _, row in flat],
        "scores_rejected": [_single_or_all(row.scores_rejected) for _, row in flat],
    }


def _is_right(row: ScoreRow) -> bool:
    return min(row.scores_chosen) > max(row.scores_rejected)


def _share(outcomes: Sequence[bool]) -> float:
    return sum(outcomes) / len(outcomes)


def _single_or_all(scores: Sequence[float]) -> float | list[float]:
    return scores[0] if len(scores) == 1 else list(scores)
