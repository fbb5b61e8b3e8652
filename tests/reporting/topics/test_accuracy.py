"""Accuracy by set, and the table for the terminal."""

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from grids import REWORDED, Grid, Rewards, first_right, ranked, results_of, write_grid

from rewardgap.evaluation.scores import read_scores, write_scores
from rewardgap.reporting.topics import accuracy


def test_variations_do_not_blur_the_experiment(tmp_path):
    """The figures of all models together are those of the experiment's own settings."""
    grid = replace(REWORDED, name="hyperparameters", variations=("", "beta=0.1"))
    folder = write_grid(tmp_path, grid, first_right)
    for path in folder.glob("m/*/seed-*/beta-0.1/scores/*.jsonl"):
        flipped = [
            replace(row, scores_chosen=row.scores_rejected, scores_rejected=row.scores_chosen)
            for row in read_scores(path)
        ]
        write_scores(path, flipped)
    results = results_of(folder)
    overall: Mapping[str, float] = {
        kind: each.accuracy.value
        for kind, each in accuracy.measure(results).overall["ultrafeedback"].items()
    }
    assert overall == pytest.approx({"explicit": 0.9, "generative": 0.875, "implicit": 0.9})
    varied = accuracy.measure(results).by_model["ultrafeedback"]["m, beta=0.1", "explicit"]
    assert varied.accuracy.value == pytest.approx(0.1)


def test_the_table_for_the_terminal(tmp_path):
    """Figure 4 has 0.022 for implicit models on reworded training prompts."""
    grid = replace(
        REWORDED,
        name="demo",
        kinds=("explicit", "implicit"),
        seeds=(0, 1),
        sets={
            "original-test": ("in-distribution", None),
            "paraphrased-train": ("token-level", None),
        },
    )

    def by_seed(grid: Grid, model: str, kind: str, seed: int, name: str) -> Rewards:
        right = 40 if kind == "explicit" else 10 * (seed + 1)
        return ranked(right, 40)

    table = accuracy.terminal_table(results_of(write_grid(tmp_path, grid, by_seed)))
    lines = [re.split("  +", line) for line in table.splitlines()]
    assert lines[0] == ["", "original-test", "paraphrased-train"]
    assert lines[1] == ["explicit", "1.000 ± 0.000 [1.000]", "1.000 ± 0.000 [1.000]"]
    assert lines[2] == ["implicit", "0.375 ± 0.125 [1.000]", "0.375 ± 0.125 [0.022]"]
    assert ["(bag of words)", "0.500", "0.500"] in lines
