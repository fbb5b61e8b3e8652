"""The page on closing the gap says what its benchmark has measured."""

import json

from benchmarks import closing_the_gap
from benchmarks.closing_the_gap import CANDIDATES, DOCS, LOSS, RESULTS
from benchmarks.documentation import read_tables


def test_the_page_has_the_tables_of_the_results():
    assert read_tables(DOCS) == closing_the_gap.markdown(json.loads(RESULTS.read_text()))


def test_a_candidate_is_told_where_its_loss_is_low_and_at_its_end():
    curve = [
        {"step": step, "loss": loss, "margin": 0.24 * step}
        | {"original-test": 1.0, "paraphrased-test": right, "crossed-test": 0.5}
        for step, loss, right in ((1, 0.5, 0.9), (2, LOSS, 0.6), (3, 0.01, 0.2))
    ]
    results = {"model persona": {"plain": {"0": curve, "1": curve}}}
    _, line = closing_the_gap.rows(results)
    told = ("0.60, 0.50", "0.20, 0.50", "0.90, 0.50", "–", "0.20, 0.50")
    assert line == ("model persona", CANDIDATES["plain"].words, "2", *told)
    _, paraphrased, crossed = closing_the_gap.by_nats(results)
    assert paraphrased[2:4] == ("0.90", "") and crossed[2] == "0.50"  # 24 nats with β = 0.01
