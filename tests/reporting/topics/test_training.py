"""Accuracy along training."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from grids import REWORDED, figures, first_right, results_of, tables, write_grid

from rewardgap.reporting.topics import training


def logged(folder: Path, kind: str, seed: int, rows: Sequence[tuple[float, float | None]]) -> None:
    """Write a log of (training loss, accuracy on ultrafeedback where it was evaluated)."""
    lines = [
        {"step": step, "loss": loss, "accuracy": 0.5, "margin": 1.0}
        | ({} if value is None else {"eval_accuracy/ultrafeedback": value})
        for step, (loss, value) in enumerate(rows, start=1)
    ]
    path = folder / f"m/{kind}/seed-{seed}/log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_accuracy_is_set_against_the_training_loss_since_the_evaluation_before(tmp_path):
    grid = replace(REWORDED, kinds=("explicit", "implicit"), seeds=(0, 1))
    folder = write_grid(tmp_path, grid, first_right)
    logged(folder, "explicit", 0, [(0.7, None), (0.5, 0.6), (0.4, None), (0.1, 0.8)])
    logged(folder, "explicit", 1, [(0.7, None), (0.7, 0.5), (0.3, 0.6)])
    results = results_of(folder)
    evaluated = {c.run: c.evaluations for c in training.measure(results) if c.evaluations}
    first, second = (evaluated[f"m, explicit, seed {seed}"]["ultrafeedback"] for seed in (0, 1))
    assert np.array(first) == pytest.approx(np.array([(2, 0.6, 0.6), (4, 0.25, 0.8)]))
    assert np.array(second) == pytest.approx(np.array([(2, 0.7, 0.5), (3, 0.3, 0.6)]))
    table = tables(results)["Accuracy at equal training loss"]
    assert table.headings == ["set", "kind", "0.6", "0.5", "0.3", "0.1", "0.03", "0.01"]
    # At 0.6 seed 0 has 0.6 and seed 1, which comes there later, 0.6; at 0.3 they have 0.8 and 0.6.
    assert table.rows == [
        ["ultrafeedback", "explicit", "0.600 ± 0.000", *["0.700 ± 0.100"] * 2, "–", "–", "–"]
    ]
    variants = figures(results)["Along training"].variants
    assert list(variants) == ["ultrafeedback, by training step", "ultrafeedback, by training loss"]
    for chart, across in zip(variants.values(), ([2, 4, 2, 3], [0.6, 0.25, 0.7, 0.3]), strict=True):
        (marks,) = chart.to_dict()["datasets"].values()
        assert [mark["x"] for mark in marks] == pytest.approx(across)
