"""Best of n against enumeration of all subsets, and over-optimisation by hand."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import write_rows

from rewardgap.data.load import load as load_records
from rewardgap.data.trees import Tree
from rewardgap.errors import UserError
from rewardgap.evaluation.best_of_n import (
    best_of_n,
    curve,
    curve_of_rows,
    divergence,
    expected_best,
    sizes_up_to,
)
from rewardgap.evaluation.scores import ScoreRow, read_scores, score_row, write_scores

PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 3)), min_size=1, max_size=7)


@given(PAIRS)
def test_the_mean_over_all_subsets(pairs):
    """A response is drawn among those of the highest proxy of every subset."""
    proxy, values = (np.array(side, float) for side in zip(*pairs, strict=True))
    sizes = range(1, len(pairs) + 1)
    for n, mean in zip(sizes, expected_best(proxy, values, sizes), strict=True):
        worth = [
            np.mean([values[i] for i in subset if proxy[i] == max(proxy[list(subset)])])
            for subset in combinations(range(len(pairs)), n)
        ]
        assert mean == pytest.approx(np.mean(worth))


def test_many_responses_need_no_enumeration():
    proxy = np.arange(1000.0)
    first, last = expected_best(proxy, proxy, [1, 1000])
    assert (first, last) == (pytest.approx(499.5), 999.0)


def test_divergence():
    assert [divergence(n) for n in (1, 2, 16)] == pytest.approx(
        [0.0, math.log(2) - 0.5, math.log(16) - 15 / 16]
    )
    assert sizes_up_to(4) == (1, 2, 3, 4)
    assert sizes_up_to(20) == (1, 2, 4, 8, 16, 20)


def test_accuracy_by_labels():
    rows = [
        ScoreRow("a", (3.0,), (1.0, 0.0)),  # 1/3, then 2/3 of subsets with it, then 1
        ScoreRow("b", (0.0,), (1.0, 2.0)),  # 1/3, then never
    ]
    best = curve_of_rows(rows)
    assert [figure.value for figure in best.gold] == pytest.approx([1 / 3, 1 / 3, 1 / 2])
    assert best.peak == 3 and not best.is_over_optimised


def hacked(count: int) -> list[ScoreRow]:
    """The highest of four rewards is that of the worst response, the second of the best."""
    return [
        ScoreRow(str(i), (4.0, 3.0), (2.0, 1.0), gold=((0.0, 3.0), (2.0, 1.0)), prompt=str(i))
        for i in range(count)
    ]


def test_over_optimisation_by_hand():
    best = curve_of_rows(hacked(30))
    # Of 2: six subsets, three with the worst. Of 3: four subsets, three with it.
    assert [figure.value for figure in best.gold] == pytest.approx(
        [1.5, (3 * 0 + 2 * 3 + 1 * 2) / 6, (3 * 0 + 1 * 3) / 4, 0.0]
    )
    assert best.peak == 1 and best.fall.value == 1.5 and best.is_over_optimised
    assert [figure.value for figure in best.proxy] == sorted(figure.value for figure in best.proxy)
    assert best.proxy[-1].value == pytest.approx(1.5 / np.std([1, 2, 3, 4]))


def test_two_score_files(tmp_path: Path):
    paths = [tmp_path / name for name in ("proxy.jsonl", "gold.jsonl", "unlabelled.jsonl")]
    write_scores(paths[0], hacked(3))
    write_scores(paths[1], [ScoreRow(str(i), (0.0, 3.0), (2.0, 1.0)) for i in (2, 1, 0)])
    write_rows(paths[2], [{"id": str(i), "scores": [0.0, 3.0, 2.0, 1.0]} for i in range(3)])
    expected = [figure.value for figure in best_of_n(paths[0]).gold]
    for gold in paths[1:]:
        assert [figure.value for figure in best_of_n(paths[0], gold).gold] == expected
    with pytest.raises(UserError, match="has no labels: name a score file of gold scores"):
        best_of_n(paths[2])
    write_rows(paths[2], [{"id": "0", "scores": [0.0]}])
    with pytest.raises(UserError, match="does not rate the records"):
        best_of_n(paths[0], paths[2])
    with pytest.raises(UserError, match="not of the same responses"):
        curve([[(1.0, 2.0)]], [(1.0,)])
    with pytest.raises(UserError, match="is no score file"):
        best_of_n(tmp_path / "absent.jsonl")


def test_gold_scores_of_the_data_are_in_the_score_file(tmp_path: Path):
    row = {"prompt": "hi", "chosen": ["a", "b"], "rejected": "c"}
    gold = {"gold_chosen": [1, 2.5], "gold_rejected": 0}
    tree = Tree("x", ((1,), (2,), (3,), (4,)), (-1, 0, 0, 0), 2, 1, (1, 1, 1))
    (record,) = load_records(write_rows(tmp_path / "data.jsonl", [row | gold]))
    write_scores(tmp_path / "s.jsonl", [score_row(record, tree, [1.0, 2.0, 3.0], None)])
    assert read_scores(tmp_path / "s.jsonl")[0].gold == ((1.0, 2.5), (0.0,))
    for wrong in ({"gold_chosen": [1]}, {"gold_chosen": ["x", 2]}, {"gold_rejected": None}):
        data = write_rows(tmp_path / "data.jsonl", [row | gold | wrong])
        with pytest.raises(UserError, match="gold"):
            score_row(load_records(data)[0], tree, [1.0, 2.0, 3.0], None)
