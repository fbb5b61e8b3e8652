"""What the documentation says of explanations is what the suite measured; its numbers by hand."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks import documentation
from benchmarks import explain_suite as suite

RESULTS = json.loads(suite.RESULTS.read_text())


def test_the_documentation_has_the_tables_of_the_results():
    assert documentation.read_tables(suite.DOCS) == suite.markdown(RESULTS)


def test_the_default_is_no_worse_than_any_attribution_of_the_library():
    for of_kind in RESULTS.values():
        scores = {name: score["value"] for name, score in of_kind["lds"].items()}
        library = [score for name, score in scores.items() if name.startswith("dattri")]
        assert len(library) == 4 and scores[suite.OURS] >= max(library)


def test_a_score_is_the_rank_correlation_of_sums_over_halves():
    attributed = np.array([[1.0, 2.0, 4.0, 8.0], [3.0, -1.0, 0.0, 5.0]])
    halves = np.array([[0, 1], [2, 3], [0, 2]])
    actual = np.array([[0.3, 1.0], [0.5, 2.0], [0.2, 3.0]])
    predicted, _ = suite.score_halves(attributed, halves, actual)
    assert predicted.tolist() == [[3.0, 2.0], [12.0, 5.0], [5.0, 3.0]]
    scores = suite.rank_correlations(predicted, actual)
    # Ranks (1, 3, 2) beside (2, 3, 1), and (1, 3, 2) beside (1, 2, 3): both 1 - 6 * 2 / 24.
    assert scores == pytest.approx([0.5, 0.5])
    assert scores[0] == pytest.approx(spearmanr(predicted[:, 0], actual[:, 0]).statistic)
    assert suite.rank_correlations(np.ones((3, 1)), actual[:, :1]).tolist() == [0.0]


def test_the_named_tenth_is_taken_out(monkeypatch):
    monkeypatch.setattr(suite, "SINGLE", 2)
    values = np.arange(20.0)
    values[3] = 50.0
    assert suite.strongest_tenth(values).tolist() == [3, 19]
    assert suite.without(20, suite.strongest_tenth(values)) == [0, 1, 2, *range(4, 19)]
    random = [1.0, 0.05, 0.15, 3.0, 0.0, 0.2]
    of_kind = {"removal": {"named": [4.0, 0.5, 0.1, 2.0, 0.7, -0.1]}, "random": random}
    # Of each set the mean margin comes first, then its two records.
    ratios = suite.removal_ratios(of_kind, "named")
    assert ratios == pytest.approx([0.6 / 0.2, 0.6 / 0.2, 6.0 / 4.0])


def test_a_set_is_explained_by_its_mean_and_its_first_records(monkeypatch):
    monkeypatch.setattr(suite, "SINGLE", 2)
    margins = np.arange(40.0)
    assert suite.targets(margins).tolist() == [9.5, 0.0, 1.0, 29.5, 20.0, 21.0]
    assert suite.targets(np.stack([margins, margins], 1)).shape == (6, 2)


def test_halves_and_tenths_are_parts_of_the_pairs():
    for drawn, size in ((suite.draw_halves(20, 5), 10), (suite.draw_tenths(20, 5), 2)):
        assert drawn.shape == (5, size)
        assert all(len(set(row)) == size and max(row) < 20 for row in drawn.tolist())
        assert len({tuple(sorted(row)) for row in drawn.tolist()}) > 1
